"""Turn any object that a plugin hands over into one that every report can show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 20
_MAX_VALUES = 10_000


def make_plain(value: object) -> Any:
    """Return ``value`` in JSON's types; anything else becomes its text.

    A value that contains itself, or a very large one, is cut.

    Raises:
        Exception: An object of a plugin's own, such as its ``__str__``, raises it.
    """
    return _convert(value, 0, [_MAX_VALUES])


def _convert(value: object, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth > _MAX_DEPTH or left[0] < 0:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _convert(item, depth + 1, left) for key, item in value.items() if left[0] > 0}
    if isinstance(value, list | tuple | set | frozenset):
        return [_convert(item, depth + 1, left) for item in value if left[0] > 0]
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int:
        # Python refuses to print an integer of more than 4,300 digits.
        return value if value.bit_length() < 10_000 else hex(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return str(value)
