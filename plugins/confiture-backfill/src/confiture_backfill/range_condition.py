"""Replace ``{range}`` in SQL by the condition of a batch."""

from __future__ import annotations

import re
from collections.abc import Iterator

RANGE = "{range}"

# Comments, strings and quoted names may hold words of SQL that are no SQL.
_NON_CODE = r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | (?P<tag>\$\w*\$).*?(?P=tag)"""
_SKIPPED = re.compile(_NON_CODE, re.DOTALL | re.VERBOSE)
_TOKEN = re.compile(rf"(?P<range>\{{range\}}) | {_NON_CODE}", re.DOTALL | re.VERBOSE)


def remove_non_code(text: str) -> str:
    """Return SQL without its comments, strings and quoted names."""
    return _SKIPPED.sub(" ", text)


def has_range(text: str) -> bool:
    """Return whether the SQL has a ``{range}``."""
    return any(True for _ in _find_ranges(text))


def replace_range(text: str, condition: str) -> str:
    """Return the SQL with ``condition`` for every ``{range}`` that is code.

    One in a comment stays: a newline in a key would end the comment.
    """
    return _TOKEN.sub(lambda found: condition if found["range"] else found[0], text)


def locate_in_original(text: str, condition: str, offset: int) -> int:
    """Return the offset in ``text`` of a character of what :func:`replace_range` returned; from 0."""
    for start in _find_ranges(text):
        if offset < start:
            break
        # A character of the condition belongs to the {range} that it replaced.
        offset = max(start, offset - len(condition) + len(RANGE))
    return offset


def _find_ranges(text: str) -> Iterator[int]:
    return (found.start() for found in _TOKEN.finditer(text) if found["range"])
