"""Match names against patterns such as ``w_*`` and ``billing.r_*``."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches_any(patterns: Iterable[str], schema: str, name: str) -> bool:
    """Return True if a pattern matches the name, or the name with its schema if the pattern has a dot."""
    return any(fnmatchcase(f"{schema}.{name}" if "." in pattern else name, pattern) for pattern in patterns)
