"""Rules of indexes: building, dropping and rebuilding them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from confiture.rules.measurements import works
from confiture.rules.parse_tree import Name, columns_in, derived, name_in, name_of
from confiture.rules.parsed_migration import Piece
from confiture.rules.recipes import outside, part, recipe
from confiture.rules.rule import Example, Hit, Rule
from confiture.sql.parser import deparse_statement, read_enum_name
from confiture.sql.quote import quote_ident
from confiture.sql.transaction_block import find_transaction_refusal, find_transaction_words

_ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);"


def index_name(stmt: Any) -> str:
    """Return the index's name, PostgreSQL's own where none is written."""
    if stmt.idxname:
        return str(stmt.idxname)
    words = [
        parameter.index_elem.name or _first_column(parameter.index_elem) for parameter in stmt.index_params
    ]
    return derived(stmt.relation.relname, "_".join(words), "idx")


def _first_column(element: Any) -> str:
    return "expr" if not element.HasField("expr") else next(iter(columns_in(element.expr)), "expr")


def concurrently(stmt: Any) -> str:
    """Return a CREATE INDEX as CREATE INDEX CONCURRENTLY."""
    copied = type(stmt)()
    copied.CopyFrom(stmt)
    copied.concurrent, copied.idxname = True, index_name(stmt)
    return f"{created(copied)};"


def created(stmt: Any) -> str:
    """Return a CREATE INDEX as SQL; the method that PostgreSQL takes anyway is left out."""
    return deparse_statement("index_stmt", stmt).replace(" USING btree (", " (", 1)


def _plain_build(piece: Piece) -> bool:
    stmt = piece.stmt
    return not stmt.concurrent and stmt.relation.inh and not piece.is_new(name_of(stmt.relation))


def _not_concurrent(piece: Piece) -> Iterator[Hit]:
    if _plain_build(piece) and not _partitions_built(piece):
        table = name_of(piece.stmt.relation)
        yield Hit(
            f"builds an index on {table} while writes to it wait",
            str(table),
            recipe(outside(concurrently(piece.stmt))),
        )


def _partitions_built(piece: Piece) -> tuple[str, ...]:
    """Return the other tables that indexes were built on: the partitions."""
    table = name_of(piece.stmt.relation)
    builds = piece.report.index_builds if piece.report else ()
    return tuple(dict.fromkeys(build.table for build in builds if not table.is_rel(build.table)))


def _recurses(piece: Piece) -> Iterator[Hit]:
    if not _plain_build(piece):
        return
    table = name_of(piece.stmt.relation)
    yield Hit(
        f"builds an index on every partition of {table} while writes to them wait",
        str(table),
        _index_by_partition(piece.stmt, table, _partitions_built(piece) or (f"{table}_partition",)),
    )


def _index_by_partition(stmt: Any, table: Name, partitions: tuple[str, ...]) -> str:
    name = index_name(stmt)
    parent = type(stmt)()
    parent.CopyFrom(stmt)
    parent.idxname, parent.relation.inh = name, False
    whole = table.beside(name)
    builds, attaches = [], []
    for partition in partitions:
        schema, _, bare = partition.rpartition(".")
        copied = type(stmt)()
        copied.CopyFrom(stmt)
        copied.relation.schemaname, copied.relation.relname = schema.strip('"'), bare.strip('"')
        copied.idxname = derived(bare.strip('"'), name, "part")
        builds.append(concurrently(copied))
        child = f"{schema}.{quote_ident(copied.idxname)}" if schema else quote_ident(copied.idxname)
        attaches.append(f"ALTER INDEX {whole} ATTACH PARTITION {child};")
    return recipe(part(f"{created(parent)};"), outside(*builds), part(*attaches))


def _is_recursive(_: Hit, piece: Piece) -> bool:
    return bool(_partitions_built(piece))


def _drop(piece: Piece) -> Iterator[Hit]:
    stmt = piece.stmt
    if read_enum_name(stmt, "remove_type") != "OBJECT_INDEX" or stmt.concurrent:
        return
    names = [name_in(each.list.items) for each in stmt.objects]
    there = [name for name in names if not piece.is_new(name)]
    exists = "IF EXISTS " if stmt.missing_ok else ""
    if there:
        yield Hit(
            f"drops {', '.join(map(str, there))} while reads and writes of its table wait",
            str(there[0]),
            recipe(outside(*(f"DROP INDEX CONCURRENTLY {exists}{each};" for each in there))),
        )


def _reindex(piece: Piece) -> Iterator[Hit]:
    stmt = piece.stmt
    if outside_words(piece).endswith("CONCURRENTLY"):
        return
    sort = read_enum_name(stmt, "kind").removeprefix("REINDEX_OBJECT_")
    target = (
        str(name_of(stmt.relation))
        if stmt.HasField("relation")
        else quote_ident(stmt.name)
        if stmt.name
        else ""
    )
    if stmt.HasField("relation") and piece.is_new(name_of(stmt.relation)):
        return
    yield Hit(
        f"rebuilds {'the index' if sort == 'INDEX' else 'every index of'} {target or 'the database'} "
        "while writes wait, and reads that would use it",
        target or None,
        recipe(outside(f"REINDEX {sort} CONCURRENTLY {target}".rstrip() + ";")),
    )


def outside_words(piece: Piece) -> str:
    """Return what a statement is called that cannot run in a transaction, else nothing."""
    found = find_transaction_refusal(piece.kind, piece.node)
    return found.words if found and found.always else ""


def _in_transaction(piece: Piece) -> Iterator[Hit]:
    words = outside_words(piece)
    if (
        words
        and piece.reading.transactional
        and not find_transaction_words(piece.kind, piece.node, piece.sql)
    ):
        yield Hit(
            f"{words} cannot run inside a transaction: error 25001",
            None,
            recipe(outside(f"{_sql(piece)};")),
        )


def _sql(piece: Piece) -> str:
    return re.sub(r"\s*;\s*$", "", piece.sql.strip())


RULES = (
    Rule(
        id="index-not-concurrent",
        severity="error",
        basis="either",
        summary="CREATE INDEX on a table that is there",
        effect="takes a Share lock and holds it until the index is built and the migration has ended",
        risk="every INSERT, UPDATE and DELETE of the table waits for as long",
        check=_not_concurrent,
        confirmed_by=works,
        kinds=("index_stmt",),
        example=Example(_ORDERS, "CREATE INDEX orders_qty_idx ON orders (qty);"),
    ),
    Rule(
        id="partitioned-index-recurses",
        severity="error",
        basis="measured",
        summary="CREATE INDEX on a partitioned table",
        effect="takes a Share lock on the table and all its partitions, and builds index after index",
        risk="writes to all partitions wait until the last index is built",
        check=_recurses,
        confirmed_by=_is_recursive,
        kinds=("index_stmt",),
        example=Example(
            "CREATE TABLE metric (id bigint, at date NOT NULL, v int) PARTITION BY RANGE (at);"
            "CREATE TABLE metric_a PARTITION OF metric FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
            "CREATE TABLE metric_b PARTITION OF metric FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');",
            "CREATE INDEX metric_v_idx ON metric (v);",
            differs="an index that is attached keeps the name it was built with",
        ),
    ),
    Rule(
        id="drop-index-not-concurrent",
        severity="warning",
        basis="static",
        summary="DROP INDEX",
        effect="takes an AccessExclusive lock on the table, for a moment",
        risk="it waits for the longest query on the table, and everyone else waits behind it",
        check=_drop,
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
        risk="writes wait, and so do reads, because the planner opens every index of the table",
        check=_reindex,
        confirmed_by=works,
        kinds=("reindex_stmt",),
        example=Example(
            f"{_ORDERS} CREATE INDEX orders_qty_idx ON orders (qty);", "REINDEX INDEX orders_qty_idx;"
        ),
    ),
    Rule(
        id="concurrently-in-transaction",
        severity="error",
        basis="static",
        summary="CONCURRENTLY, VACUUM and the like inside a transaction",
        effect="refuses with error 25001",
        risk="the migration fails",
        check=_in_transaction,
        kinds=("index_stmt", "drop_stmt", "reindex_stmt", "alter_table_stmt", "vacuum_stmt"),
        example=Example(_ORDERS, "CREATE INDEX CONCURRENTLY orders_qty_idx ON orders (qty);"),
    ),
)
