"""Find the relations that a statement may touch: those that it names, and all that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sql.parser import ParseError, parse
from confiture.sql.quote import quote_ident

_FAMILY = """
    WITH RECURSIVE named AS ({named}),
    tables (oid) AS (
        SELECT coalesce(i.indrelid, named.oid) FROM named LEFT JOIN pg_index i ON i.indexrelid = named.oid
        UNION SELECT inhrelid FROM pg_inherits JOIN tables ON inhparent = tables.oid
    ),
    whole (oid, place) AS (
        SELECT oid, 0 FROM tables
        UNION SELECT indexrelid, 1 FROM pg_index JOIN tables ON indrelid = tables.oid
        UNION SELECT reltoastrelid, 2 FROM pg_class JOIN tables USING (oid) WHERE reltoastrelid <> 0
    )
    SELECT c.oid::bigint, c.relkind::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM whole JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
    UNION
    SELECT c.oid::bigint, c.relkind::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM whole JOIN pg_index i ON i.indrelid = whole.oid AND whole.place = 2 JOIN pg_class c ON
        c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
"""
_ALL_TABLES = """
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
"""


@frozen
class NamedRelation:
    """A relation that a statement names, or that belongs to one.

    Attributes:
        oid: Its oid.
        kind: Its ``relkind``: ``r``, ``i``, ``t`` and so on.
        name: Schema-qualified and quoted.
    """

    oid: int
    kind: str
    name: str


def find_names(sql: str) -> tuple[str, ...]:
    """Return the quoted names of the relations in a statement, with a schema only if it gives one."""
    try:
        return tuple(dict.fromkeys(name for statement in parse(sql) for name in _walk_names(statement.node)))
    except ParseError:
        return ()


def _walk_names(node: Any) -> Iterator[str]:
    for field, value in node.ListFields():
        # The parse tree of DROP has lists of strings instead of RangeVars.
        if field.name == "drop_stmt":
            yield from map(_quote_listed, value.objects)
        elif field.message_type is None:
            continue
        elif field.message_type.name == "RangeVar":
            yield from map(_quote_range, value if field.is_repeated else (value,))
        else:
            for child in value if field.is_repeated else (value,):
                yield from _walk_names(child)


def _quote_range(relation: Any) -> str:
    return ".".join(quote_ident(part) for part in (relation.schemaname, relation.relname) if part)


def _quote_listed(node: Any) -> str:
    parts = node.list.items if node.HasField("list") else (node,)
    return ".".join(quote_ident(part.string.sval) for part in parts if part.HasField("string"))


def read_family(conn: Connection[Any], sql: str) -> tuple[NamedRelation, ...]:
    """Return the relations that a statement names, with their partitions, indexes and TOAST tables.

    If it names none, as VACUUM without a table, return those of the whole database.
    """
    names = find_names(sql)
    oids = " UNION ".join(f"SELECT to_regclass({quote_literal(name)})::oid AS oid" for name in names)
    found = fetch_rows(conn, _FAMILY.format(named=oids or _ALL_TABLES))
    return tuple(NamedRelation(*row) for row in found)
