"""Times as PostgreSQL writes them: ``5s``, ``250ms``, ``10min``; a bare number is milliseconds."""

from __future__ import annotations

import re

_SHAPE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?\s*", re.ASCII)
_MS = {"us": 0.001, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = 2_147_483_647


def milliseconds(text: str, *, bare_unit: str = "ms") -> float:
    """Return how long ``text`` is, in milliseconds.

    Raises:
        ValueError: PostgreSQL would not take it, or it is longer than a setting can hold.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time; write 5s, 250ms or 10min")
    ms = float(found[1]) * _MS[found[2] or bare_unit]
    if ms > _LONGEST_MS:
        raise ValueError(f"{text!r} is longer than PostgreSQL's longest timeout, 24 days")
    return ms


def seconds(text: str) -> float:
    """Return how long ``text`` is, in seconds; a bare number is seconds.

    Raises:
        ValueError: It is not a time.
    """
    return milliseconds(text, bare_unit="s") / 1_000


def duration(ms: float | None) -> str:
    """Return milliseconds as a person says them: ``0.4 ms``, ``12 ms``, ``3.2 s``, ``2 min 5 s``."""
    if ms is None:
        return ""
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


def size_bytes(text: str) -> int:
    """Return how many bytes ``text`` says; kB, MB and GB are thousands, KiB, MiB and GiB are 1,024s.

    Raises:
        ValueError: It is not a size.
    """
    found = _SIZE_SHAPE.fullmatch(text)
    unit = (found[2] or "b").lower() if found else "ib"
    if found is None or unit == "ib":
        raise ValueError(f"{text!r} is not a size; write 500MB, 1GB or 64KiB")
    prefix = unit.removesuffix("b").removesuffix("i")
    thousand = 1_024 if "i" in unit else 1_000
    return round(float(found[1]) * float(thousand ** _POWERS[prefix]))


def size(count_bytes: int) -> str:
    """Return bytes as a person says them: ``0 B``, ``812 B``, ``8.2 kB``, ``1.5 GB``."""
    amount, unit, units = float(count_bytes), "B", iter(("kB", "MB", "GB", "TB"))
    if amount < 1_000:
        return f"{count_bytes} B"
    while amount >= 999.5:
        amount, unit = amount / 1_000, next(units, "PB")
    return f"{amount:.1f} {unit}" if amount < 99.5 else f"{amount:.0f} {unit}"
