"""Check that unique columns are unique in a copy, and that different values stayed different."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.models.report import Finding
from confiture_anonymize.copy_findings import make_finding
from confiture_anonymize.copy_plan import TablePlan
from confiture_anonymize.source_schema import Table, quote

_INDEXES = """
    SELECT n.nspname, c.relname, x.relname, pg_catalog.pg_get_indexdef(i.indexrelid),
        ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k, true)
            FROM pg_catalog.generate_series(1, i.indnkeyatts::int) AS k),
        pg_catalog.pg_get_expr(i.indpred, i.indrelid)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
    JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE i.indisunique AND i.indisvalid AND NOT c.relispartition
    ORDER BY 1, 2, 3"""


@frozen
class UniqueIndex:
    """A unique index of a table.

    Attributes:
        table: The table's key, ``(schema, name)``.
        name: Its name.
        definition: The statement that makes it.
        keys: The columns and expressions that are unique together, as SQL.
        condition: Of which rows, as SQL; ``None``: all.
    """

    table: tuple[str, str]
    name: str
    definition: str
    keys: tuple[str, ...]
    condition: str | None


def check_unique(
    source: Connection[Any], target: Connection[Any], plans: Sequence[TablePlan]
) -> Iterator[Finding]:
    """Find unique indexes of the source that the copy lacks, and count the values that recur.

    An index that is there and valid needs no look at the rows: the server has checked them.
    """
    tables = {plan.table.identity: plan.table for plan in plans if not plan.skipped}
    copied = {index.definition for index in _read_indexes(target)}
    for index in _read_indexes(source):
        if index.definition not in copied and (table := tables.get(index.table)):
            twice = _count_duplicates(target, table, index)
            message = f"lacks the unique index {index.name} in the copy; values that recur there: {twice:,}"
            yield make_finding("unique", f"{table.label}.{index.name}", message)


def check_distinct(
    source: Connection[Any], target: Connection[Any], plans: Sequence[TablePlan]
) -> Iterator[Finding]:
    """Find columns in which different values became one, though their strategy promises otherwise."""
    for plan in plans:
        names = [column.column.name for column in plan.masked if column.keeps_distinct]
        if not names:
            continue
        expected, found = (_count_distinct(conn, plan.table, names) for conn in (source, target))
        for name, wanted, copied in zip(names, expected, found, strict=True):
            if copied < wanted:
                message = f"has {copied} different values in the copy, {wanted} in the source"
                yield make_finding("distinct", f"{plan.table.label}.{name}", message)


def _count_distinct(conn: Connection[Any], table: Table, names: Sequence[str]) -> tuple[int, ...]:
    # Aggregated by hash, which DISTINCT within count() is not.
    counts = ", ".join(
        f"(SELECT count({quote(name)}) FROM (SELECT DISTINCT {quote(name)} FROM {table.rows_sql}) AS x)"
        for name in names
    )
    (row,) = conn.execute(f"SELECT {counts}".encode()).fetchall()
    return tuple(row)


def _read_indexes(conn: Connection[Any]) -> list[UniqueIndex]:
    return [
        UniqueIndex((schema, table), name, definition, tuple(keys), condition)
        for schema, table, name, definition, keys, condition in conn.execute(_INDEXES).fetchall()
    ]


def _count_duplicates(target: Connection[Any], table: Table, index: UniqueIndex) -> int:
    conditions = [f"({key}) IS NOT NULL" for key in index.keys]
    conditions += [f"({index.condition})"] if index.condition else []
    query = (
        f"SELECT count(*) FROM (SELECT FROM {table.rows_sql} WHERE {' AND '.join(conditions)}"
        f" GROUP BY {', '.join(f'({key})' for key in index.keys)} HAVING count(*) > 1) AS x"
    )
    ((twice,),) = target.execute(query.encode()).fetchall()
    return int(twice)
