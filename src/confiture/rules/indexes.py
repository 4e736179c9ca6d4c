"""Rules about building, dropping and rebuilding indexes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from confiture.rules.measurements import was_worked_on
from confiture.rules.parse_tree import QualifiedName, derive_name, find_columns, read_name, read_name_list
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.recipes import Recipe, write_non_transactional, write_part, write_recipe
from confiture.rules.rule import Example, Hit, Rule
from confiture.sql.parser import deparse_statement, read_enum_name
from confiture.sql.procedural import find_transaction_end
from confiture.sql.quote import quote_ident
from confiture.sql.transaction_block import REFUSABLE_KINDS, find_transaction_refusal

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"


def name_index(stmt: Any) -> str:
    """Return the name of the index, or the one that PostgreSQL chooses if the text has none."""
    if stmt.idxname:
        return str(stmt.idxname)
    words = [
        parameter.index_elem.name or _name_first_column(parameter.index_elem)
        for parameter in stmt.index_params
    ]
    return derive_name(stmt.relation.relname, "_".join(words), "idx")


def _name_first_column(element: Any) -> str:
    return "expr" if not element.HasField("expr") else next(iter(find_columns(element.expr)), "expr")


def render_concurrently(stmt: Any) -> str:
    """Return a CREATE INDEX as CREATE INDEX CONCURRENTLY."""
    copied = type(stmt)()
    copied.CopyFrom(stmt)
    # The name is written out: if the build fails, the invalid index can be found and dropped by it.
    copied.concurrent, copied.idxname = True, name_index(stmt)
    return f"{render_created(copied)};"


def render_created(stmt: Any) -> str:
    """Return a CREATE INDEX as SQL, without USING btree, which is the default."""
    return deparse_statement("index_stmt", stmt).replace(" USING btree (", " (", 1)


def _is_plain_build(statement: ParsedStatement) -> bool:
    stmt = statement.stmt
    # `inh` is false for ON ONLY: of a partitioned table that builds nothing.
    return not stmt.concurrent and stmt.relation.inh and not statement.is_new(read_name(stmt.relation))


def _check_not_concurrent(statement: ParsedStatement) -> Iterator[Hit]:
    if _is_plain_build(statement) and not _list_built_partitions(statement):
        table = read_name(statement.stmt.relation)
        yield Hit(
            f"builds an index on {table} while blocking writes",
            str(table),
            write_recipe(write_non_transactional(render_concurrently(statement.stmt))),
        )


def _list_built_partitions(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the partitions that the rehearsal built indexes on."""
    table = read_name(statement.stmt.relation)
    builds = statement.report.index_builds if statement.report else ()
    return tuple(dict.fromkeys(build.table for build in builds if not table.is_rel(build.table)))


def _check_recurses(statement: ParsedStatement) -> Iterator[Hit]:
    if not _is_plain_build(statement):
        return
    table = read_name(statement.stmt.relation)
    yield Hit(
        f"builds an index on every partition of {table} while blocking writes to all of them",
        str(table),
        _render_index_by_partition(
            statement.stmt, table, _list_built_partitions(statement) or (f"{table}_partition",)
        ),
    )


def _render_index_by_partition(stmt: Any, table: QualifiedName, partitions: tuple[str, ...]) -> Recipe:
    # CREATE INDEX CONCURRENTLY refuses a partitioned table. ON ONLY creates the parent's index without
    # building anything; it becomes valid when an index of every partition is attached.
    name = name_index(stmt)
    parent = type(stmt)()
    parent.CopyFrom(stmt)
    parent.idxname, parent.relation.inh = name, False
    whole = table.name_sibling(name)
    builds, attaches = [], []
    for partition in partitions:
        schema, _, bare = partition.rpartition(".")
        copied = type(stmt)()
        copied.CopyFrom(stmt)
        copied.relation.schemaname, copied.relation.relname = schema.strip('"'), bare.strip('"')
        copied.idxname = derive_name(bare.strip('"'), name, "part")
        builds.append(render_concurrently(copied))
        child = f"{schema}.{quote_ident(copied.idxname)}" if schema else quote_ident(copied.idxname)
        attaches.append(f"ALTER INDEX {whole} ATTACH PARTITION {child};")
    return write_recipe(
        write_part(f"{render_created(parent)};"), write_non_transactional(*builds), write_part(*attaches)
    )


def _is_recursive(_: Hit, statement: ParsedStatement) -> bool:
    return bool(_list_built_partitions(statement))


