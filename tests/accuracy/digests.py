"""A database in a few checksums: one a system catalog, one a table of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import Connection

# Written in place, and so not undone by a rollback: CREATE INDEX, ANALYZE and VACUUM do it.
IN_PLACE = {
    "pg_class": ("relpages", "reltuples", "relallvisible", "relallfrozen", "relhasindex"),
}
_CATALOGS = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'pg_catalog'::regnamespace"
_TABLES = (
    "SELECT oid::regclass::text, relkind::text FROM pg_class WHERE relkind IN ('r', 'm', 'S') AND relpersistence <> 't'"
    " AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
    " AND (relkind <> 'm' OR relispopulated)"
)

# A sequence has no row type, and its log_cnt is told by no one.
_ROW = {"S": "(last_value, is_called)::text"}


def read_digests(conn: Connection[Any]) -> dict[str, str]:
    """Return a checksum of every catalog and of every table's rows, by name; sequences are tables too."""
    catalogs = [_build_catalog_query(name) for (name,) in conn.execute(_CATALOGS)]
    tables = [
        _build_checksum_query(name, name, _ROW.get(kind, "t::text")) for name, kind in conn.execute(_TABLES)
    ]
    return dict(conn.execute(" UNION ALL ".join([*catalogs, *tables]).encode()).fetchall())


def find_differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is not as it was, by name."""
    return tuple(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))


def _build_catalog_query(name: str) -> str:
    row = "t::text"
    if name in IN_PLACE:
        row = f"(to_jsonb(t) - '{{{','.join(IN_PLACE[name])}}}'::text[])::text"
    return _build_checksum_query(name, f"pg_catalog.{name}", row)


def _build_checksum_query(name: str, relation: str, row: str) -> str:
    literal = name.replace("'", "''")
    return (
        f"SELECT '{literal}', md5(string_agg(line, E'\\n' ORDER BY line COLLATE \"C\"))"
        f" FROM (SELECT {row} AS line FROM {relation} t) s"
    )
