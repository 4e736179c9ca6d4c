"""Parse and format times (``5s``, ``250ms``, ``10min``, as in PostgreSQL), sizes (``500MB``) and counts."""

from __future__ import annotations

import re

_SHAPE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?\s*", re.ASCII)
_MS = {"us": 0.001, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
# PostgreSQL keeps a timeout as a signed 32-bit number of milliseconds.
_LONGEST_MS = 2_147_483_647


class MissingUnit(ValueError):
    """A number that could mean several times or sizes.

    Attributes:
        ways: It with the units that may be meant: ``("5s", "5ms", "5min")``.
    """

    def __init__(self, number: str, units: tuple[str, str, str]) -> None:
        self.ways = tuple(f"{number}{unit}" for unit in units)
        super().__init__(f"{number} has no unit; write {self.ways[0]}, {self.ways[1]} or {self.ways[2]}")


def parse_milliseconds(text: str, *, bare_unit: str | None = None) -> float:
    """Parse a time and return milliseconds; a bare number is in ``bare_unit``, and only 0 needs none.

    Raises:
        MissingUnit: It is a bare number, and ``bare_unit`` is ``None``.
        ValueError: PostgreSQL would reject it, or it is longer than a timeout can be.
    """
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time; write 5s, 250ms or 10min")
    unit = match[2] or bare_unit
    if unit is None and float(match[1]):
        raise MissingUnit(match[1], ("s", "ms", "min"))
    ms = float(match[1]) * _MS[unit or "ms"]
    if ms > _LONGEST_MS:
        raise ValueError(f"{text!r} is longer than PostgreSQL's longest timeout, 24 days")
    return ms


def check_timeout(text: str) -> str:
    """Return a timeout as PostgreSQL writes it, unchanged; ``0`` is none.

    Raises:
        ValueError: It has no unit, or PostgreSQL would reject it or round it to 0.
    """
    # PostgreSQL rounds a timeout to whole milliseconds: 0.4ms and 400us would be none at all.
    if 0 < parse_milliseconds(text) < 1:
        raise ValueError(f"{text!r} is shorter than PostgreSQL's shortest timeout, 1ms")
    return text


def parse_seconds(text: str, *, bare_unit: str | None = None) -> float:
    """Parse a time and return seconds; a bare number is in ``bare_unit``, and only 0 needs none.

    Raises:
        ValueError: It is not a time.
    """
    return parse_milliseconds(text, bare_unit=bare_unit) / 1_000


def format_duration(ms: float | None) -> str:
    """Format milliseconds for people: ``0.4 ms``, ``12 ms``, ``3.2 s``, ``2 min 5 s``."""
    if ms is None:
        return ""
    # The limits are where rounding would give 10.0 ms, 1000 ms or 60.0 s.
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_950:
        return f"{ms / 1_000:.1f} s"
    minutes, rest_s = divmod(round(ms / 1_000), 60)
    return f"{minutes} min {rest_s} s"


_SIZE_SHAPE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?\s*", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Parse a size and return bytes; kB, MB and GB are powers of 1,000, KiB, MiB and GiB of 1,024.

    Raises:
        MissingUnit: It is a bare number other than 0.
        ValueError: It is not a size.
    """
    match = _SIZE_SHAPE.fullmatch(text)
    unit = (match[2] or "b").lower() if match else "ib"
    # The pattern accepts "ib", a binary unit without its prefix.
    if match is None or unit == "ib":
        raise ValueError(f"{text!r} is not a size; write 500MB, 1GB or 64KiB")
    if match[2] is None and float(match[1]):
        raise MissingUnit(match[1], ("MB", "kB", "GB"))
    prefix = unit.removesuffix("b").removesuffix("i")
    thousand = 1_024 if "i" in unit else 1_000
    return round(float(match[1]) * float(thousand ** _POWERS[prefix]))


def format_size(count_bytes: int) -> str:
    """Format bytes for people: ``0 B``, ``812 B``, ``8.2 kB``, ``1.5 GB``."""
    amount, unit, units = float(count_bytes), "B", iter(("kB", "MB", "GB", "TB"))
    if amount < 1_000:
        return f"{count_bytes} B"
    while amount >= 999.5:
        amount, unit = amount / 1_000, next(units, "PB")
    return f"{amount:.1f} {unit}" if amount < 99.5 else f"{amount:.0f} {unit}"


def format_count(count: int, noun: str) -> str:
    """Return ``1 row``, ``2 rows``, ``1,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