def _check_drop(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    if read_enum_name(stmt, "remove_type") != "OBJECT_INDEX" or stmt.concurrent:
        return
    names = [read_name_list(item.list.items) for item in stmt.objects]
    existing = [name for name in names if not statement.is_new(name)]
    if_exists = "IF EXISTS " if stmt.missing_ok else ""
    if existing:
        yield Hit(
            f"drops {', '.join(map(str, existing))} while blocking reads and writes of the table",
            str(existing[0]),
            # DROP INDEX CONCURRENTLY accepts only one index at a time.
            write_recipe(
                write_non_transactional(
                    *(f"DROP INDEX CONCURRENTLY {if_exists}{index};" for index in existing)
                )
            ),
        )


def _check_reindex(statement: ParsedStatement) -> Iterator[Hit]:
    stmt = statement.stmt
    if describe_non_transactional(statement).endswith("CONCURRENTLY"):
        return
    sort = read_enum_name(stmt, "kind").removeprefix("REINDEX_OBJECT_")
    target = (
        str(read_name(stmt.relation))
        if stmt.HasField("relation")
        else quote_ident(stmt.name)
        if stmt.name
        else ""
    )
    if stmt.HasField("relation") and statement.is_new(read_name(stmt.relation)):
        return
    yield Hit(
        f"rebuilds {'the index' if sort == 'INDEX' else 'every index of'} {target or 'the database'} "
        "while blocking writes of the table, and reads that open the index",
        target or None,
        write_recipe(write_non_transactional(f"REINDEX {sort} CONCURRENTLY {target}".rstrip() + ";")),
    )


def describe_non_transactional(statement: ParsedStatement) -> str:
    """Return the words of a statement that cannot run in a transaction, ``"VACUUM"``, else ``""``."""
    refusal = find_transaction_refusal(statement.kind, statement.node)
    return refusal.words if refusal and refusal.always else ""


def _check_in_transaction(statement: ParsedStatement) -> Iterator[Hit]:
    if not statement.migration.transactional:
        return
    words, sqlstate = describe_non_transactional(statement), "25001"
    if end := find_transaction_end(statement.kind, statement.sql):
        words, sqlstate = f"DO with {end.word}", "2D000"
    if words:
        yield Hit(
            f"{words} cannot run inside a transaction: error {sqlstate}",
            None,
            write_recipe(write_non_transactional(f"{_render_sql(statement)};")),
        )


def _render_sql(statement: ParsedStatement) -> str:
    return re.sub(r"\s*;\s*$", "", statement.sql.strip())


RULES = (
    Rule(
        id="index-not-concurrent",
        severity="error",
        basis="either",
        summary="CREATE INDEX on an existing table",
        effect="takes a Share lock on the table and holds it until the migration ends",
        risk="writes of the table are blocked for the whole build and the rest of the migration",
        check=_check_not_concurrent,
        confirmed_by=was_worked_on,
        kinds=("index_stmt",),
        example=Example(_ORDERS, "CREATE INDEX orders_qty_idx ON orders (qty);"),
    ),
    Rule(
        id="partitioned-index-recurses",
        severity="error",
        basis="measured",
        summary="CREATE INDEX on a partitioned table",
        effect="takes a Share lock on the table and all its partitions, and builds one index after the other",
        risk="writes of all partitions are blocked until the last index is built",
        check=_check_recurses,
        confirmed_by=_is_recursive,
        kinds=("index_stmt",),
        example=Example(
            "CREATE TABLE metric (id bigint, at date NOT NULL, v int) PARTITION BY RANGE (at);"
            "CREATE TABLE metric_a PARTITION OF metric FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
            "CREATE TABLE metric_b PARTITION OF metric FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');",
            "CREATE INDEX metric_v_idx ON metric (v);",
            differs="the indexes of the partitions have other names",
        ),
    ),
    Rule(
        id="drop-index-not-concurrent",
        severity="warning",
        basis="static",
        summary="DROP INDEX",
        effect="takes an AccessExclusive lock on the table, though only briefly",
        risk="it waits for the longest query on the table, and every other query queues behind it",
        check=_check_drop,
        kinds=("drop_stmt",),
        example=Example(
            f"{_ORDERS} CREATE INDEX orders_qty_idx ON orders (qty);", "DROP INDEX orders_qty_idx;"
        ),
    ),
    Rule(
        id="reindex-not-concurrent",
        severity="error",
        basis="either",
        summary="REINDEX",
        effect="takes a Share lock on the table and an AccessExclusive lock on the index while it is rebuilt",
        risk="writes are blocked, and so are reads, because the planner opens every index of the table",
        check=_check_reindex,
        confirmed_by=was_worked_on,
        kinds=("reindex_stmt",),
        example=Example(
            f"{_ORDERS} CREATE INDEX orders_qty_idx ON orders (qty);", "REINDEX INDEX orders_qty_idx;"
        ),
    ),
    Rule(
        id="concurrently-in-transaction",
        severity="error",
        basis="static",
        summary="CONCURRENTLY, VACUUM, CREATE DATABASE, DO with COMMIT and the like inside a transaction",
        effect="refuses it with error 25001 or 2D000",
        risk="the migration fails",
        check=_check_in_transaction,
        kinds=REFUSABLE_KINDS,
        example=Example(_ORDERS, "CREATE INDEX CONCURRENTLY orders_qty_idx ON orders (qty);"),
    ),
)
