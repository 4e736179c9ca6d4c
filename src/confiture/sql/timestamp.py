"""Write the times of a table as text, the same in every session."""

from __future__ import annotations

# ISO 8601 with microseconds and the offset, as Python's isoformat() writes it and the JSON reports have it. A
# plain cast to text would depend on the session's DateStyle and TimeZone.
UTC_FORMAT = """'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'"""


def render_utc(timestamp: str) -> str:
    """Return SQL that writes a ``timestamptz`` expression as text in UTC."""
    return f"to_char({timestamp} AT TIME ZONE 'UTC', {UTC_FORMAT})"
