"""Which tables hold no row: there a rehearsal shows neither scan nor rewrite, and the text has the word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confiture.core.session import literal, rows
from confiture.models.report import Report

if TYPE_CHECKING:
    from psycopg import Connection

_THERE = """
    SELECT name FROM unnest({names}::text[]) AS name WHERE to_regclass(name) IS NOT NULL
    AND has_table_privilege(to_regclass(name), 'SELECT')
"""


def empty_relations(conn: Connection[Any], report: Report) -> tuple[str, ...]:
    """Return those of the tables locked by a rehearsal that are empty, as the report spells them."""
    names = sorted(
        {
            lock.relation
            for migration in report.migrations
            for lock in migration.locks
            if lock.kind in ("table", "matview") and lock.relation not in migration.scans
        }
    )
    if not names:
        return ()
    there = [name for (name,) in rows(conn, _THERE.format(names=_array(names)))]
    if not there:
        return ()
    found = rows(conn, "SELECT " + ", ".join(f"EXISTS (SELECT FROM {name})" for name in there))[0]
    return tuple(name for name, has in zip(there, found, strict=True) if not has)


def _array(names: list[str]) -> str:
    return f"ARRAY[{', '.join(map(literal, names))}]"
