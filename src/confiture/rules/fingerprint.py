"""Recognize a finding again after its line number has changed."""

from __future__ import annotations

import hashlib

_LENGTH = 32


def make_fingerprint(rule: str, file: str, sql: str, occurrence: int) -> str:
    """Return an identifier that stays the same if the statement moves within its file.

    ``occurrence`` distinguishes equal statements in one file, and several findings about one statement.
    """
    # A NUL cannot occur in SQL text or in a path, so different parts never join to the same text.
    # surrogatepass: a path that is not valid UTF-8 contains surrogates.
    text = "\0".join((rule, file, normalize_sql(sql), str(occurrence)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def normalize_sql(sql: str) -> str:
    """Return the statement with each run of whitespace replaced by one space."""
    return " ".join(sql.split())
