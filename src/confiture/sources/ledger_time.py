"""Read the times in a tool's ledger."""

from __future__ import annotations


def render_time_sql(column: str) -> str:
    """Return an SQL expression for a column's time in ISO 8601, as ``ToolRecord`` has it.

    A ``timestamp`` without a time zone is taken for one in the database's own, which ``now()`` has put there.
    """
    return f"to_char({column}::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')"
