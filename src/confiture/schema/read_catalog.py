"""Read the catalog of a database in one message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from attrs import frozen
from psycopg import Connection

from confiture.postgres.connect import read_server_version
from confiture.postgres.session import Row, quote_literal, send
from confiture.schema.schema_catalog import (
    CatalogColumn,
    CatalogConstraint,
    CatalogFunction,
    CatalogIndex,
    CatalogRelation,
    CatalogTrigger,
    RelationSort,
    RowPolicy,
    SchemaCatalog,
)
from confiture.sql.quote import quote_name

T = TypeVar("T")
_ColumnNames = Mapping[tuple[int, int], str]
_SORTS: dict[str, RelationSort] = {"r": "table", "p": "table", "v": "view", "m": "matview", "f": "foreign"}
# PostgreSQL 18 can leave a constraint NOT ENFORCED, which makes it NOT VALID on purpose. Earlier versions
# have no such column, so it is looked up as JSON.
_QUERY = """
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL search_path = '';
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence = 'u', c.relispartition, c.relrowsecurity,
        greatest(c.relpages, 0)::bigint * current_setting('block_size')::int,
        pg_catalog.obj_description(c.oid, 'pg_class')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {users} AND {own_relation} ORDER BY 2, 3;
    SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
        pg_catalog.col_description(a.attrelid, a.attnum), a.attnum
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {users}
    ORDER BY a.attrelid, a.attnum;
    SELECT o.conrelid, o.conname, o.contype, o.conkey, o.convalidated
        OR pg_catalog.to_jsonb(o) ->> 'conenforced' = 'false', tn.nspname, t.relname, o.confkey, o.confrelid
    FROM pg_catalog.pg_constraint o JOIN pg_catalog.pg_class c ON c.oid = o.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_class t ON t.oid = o.confrelid
    LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
    WHERE (o.contype IN ('p', 'u', 'f', 'c', 'x') OR o.contype = 'n' AND NOT o.convalidated)
        AND o.conparentid = 0 AND {users}
    ORDER BY o.conrelid, o.conname;
    SELECT x.indrelid, i.relname, x.indkey::int2[], x.indnkeyatts, x.indisunique, x.indisprimary,
        x.indisvalid, m.amname, pg_catalog.pg_get_expr(x.indpred, x.indrelid), x.indclass::text,
        x.indcollation::text, x.indoption::text, pg_catalog.pg_get_expr(x.indexprs, x.indrelid),
        EXISTS (SELECT FROM pg_catalog.pg_constraint o
            WHERE o.conindid = i.oid AND o.contype IN ('p', 'u', 'x')),
        x.indisreplident, pg_catalog.to_jsonb(x) ->> 'indnullsnotdistinct' = 'true'
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_class c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_am m ON m.oid = i.relam WHERE {users} ORDER BY x.indrelid, i.relname;
    SELECT p.polrelid, p.polname, pg_catalog.pg_get_expr(p.polqual, p.polrelid),
        pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), {policy_reads}
    FROM pg_catalog.pg_policy p ORDER BY p.polrelid, p.polname;
    SELECT g.tgrelid, g.tgname, g.tgfoid, g.tgtype & 2 = 2 FROM pg_catalog.pg_trigger g
    WHERE NOT g.tgisinternal ORDER BY g.tgrelid, g.tgname;
    SELECT DISTINCT w.ev_class, n.nspname, c.relname FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
        AND d.refobjid <> w.ev_class AND {users} ORDER BY 1, 2, 3;
    SELECT f.oid, n.nspname, f.proname, pg_catalog.pg_get_function_identity_arguments(f.oid), l.lanname,
        CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN pg_catalog.pg_get_functiondef(f.oid) ELSE '' END,
        f.prosrc, f.prosecdef, f.proconfig, f.prorettype = 'pg_catalog.trigger'::regtype,
        pg_catalog.obj_description(f.oid, 'pg_proc')
    FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = f.prolang
    WHERE f.prokind IN ('f', 'p') AND {users} AND {own_function} ORDER BY 2, 3, 4;
    SELECT word FROM pg_catalog.pg_get_keywords() WHERE catcode IN ('R', 'T');
    COMMIT
"""
_USERS = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', {ledger})"
_NO_EXTENSION = """NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
    WHERE e.classid = 'pg_catalog.{catalog}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"""
_POLICY_READS = """ARRAY(
    SELECT DISTINCT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
    FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE d.objid = p.oid
    AND d.classid = 'pg_catalog.pg_policy'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
    AND d.refobjid <> p.polrelid ORDER BY 1)"""


