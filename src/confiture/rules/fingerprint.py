"""What makes a finding the same one after lines were added above it."""

from __future__ import annotations

import hashlib

_LENGTH = 32


def make_fingerprint(rule: str, file: str, sql: str, occurrence: int) -> str:
    """Return the same word for the same rule, file and statement, wherever in the file that stands.

    ``occurrence`` tells apart statements that are the same, and several findings of one.
    """
    text = "\0".join((rule, file, normalize_sql(sql), str(occurrence)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def normalize_sql(sql: str) -> str:
    """Return a statement with one space where there is any white space."""
    return " ".join(sql.split())
