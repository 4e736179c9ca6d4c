"""Find what INSERT, UPDATE and DELETE reach beyond their text: triggers, rules, keys and functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal
from confiture.rehearsal.trace.catalog import FIRST_OID
from confiture.sql.quote import quote_ident
from confiture.sql.reach import Reach, RelationRef

# The bits of ``pg_trigger.tgtype``.
_EVENT_BITS = {"INSERT": 4, "DELETE": 8, "UPDATE": 16}
# A foreign key of the table is checked with a query on the referenced one, and one that references it on the
# other; CASCADE and SET NULL change rows there. The functions of defaults, constraints, domains, indexes and
# generated columns are known by what depends on them. Not by a trigger, whose event says when it runs, nor
# by a view: no view is reached.
_RELATED_SQL = """
    WITH named AS (SELECT to_regclass(unnest(ARRAY[{tables}])) AS oid),
    keys AS (
        SELECT confrelid AS oid FROM pg_catalog.pg_constraint
        WHERE {refers} AND contype = 'f' AND conrelid = to_regclass({target})
        UNION ALL SELECT conrelid FROM pg_catalog.pg_constraint
        WHERE {is_referenced} AND contype = 'f' AND confrelid = to_regclass({target})
    ),
    written AS MATERIALIZED (
        SELECT p.oid, p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE p.oid >= {first} AND l.lanname NOT IN ('c', 'internal')
    )
    SELECT NOT (
        EXISTS (SELECT FROM pg_catalog.pg_class
            WHERE oid IN (SELECT oid FROM named UNION ALL SELECT oid FROM keys)
            AND (relkind <> 'r' OR relhasrules OR relrowsecurity OR relhassubclass OR relispartition))
        OR EXISTS (SELECT FROM pg_catalog.pg_trigger
            WHERE tgrelid = to_regclass({target}) AND NOT tgisinternal AND tgtype & {events} > 0)
        OR EXISTS (SELECT FROM pg_catalog.pg_constraint
            WHERE {is_referenced} AND contype = 'f' AND confrelid = to_regclass({target})
            AND (confupdtype NOT IN ('a', 'r') OR confdeltype NOT IN ('a', 'r')))
        OR EXISTS (SELECT FROM written WHERE proname = ANY (ARRAY[{names}]::name[]))
        OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN written ON d.refobjid = written.oid
            WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass
            AND d.classid NOT IN ('pg_catalog.pg_trigger'::regclass, 'pg_catalog.pg_rewrite'::regclass))
    ), ARRAY(SELECT DISTINCT oid::bigint FROM keys)
"""


def find_related(conn: Connection[Any], reach: Reach, search_path: Sequence[str]) -> tuple[int, ...] | None:
    """Return the tables that foreign keys are checked in; ``None`` if anything else may happen."""

    def render_table(name: RelationRef) -> str:
        schema = name[0] or next(iter(search_path), "")
        return quote_literal(f"{quote_ident(schema)}.{quote_ident(name[1])}")

    tables = [render_table(name) for name in reach.relations]
    changes = reach.events
    (row,) = fetch_rows(
        conn,
        _RELATED_SQL.format(
            tables=", ".join(tables),
            target=tables[0],
            refers=bool(changes & {"INSERT", "UPDATE"}),
            is_referenced=bool(changes & {"UPDATE", "DELETE"}),
            events=sum(_EVENT_BITS[event] for event in changes),
            names=", ".join(map(quote_literal, sorted(reach.names))),
            first=FIRST_OID,
        ),
    )
    is_plain, related = row
    return tuple(related) if is_plain else None
