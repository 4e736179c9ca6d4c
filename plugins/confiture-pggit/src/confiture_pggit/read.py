"""Read from pgGit which version each object has, and what changed it."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from confiture.models.schema import ObjectChange, ObjectVersion
from confiture_pggit.features import PgGitFeatures

# As JSON, because the columns that the two functions return differ between releases of pgGit. get_version
# returns a row for each branch; only that of main goes up. pgGit's event trigger also adds columns, which it
# never counts up and keeps when they are dropped, and functions, with their OID as the name.
_VERSIONS = """
    SELECT name, (SELECT to_jsonb(found) FROM pggit.get_version(name) AS found
            ORDER BY to_jsonb(found) -> 'version' DESC NULLS LAST LIMIT 1), {history}
    FROM (SELECT DISTINCT full_name AS name FROM pggit.objects
        WHERE is_active AND full_name NOT LIKE 'pggit.%'
            AND object_type::text <> 'COLUMN' AND object_name !~ '^[0-9]+$') AS known ORDER BY name
"""
# All changes of a transaction have one time, and get_history orders by that alone: with a limit, it may leave
# the newest out.
_HISTORY = """
    (SELECT jsonb_agg(change ORDER BY place) FROM (
        SELECT change, row_number() OVER (
            ORDER BY change ->> 'created_at' COLLATE "C" DESC, change -> 'version' DESC) AS place
        FROM pggit.get_history(name, NULL::integer) AS found, to_jsonb(found) AS change
        ORDER BY place LIMIT {rows}) AS newest)
"""


def read_versions(
    conn: Connection[Any], features: PgGitFeatures, history_rows: int
) -> tuple[ObjectVersion, ...]:
    """Return version and last changes of the objects that pgGit knows by name, without its own, in one query.

    Raises:
        psycopg.Error: pgGit's functions fail.
    """
    history = _HISTORY.format(rows=history_rows) if features.history and history_rows else "NULL::jsonb"
    with Cursor(conn, row_factory=tuple_row) as cursor:
        found = cursor.execute(_VERSIONS.format(history=history).encode()).fetchall()
    return tuple(
        ObjectVersion(name, _read_text(version, "version_string"), tuple(map(_read_change, changes or ())))
        for name, version, changes in found
    )


def _read_change(row: Any) -> ObjectChange:
    return ObjectChange(
        kind=_read_text(row, "change_type") or "CHANGE",
        description=_read_text(row, "change_description"),
        at=_read_text(row, "created_at"),
        by=_read_text(row, "created_by"),
    )


def _read_text(row: Any, column: str) -> str | None:
    """Return a column as text; ``None`` if the function returns another one, or no columns at all."""
    value = row.get(column) if isinstance(row, dict) else None
    return None if value is None else str(value)
