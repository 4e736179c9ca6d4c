"""Sizes in plain units: ``500MB``, ``1.5GB``, ``64KiB``; a bare number is bytes."""

from __future__ import annotations

import re

_SHAPE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?\s*", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size_bytes(text: str) -> int:
    """Return how many bytes ``text`` says; kB, MB and GB are thousands, KiB, MiB and GiB are 1,024s.

    Raises:
        ValueError: It is not a size.
    """
    found = _SHAPE.fullmatch(text)
    unit = (found[2] or "b").lower() if found else "ib"
    if found is None or unit == "ib":
        raise ValueError(f"{text!r} is not a size; write 500MB, 1GB or 64KiB")
    prefix = unit.removesuffix("b").removesuffix("i")
    thousand = 1_024 if "i" in unit else 1_000
    return round(float(found[1]) * float(thousand ** _POWERS[prefix]))


def size(count_bytes: int) -> str:
    """Return bytes as a person says them: ``0 B``, ``812 B``, ``8.2 kB``, ``1.5 GB``."""
    amount, units = float(count_bytes), iter(("kB", "MB", "GB", "TB"))
    if amount < 1_000:
        return f"{count_bytes} B"
    while amount >= 999.5:
        amount, unit = amount / 1_000, next(units, "PB")
    return f"{amount:.1f} {unit}" if amount < 99.5 else f"{amount:.0f} {unit}"
