"""Read indexes, partitions, CHECKs and domains from the catalog, once after a rehearsal."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from confiture.models.report import Report
from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.rules.live_columns import read_column
from confiture.rules.parse_tree import QualifiedName
from confiture.rules.schema_model import LOOK_UP_METHODS, CheckConstraint, DomainType, SchemaModel
from confiture.sql.quote import quote_ident, quote_name

if TYPE_CHECKING:
    from psycopg import Connection

_USERS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
# Ten queries in one message cost one round trip. WITH ORDINALITY keeps the order of the key's columns; an
# expression has column number 0, which no row of pg_attribute has, so its name is NULL.
_QUERY = f"""
    SELECT n.nspname, i.relname, t.relname, ARRAY(
        SELECT CASE WHEN amname IN {LOOK_UP_METHODS} THEN attname::text END
        FROM unnest(indkey::int2[]) WITH ORDINALITY AS k(num, place)
        LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = num AND num <> 0
        WHERE place <= indnkeyatts ORDER BY place), pg_get_expr(indpred, indrelid)
    FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
    JOIN pg_am am ON am.oid = i.relam JOIN pg_namespace n ON n.oid = i.relnamespace WHERE {_USERS};
    SELECT n.nspname, c.relname, ARRAY(SELECT attname::text FROM unnest(partattrs::int2[]) WITH ORDINALITY
        AS k(num, place) LEFT JOIN pg_attribute ON attrelid = partrelid AND attnum = num AND num <> 0
        ORDER BY place),
        dn.nspname, d.relname
    FROM pg_partitioned_table JOIN pg_class c ON c.oid = partrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_class d ON d.oid = partdefid LEFT JOIN pg_namespace dn ON dn.oid = d.relnamespace;
    SELECT n.nspname, c.relname, pn.nspname, p.relname
    FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_class p ON p.oid = inhparent
    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_namespace pn ON pn.oid = p.relnamespace
    WHERE c.relispartition AND c.relkind IN ('r', 'p', 'f');
    SELECT n.nspname, c.relname, conname, ARRAY(SELECT attname::text FROM pg_attribute
        WHERE attrelid = conrelid AND attnum = ANY (conkey)), pg_get_constraintdef(o.oid)
    FROM pg_constraint o JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE contype = 'c' AND {_USERS};
    SELECT n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod),
        ARRAY(SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contypid = t.oid AND contype = 'c'
            ORDER BY conname), typnotnull, typdefault,
        typcollation <> (SELECT b.typcollation FROM pg_type b WHERE b.oid = t.typbasetype)
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'd' AND {_USERS};
    SELECT n.nspname, c.relname, array_agg(conname::text)
    FROM pg_constraint JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {_USERS} GROUP BY 1, 2;
    SELECT DISTINCT n.nspname, c.relname
    FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT tgisinternal AND tgtype & 17 = 17 AND {_USERS};
    SELECT n.nspname, c.relname, attname FROM pg_index JOIN pg_class c ON c.oid = indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indisprimary AND indnkeyatts = 1
        AND atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AND {_USERS};
    SELECT n.nspname, c.relname FROM pg_index JOIN pg_class c ON c.oid = indrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
        AND {_USERS};
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND NOT c.relispopulated AND {_USERS}
"""
# pg_get_constraintdef() returns the whole constraint; a recipe needs only the expression.
_NOT_INHERITED = re.compile(r"CHECK \(.*\) NO INHERIT(?: NOT VALID)?(?: NOT ENFORCED)?", re.DOTALL).fullmatch
_CHECK = re.compile(r"CHECK \((.*)\)(?: NO INHERIT)?(?: NOT VALID)?(?: NOT ENFORCED)?", re.DOTALL)


def read_schema_model(conn: Connection[Any], ledger: str = "", version: str = "") -> SchemaModel:
    """Return the schema model of the database as its catalog has it now.

    A rehearsal in a transaction is rolled back by now; in a copy the ledger, which is in the schema
    ``ledger``, has the rehearsed ``version``, and the catalog what the migrations made.
    """
    indexes, partitioned, partitions, checks, domains, constraints, *others = send(conn, _QUERY)
    triggers, keys, views, unpopulated = others
    known = SchemaModel(after=bool(ledger) and _is_recorded(conn, ledger, version))
    for schema, index, table, columns, predicate in indexes:
        known.indexes[QualifiedName(schema, index)] = (QualifiedName(schema, table), tuple(columns))
        # A foreign key looks for no NULL, so such an index is as good as one of all rows.
        if predicate is not None and predicate != f"({quote_ident(columns[0] or '')} IS NOT NULL)":
            known.partial_indexes.add(QualifiedName(schema, index))
    for schema, table, columns, default_schema, default in partitioned:
        known.partition_keys[_make_name(schema, table)] = tuple(columns)
        if default:
            known.defaults[_make_name(schema, table)] = _make_name(default_schema, default)
    for schema, child, parent_schema, parent in partitions:
        known.partitions[_make_name(schema, child)] = _make_name(parent_schema, parent)
    for schema, table, name, columns, text in checks:
        earlier = known.checks.get(_make_name(schema, table), ())
        known.checks[_make_name(schema, table)] = (
            *earlier,
            CheckConstraint(
                name, tuple(columns), _parse_expression(text), " NO INHERIT" if _NOT_INHERITED(text) else ""
            ),
        )
    for schema, name, type_name, texts, *facts in domains:
        known.domains[_make_name(schema, name)] = DomainType(
            type_name, tuple(map(_parse_expression, texts)), *facts
        )
    for schema, table, names in constraints:
        known.constraints[_make_name(schema, table)] = frozenset(names)
    known.update_triggers.update(_make_name(schema, table) for schema, table in triggers)
    known.integer_keys.update({_make_name(schema, table): key for schema, table, key in keys})
    known.unique_views.update(_make_name(schema, view) for schema, view in views)
    known.unpopulated_views.update(_make_name(schema, view) for schema, view in unpopulated)
    known.read_column = partial(read_column, conn)
    return known


def _is_recorded(conn: Connection[Any], ledger: str, version: str) -> bool:
    table = quote_name(ledger, "ledger")
    if not fetch_rows(conn, _READABLE.format(names=_render_array([table]))):
        return False
    return bool(fetch_rows(conn, f"SELECT 1 FROM {table} WHERE version = {quote_literal(version)}"))


def _make_name(schema: str, name: str) -> QualifiedName:
    return QualifiedName(schema, name, None if schema == "public" else schema)


def _parse_expression(text: str) -> str:
    match = _CHECK.fullmatch(text)
    return match.group(1) if match else text


# The migration may have dropped a table, and the role may lack the right to read one.
_READABLE = """
    SELECT name FROM unnest({names}::text[]) AS name WHERE to_regclass(name) IS NOT NULL
    AND has_table_privilege(to_regclass(name), 'SELECT')
"""


def find_empty_relations(conn: Connection[Any], report: Report) -> tuple[str, ...]:
    """Return the tables and materialized views that a rehearsal locked and that are empty.

    The names are spelled as in the report.
    """
    # A relation that was scanned holds rows, so it need not be asked about.
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
    readable = [name for (name,) in fetch_rows(conn, _READABLE.format(names=_render_array(names)))]
    if not readable:
        return ()
    answers = fetch_rows(conn, "SELECT " + ", ".join(f"EXISTS (SELECT FROM {name})" for name in readable))[0]
    return tuple(name for name, has_rows in zip(readable, answers, strict=True) if not has_rows)


def _render_array(names: list[str]) -> str:
    return f"ARRAY[{', '.join(map(quote_literal, names))}]"