@frozen
class _Parts:
    """The parts of all relations, each by the relation's oid."""

    columns: Mapping[int, tuple[CatalogColumn, ...]]
    constraints: Mapping[int, tuple[CatalogConstraint, ...]]
    indexes: Mapping[int, tuple[CatalogIndex, ...]]
    policies: Mapping[int, tuple[RowPolicy, ...]]
    triggers: Mapping[int, tuple[CatalogTrigger, ...]]
    depends_on: Mapping[int, tuple[str, ...]]


def read_catalog(conn: Connection[Any], ledger_schema: str) -> SchemaCatalog:
    """Return the schema of the database, without the ledger's; read in one message, in one snapshot."""
    rows = send(conn, _render_query(ledger_schema))
    relations, columns, constraints, indexes, policies, triggers, views, functions, words = rows
    built = {row[0]: _build_function(row) for row in functions}
    names = {(row[0], row[5]): row[1] for row in columns}
    parts = _Parts(
        columns=_group(columns, _build_column),
        constraints=_group(constraints, partial(_build_constraint, names)),
        indexes=_group(indexes, partial(_build_index, names)),
        policies=_group(policies, lambda row: RowPolicy(row[1], row[2], row[3], tuple(row[4]))),
        triggers=_group(
            [row for row in triggers if row[2] in built],
            lambda row: CatalogTrigger(row[1], built[row[2]].rel, row[3]),
        ),
        depends_on=_group(views, lambda row: quote_name(row[1], row[2])),
    )
    return SchemaCatalog(
        tuple(_build_relation(row, parts) for row in relations),
        tuple(built.values()),
        read_server_version(conn),
        frozenset(word for (word,) in words),
    )


def _render_query(ledger_schema: str) -> str:
    return _QUERY.format(
        users=_USERS.format(ledger=quote_literal(ledger_schema)),
        own_relation=_NO_EXTENSION.format(catalog="pg_class", oid="c.oid"),
        own_function=_NO_EXTENSION.format(catalog="pg_proc", oid="f.oid"),
        policy_reads=_POLICY_READS,
    )


def _group(rows: Iterable[Row], build: Callable[[Row], T]) -> Mapping[int, tuple[T, ...]]:
    """Return what ``build`` makes of the rows, by their first value."""
    grouped: defaultdict[int, list[T]] = defaultdict(list)
    for row in rows:
        grouped[row[0]].append(build(row))
    return {oid: tuple(built) for oid, built in grouped.items()}


def _build_column(row: Row) -> CatalogColumn:
    _, name, type_name, not_null, comment, _ = row
    return CatalogColumn(name, type_name, not_null, comment)


def _build_constraint(names: _ColumnNames, row: Row) -> CatalogConstraint:
    oid, name, sort, numbers, valid, schema, target, target_numbers, target_oid = row
    return CatalogConstraint(
        name,
        sort,
        tuple(names[oid, number] for number in numbers or ()),
        valid,
        quote_name(schema, target) if target else None,
        tuple(names[target_oid, number] for number in target_numbers or ()),
    )


def _build_index(names: _ColumnNames, row: Row) -> CatalogIndex:
    oid, name, numbers, keys, unique, primary, valid, method, predicate, *details = row
    classes, collations, options, expressions, of_constraint, replica_identity, nulls = details
    words = zip(classes.split(), collations.split(), options.split(), strict=False)
    # An expression has the number 0, which no column has.
    columns = [names.get((oid, number)) for number in numbers]
    return CatalogIndex(
        name,
        tuple(columns[:keys]),
        tuple(column for column in columns[keys:] if column),
        unique,
        primary,
        valid,
        method,
        predicate,
        tuple(" ".join(word) + (" nulls not distinct" if nulls else "") for word in words),
        expressions,
        of_constraint,
        replica_identity,
    )


def _build_function(row: Row) -> CatalogFunction:
    _, schema, name, arguments, language, definition, source, definer, settings, triggers, comment = row
    return CatalogFunction(
        schema,
        name,
        arguments,
        language,
        definition,
        source,
        definer,
        tuple(settings or ()),
        triggers,
        comment,
    )


def _build_relation(row: Row, parts: _Parts) -> CatalogRelation:
    oid, schema, name, kind, unlogged, partition, row_security, size_bytes, comment = row
    return CatalogRelation(
        schema,
        name,
        _SORTS[kind],
        columns=parts.columns.get(oid, ()),
        constraints=parts.constraints.get(oid, ()),
        indexes=parts.indexes.get(oid, ()),
        policies=parts.policies.get(oid, ()),
        triggers=parts.triggers.get(oid, ()),
        depends_on=parts.depends_on.get(oid, ()),
        comment=comment,
        partitioned=kind == "p",
        partition=partition,
        unlogged=unlogged,
        row_security=row_security,
        estimated_bytes=size_bytes,
    )
