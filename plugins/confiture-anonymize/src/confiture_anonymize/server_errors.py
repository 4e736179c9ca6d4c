"""Say what a server refused, without a value, and what to do next."""

from __future__ import annotations

import re

import psycopg

# The server's words about these may be shown: none of them quotes a value.
_SAFE_CLASSES = ("08", "25", "42", "53", "54", "55", "57", "58")
ON_WITH = "continue with --resume, or empty the target with --drop"
_NEXT_STEPS = {
    "53100": f"make room on the disk of the server; then {ON_WITH}",
    "23505": "two different values became one: give the column another strategy, then --drop and copy again",
}


def suggest_next_step(error: psycopg.Error) -> str:
    """Return how to go on with a copy that stopped."""
    return _NEXT_STEPS.get(error.sqlstate or "", ON_WITH)


def describe_safely(error: psycopg.Error) -> str:
    """Return what failed, without a row's values, which a server's message may quote."""
    state = error.sqlstate or ""
    if not state or state.startswith(_SAFE_CLASSES):
        first = str(error).strip().splitlines()
        return first[0] if first else "the connection was lost"
    parts = (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)
    where = ".".join(part for part in parts if part)
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__).lower()
    return f"{words} ({state}){f': {where}' if where else ''}"
