"""SQL with ``{range}`` in it, and the condition that goes there."""

from __future__ import annotations

import re
from collections.abc import Iterator

RANGE = "{range}"

# What may hold words of SQL without meaning them.
_NOT_SQL = r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | (?P<tag>\$\w*\$).*?(?P=tag)"""
_SKIPPED = re.compile(_NOT_SQL, re.DOTALL | re.VERBOSE)
_TOKEN = re.compile(rf"(?P<range>\{{range\}}) | {_NOT_SQL}", re.DOTALL | re.VERBOSE)


def strip_comments(text: str) -> str:
    """Return SQL without its comments, its strings and its quoted names."""
    return _SKIPPED.sub(" ", text)


def has_range(text: str) -> bool:
    """Whether there is a place for the condition."""
    return any(True for _ in _find_ranges(text))


def insert_range(text: str, condition: str) -> str:
    """Put ``condition`` in every such place: not in comments, where a key's newline would end them."""
    return _TOKEN.sub(lambda found: condition if found["range"] else found[0], text)


def locate_original(text: str, condition: str, offset: int) -> int:
    """Return where in ``text`` a character of what :func:`with_range` returned was written; from 0."""
    for start in _find_ranges(text):
        if offset < start:
            break
        # What is in the condition was written at the token.
        offset = max(start, offset - len(condition) + len(RANGE))
    return offset


def _find_ranges(text: str) -> Iterator[int]:
    return (found.start() for found in _TOKEN.finditer(text) if found["range"])
