"""Rules about building, dropping and rebuilding indexes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from confiture.rules.index_names import name_index
from confiture.rules.measurements import find_present_name, is_in_use, was_worked_on
from confiture.rules.parse_tree import (
    QualifiedName,
    TakenNames,
    read_name,
    read_name_list,
)
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.procedures import find_end_in_procedure
from confiture.rules.recipes import (
    Recipe,
    copy_tree,
    render_concurrently,
    render_created,
    write_non_transactional,
    write_part,
    write_recipe,
)
from confiture.rules.rule import Example, Hit, Rule
from confiture.sql.parser import deparse_statement, read_enum_name
from confiture.sql.procedural import find_transaction_end
from confiture.sql.quote import quote_ident
from confiture.sql.transaction_block import REFUSABLE_KINDS, find_transaction_refusal

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"


def _is_plain_build(statement: ParsedStatement) -> bool:
    stmt = statement.stmt
    # `inh` is false for ON ONLY: of a partitioned table that builds nothing.
    return not stmt.concurrent and stmt.relation.inh and not statement.is_new(read_name(stmt.relation))


def _check_not_concurrent(statement: ParsedStatement) -> Iterator[Hit]:
    if _is_plain_build(statement) and not _is_partitioned(statement):
        table, known = read_name(statement.stmt.relation), statement.migration.schema
        yield Hit(
            f"builds an index on {table} while blocking writes",
            str(table),
            _write_concurrently(statement.stmt, known.find_taken_names(table, statement)),
        )


def _write_concurrently(stmt: Any, taken: TakenNames) -> Recipe:
    name = name_index(stmt, taken)
    drop = f"DROP INDEX CONCURRENTLY {read_name(stmt.relation).name_sibling(name)};"
    # With IF NOT EXISTS the index may have been there before.
    down = None if stmt.if_not_exists else (drop,)
    return write_recipe(write_non_transactional(render_concurrently(stmt, name), down=down))


def _list_leaves(statement: ParsedStatement, table: QualifiedName) -> list[QualifiedName]:
    """Return the partitions that hold rows: those that a rehearsal built, else those that are known."""
    known = statement.migration.schema
    if built := _list_built_partitions(statement):
        return [name for name in built if name not in known.partition_keys]
    return list(known.list_leaves(table))


def _list_built_partitions(statement: ParsedStatement) -> tuple[QualifiedName, ...]:
    """Return the partitions that the rehearsal built indexes on."""
    table = read_name(statement.stmt.relation)
    builds = statement.report.index_builds if statement.report else ()
    built = (find_present_name(statement, build.table) for build in builds)
    return tuple(dict.fromkeys(name for name in built if not table.is_rel(str(name))))


def _is_partitioned(statement: ParsedStatement) -> bool:
    """Return True if the table is partitioned, by the rehearsal, the plan or the catalog."""
    table = read_name(statement.stmt.relation)
    return bool(_list_built_partitions(statement)) or table in statement.migration.schema.partition_keys


def _check_recurses(statement: ParsedStatement) -> Iterator[Hit]:
    if not _is_plain_build(statement) or not _is_partitioned(statement):
        return
    table = read_name(statement.stmt.relation)
    yield Hit(
        f"builds an index on every partition of {table} while blocking writes to all of them",
        str(table),
        _write_by_partition(statement, table, _list_leaves(statement, table)),
    )


def _write_by_partition(
    statement: ParsedStatement, table: QualifiedName, leaves: Iterable[QualifiedName]
) -> Recipe:
    """Return the index of a partitioned table, built partition by partition.

    CREATE INDEX CONCURRENTLY refuses a partitioned table. ON ONLY creates the parent's index without
    building anything; it becomes valid when an index of every partition is attached.
    """
    stmt, known = statement.stmt, statement.migration.schema
    taken = known.find_taken_names(table, statement)
    names = {table: name_index(stmt, taken)}
    empty, builds, attaches = [_render_on(stmt, table, names[table], only=True)], [], []
    for leaf in leaves:
        path = [leaf]
        while path[-1] != table and (parent := known.partitions.get(path[-1])) is not None:
            path.append(parent)
        # From the outermost partition inwards: an index can be attached only to one that exists.
        for parent, child in pairwise(reversed(path if path[-1] == table else [leaf, table])):
            if child in names:
                continue
            names[child] = name_index(stmt, taken, child.name)
            if child == leaf:
                builds.append(_render_on(stmt, child, names[child]))
            else:
                empty.append(_render_on(stmt, child, names[child], only=True))
            whole, part = parent.name_sibling(names[parent]), child.name_sibling(names[child])
            attaches.append(f"ALTER INDEX {whole} ATTACH PARTITION {part};")
    return write_recipe(write_part(*empty), write_non_transactional(*builds), write_part(*attaches))


def _render_on(stmt: Any, table: QualifiedName, name: str, *, only: bool = False) -> str:
    """Return the CREATE INDEX for another table."""
    copied = copy_tree(stmt)
    copied.relation.schemaname, copied.relation.relname = table.written or table.schema or "", table.name
    copied.idxname, copied.relation.inh = name, not only
    return f"{render_created(copied)};" if only else render_concurrently(copied, name)


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
        # Nor does it accept CASCADE, or the index of a partitioned table.
        known = statement.migration.schema
        parents = [known.indexes[name][0] for name in existing if name in known.indexes]
        refused = read_enum_name(stmt, "behavior") == "DROP_CASCADE" or any(
            parent in known.partition_keys for parent in parents
        )
        yield Hit(
            f"drops {', '.join(map(str, existing))} while blocking reads and writes of the table",
            str(existing[0]),
            # DROP INDEX CONCURRENTLY accepts only one index at a time.
            write_recipe(
                write_non_transactional(
                    *(f"DROP INDEX CONCURRENTLY {if_exists}{index};" for index in existing)
                )
            )
            if not refused
            else None,
        )


def _was_used_index(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if an index of a table in use was dropped: the text does not name the table."""
    own = statement.report.locks if statement.report else ()
    if not any(lock.kind == "index" for lock in own):
        return False
    migration = statement.migration.report
    # If an earlier statement has locked the table already, only the migration's list has it.
    for locks in (own, migration.locks if migration else ()):
        tables = [lock.relation for lock in locks if lock.kind in ("table", "matview") and lock.blocks]
        if tables:
            return any(is_in_use(statement, table) for table in tables)
    return True


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
        # System catalogs cannot be rebuilt concurrently.
        write_recipe(write_non_transactional(_render_reindex(stmt))) if sort != "SYSTEM" else None,
    )


def _render_reindex(stmt: Any) -> str:
    copied = copy_tree(stmt)
    copied.params.add().def_elem.defname = "concurrently"
    return f"{deparse_statement('reindex_stmt', copied)};"


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
    elif word := find_end_in_procedure(statement):
        words, sqlstate = f"CALL of a procedure with {word}", "2D000"
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
        basis="either",
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
        basis="either",
        summary="DROP INDEX",
        effect="takes an AccessExclusive lock on the table, though only briefly",
        risk="it waits for the longest query on the table, and every other query queues behind it",
        check=_check_drop,
        confirmed_by=_was_used_index,
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
        summary="CONCURRENTLY, VACUUM, CREATE DATABASE, DO with COMMIT and the like in a transaction",
        effect="refuses it with error 25001 or 2D000",
        risk="the migration fails",
        check=_check_in_transaction,
        kinds=REFUSABLE_KINDS,
        example=Example(_ORDERS, "CREATE INDEX CONCURRENTLY orders_qty_idx ON orders (qty);"),
    ),
)
