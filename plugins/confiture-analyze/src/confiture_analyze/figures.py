"""Relations, and how many rows and bytes they have.

By one of two yardsticks: what the catalog says, as the last ANALYZE or VACUUM left it, which asks for no
lock on any relation; or the sizes of the files, for the few that are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from confiture.plugins.kit import PluginSettingsFault

_RELATIONS = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
        ARRAY(SELECT c.oid::bigint UNION SELECT relid::oid::bigint FROM pg_partition_tree(c.oid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND
"""
# parse_ident names what it cannot read; to_regclass does not.
_NAMED = """ c.oid IN (SELECT CASE WHEN parse_ident(name) IS NOT NULL THEN to_regclass(name) END
    FROM unnest(%s::text[]) AS name) ORDER BY 2"""
_CALLED = " quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY(%s) ORDER BY 2"

_CATALOG = """
    SELECT c.oid::bigint, c.reltuples::bigint,
        (c.relpages + coalesce(t.relpages, 0) + coalesce(x.pages, 0)) * current_setting('block_size')::bigint
    FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
    LEFT JOIN (
        SELECT i.indrelid, sum(k.relpages)::bigint AS pages
        FROM pg_index i JOIN pg_class k ON k.oid = i.indexrelid GROUP BY 1
    ) x ON x.indrelid = c.oid
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.reltuples >= 0
        AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
"""
# A partitioned table has no rows of its own: its partitions have.
_MEASURED = """
    SELECT r.oid, CASE WHEN bool_and(c.reltuples >= 0) THEN sum(c.reltuples)::bigint END,
        sum(pg_total_relation_size(c.oid))::bigint
    FROM unnest(%s::bigint[]) AS r (oid) CROSS JOIN LATERAL (
        SELECT r.oid::oid UNION SELECT relid::oid FROM pg_partition_tree(r.oid::oid::regclass)
    ) AS member (oid) JOIN pg_class c ON c.oid = member.oid WHERE c.relkind <> 'p' GROUP BY 1
"""


@frozen
class AnalyzedRelation:
    """A table or materialized view.

    Attributes:
        oid: The server's number for it.
        name: Schema-qualified, quoted only where PostgreSQL would.
        members: Its own number and those of its partitions.
    """

    oid: int
    name: str
    members: frozenset[int]


@frozen
class Figures:
    """How much a relation holds; ``None`` where that is not known.

    Attributes:
        rows: Its rows.
        size_bytes: With indexes and TOAST, in bytes.
    """

    rows: int | None = None
    size_bytes: int | None = None


def find_named(conn: Connection[Any], tables: Sequence[str]) -> tuple[AnalyzedRelation, ...]:
    """Return those of ``tables`` that exist.

    Raises:
        PluginSettingsFault: One is not a name.
    """
    try:
        return _relations(conn, _NAMED, tables)
    except psycopg.errors.InvalidParameterValue as error:
        raise PluginSettingsFault(
            f"plugin.analyze.tables: {error.diag.message_primary}",
            hint='write names as PostgreSQL reads them: orders, sales."Daily Totals"',
        ) from error


def find_relations(conn: Connection[Any], names: Sequence[str]) -> tuple[AnalyzedRelation, ...]:
    """Return the tables and materialized views of these schema-qualified names."""
    return _relations(conn, _CALLED, names)


def _relations(conn: Connection[Any], which: str, names: Sequence[str]) -> tuple[AnalyzedRelation, ...]:
    with Cursor(conn, row_factory=tuple_row) as cursor:
        found = cursor.execute((_RELATIONS + which).encode(), [list(names)]).fetchall()
    return tuple(AnalyzedRelation(oid, name, frozenset(members)) for oid, name, members in found)


def read_catalog(conn: Connection[Any]) -> dict[int, Figures]:
    """Return what the catalog knows of every table, by oid."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        return {oid: Figures(rows, size) for oid, rows, size in cursor.execute(_CATALOG)}


def measure(
    conn: Connection[Any], relations: Sequence[AnalyzedRelation], *, exact: bool
) -> dict[int, Figures]:
    """Return rows as estimated, or counted where ``exact``, and the sizes of the files, by oid."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        found = cursor.execute(_MEASURED, [[relation.oid for relation in relations]]).fetchall()
        figures = {oid: Figures(rows, size) for oid, rows, size in found}
        if not exact:
            return figures
        return {
            relation.oid: Figures(_counted(cursor, relation), figures.get(relation.oid, Figures()).size_bytes)
            for relation in relations
        }


def _counted(cursor: Cursor[Any], relation: AnalyzedRelation) -> int:
    ((rows,),) = cursor.execute(f"SELECT count(*) FROM {relation.name}".encode()).fetchall()
    return int(rows)


def get_figures(figures: Mapping[int, Figures], relation: AnalyzedRelation) -> Figures:
    """Return a relation's own figures, else the sum of its partitions'; unknown where one of them is."""
    if relation.oid in figures:
        return figures[relation.oid]
    parts = [figures[member] for member in relation.members if member in figures]
    if not parts:
        return Figures()
    return Figures(_sum([part.rows for part in parts]), _sum([part.size_bytes for part in parts]))


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
