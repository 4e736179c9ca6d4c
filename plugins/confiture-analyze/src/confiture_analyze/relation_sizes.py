"""Find relations, and measure how many rows and bytes they have.

There are two measures. The catalog has the numbers of the last ANALYZE or VACUUM, and reading them locks no
relation. The sizes of the files are current, and are read only for the tables that the settings name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from confiture_analyze.settings import AnalyzeSettings

_RELATIONS = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
        ARRAY(SELECT c.oid::bigint UNION SELECT relid::oid::bigint FROM pg_partition_tree(c.oid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND
"""
# parse_ident's error quotes the name that it cannot read; to_regclass's does not.
_NAMED = """ c.oid IN (SELECT CASE WHEN parse_ident(name) IS NOT NULL THEN to_regclass(name) END
    FROM unnest(%s::text[]) AS name) ORDER BY 2"""
_QUALIFIED = " quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY(%s) ORDER BY 2"

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
# A partitioned table itself has no rows: its partitions have.
_FILES = """
    SELECT r.oid, CASE WHEN bool_and(c.reltuples >= 0) THEN sum(c.reltuples)::bigint END,
        sum(pg_total_relation_size(c.oid))::bigint
    FROM unnest(%s::bigint[]) AS r (oid) CROSS JOIN LATERAL (
        SELECT r.oid::oid UNION SELECT relid::oid FROM pg_partition_tree(r.oid::oid::regclass)
    ) AS member (oid) JOIN pg_class c ON c.oid = member.oid WHERE c.relkind <> 'p' GROUP BY 1
"""


@frozen
class ChangedRelation:
    """A table or materialized view.

    Attributes:
        oid: Its oid.
        name: Its name with schema, quoted only if PostgreSQL would.
        member_oids: Its own oid and those of its partitions.
    """

    oid: int
    name: str
    member_oids: frozenset[int]


@frozen
class RelationSize:
    """How much a relation holds.

    Attributes:
        rows: How many rows; ``None`` if not known.
        size_bytes: Its size with indexes and TOAST, in bytes; ``None`` if not known.
    """

    rows: int | None = None
    size_bytes: int | None = None


def find_configured(conn: Connection[Any], settings: AnalyzeSettings) -> tuple[ChangedRelation, ...]:
    """Return the tables that the settings name, those that exist.

    Raises:
        PluginSettingsFault: PostgreSQL cannot read a name.
    """
    try:
        return _find(conn, _NAMED, settings.tables)
    except psycopg.errors.InvalidParameterValue as error:
        raise settings.table.refuse(
            "tables",
            f"has a name that PostgreSQL cannot read: {error.diag.message_primary}",
            hint='write names as PostgreSQL reads them: orders, sales."Daily Totals"',
        ) from error


def find_qualified(conn: Connection[Any], names: Sequence[str]) -> tuple[ChangedRelation, ...]:
    """Return the tables and materialized views of these names with schema."""
    return _find(conn, _QUALIFIED, names)


def _find(conn: Connection[Any], condition: str, names: Sequence[str]) -> tuple[ChangedRelation, ...]:
    with Cursor(conn, row_factory=tuple_row) as cursor:
        found = cursor.execute((_RELATIONS + condition).encode(), [list(names)]).fetchall()
    return tuple(ChangedRelation(oid, name, frozenset(members)) for oid, name, members in found)


def read_catalog(conn: Connection[Any]) -> dict[int, RelationSize]:
    """Return what the catalog knows of every table, by oid."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        return {oid: RelationSize(rows, size) for oid, rows, size in cursor.execute(_CATALOG)}


def measure(
    conn: Connection[Any], relations: Sequence[ChangedRelation], *, exact_rows: bool
) -> dict[int, RelationSize]:
    """Return the sizes of the files and the rows, counted with ``exact_rows`` or else estimated, by oid."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        found = cursor.execute(_FILES, [[relation.oid for relation in relations]]).fetchall()
        sizes = {oid: RelationSize(rows, size) for oid, rows, size in found}
        if not exact_rows:
            return sizes
        return {
            relation.oid: RelationSize(
                _count_rows(cursor, relation), sizes.get(relation.oid, RelationSize()).size_bytes
            )
            for relation in relations
        }


def _count_rows(cursor: Cursor[Any], relation: ChangedRelation) -> int:
    ((rows,),) = cursor.execute(f"SELECT count(*) FROM {relation.name}".encode()).fetchall()
    return int(rows)


def get_size(sizes: Mapping[int, RelationSize], relation: ChangedRelation) -> RelationSize:
    """Return a relation's size, or the sum of its partitions'; unknown if one of theirs is unknown."""
    if relation.oid in sizes:
        return sizes[relation.oid]
    parts = [sizes[oid] for oid in relation.member_oids if oid in sizes]
    if not parts:
        return RelationSize()
    return RelationSize(_sum([part.rows for part in parts]), _sum([part.size_bytes for part in parts]))


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
