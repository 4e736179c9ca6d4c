"""Compare each table of a copy with what its masks make of the source: rows, values, and a second run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from attrs import evolve, frozen
from psycopg import Connection

from confiture.models.report import Finding
from confiture.plugins.kit import format_count
from confiture_anonymize.copy_findings import make_finding
from confiture_anonymize.copy_plan import ColumnPlan, TablePlan
from confiture_anonymize.keyed_hash import Key, render_number
from confiture_anonymize.source_schema import quote

_DOMAIN = "verify"
_SAMPLE_ROWS = 200
_REMEMBERED = 10_000


@frozen
class ColumnSummary:
    """A column of one side, summed up.

    Attributes:
        values: How many values are not NULL.
        checksum: The sum of the hashes of all values, each with the primary key of its row if that is known.
    """

    values: int
    checksum: int


def compare_tables(
    source: Connection[Any], target: Connection[Any], plans: Sequence[TablePlan], key: Key
) -> Iterator[Finding]:
    """Yield each table and column that is not what the profile makes of the source."""
    for plan in plans:
        label = plan.table.label
        if plan.skipped:
            rows = _count_rows(target, plan)
            if rows:
                message = f"is skipped, and has {format_count(rows, 'row')} in the copy"
                yield make_finding("skipped", label, message)
            continue
        expected_rows, expected = _summarize_masked(source, plan, key)
        rows, found = _summarize(target, plan, masked=False)
        if rows != expected_rows:
            message = f"has {format_count(rows, 'row')} in the copy, {expected_rows:,} in the source"
            yield make_finding("rows", label, message)
            continue
        for column, wanted, there in zip(plan.columns, expected, found, strict=True):
            yield from _compare_column(plan, column, wanted, there)
        yield from _mask_twice(source, plan, key)


def _compare_column(
    plan: TablePlan, column: ColumnPlan, expected: ColumnSummary, found: ColumnSummary
) -> Iterator[Finding]:
    where = f"{plan.table.label}.{column.column.name}"
    if found.values != expected.values:
        message = f"has {format_count(found.values, 'value')} in the copy instead of {expected.values:,}"
        yield make_finding("nulls", where, message)
    elif found.checksum != expected.checksum:
        if column.mask is None:
            yield make_finding("values", where, "does not have the values of the source")
        else:
            yield make_finding("mask", where, "is not masked as the profile says")


def _mask_twice(source: Connection[Any], plan: TablePlan, key: Key) -> Iterator[Finding]:
    """Find masks that do not give the same result on a second run."""
    if not plan.masked:
        return
    # The system columns are there too: a mask may read them.
    sample = f"(SELECT tableoid, ctid, * FROM {plan.table.rows_sql} LIMIT {_SAMPLE_ROWS}) AS sample"
    (_, once), (_, again) = (_summarize_masked(source, plan, key, sample) for _ in range(2))
    for column, first, second in zip(plan.columns, once, again, strict=True):
        if first != second:
            where = f"{plan.table.label}.{column.column.name}"
            yield make_finding("second-run", where, "is masked otherwise on a second run")


def _summarize_masked(
    source: Connection[Any], plan: TablePlan, key: Key, rows_sql: str | None = None
) -> tuple[int, list[ColumnSummary]]:
    """Return what :func:`_summarize` does, functions of ours applied, which the server cannot call."""
    rows, summaries = _summarize(source, plan, masked=True, rows_sql=rows_sql)
    return rows, [
        evolve(summary, checksum=_sum_masked(source, plan, column, column.mask.function, key, rows_sql))
        if column.mask is not None and column.mask.function is not None
        else summary
        for column, summary in zip(plan.columns, summaries, strict=True)
    ]


def _summarize(
    conn: Connection[Any], plan: TablePlan, *, masked: bool, rows_sql: str | None = None
) -> tuple[int, tuple[ColumnSummary, ...]]:
    """Return the rows of a table, and the summary of each column: as it is, or as its mask would make it."""
    inner = "".join(
        f", {_render_expected(column) if masked else quote(column.column.name)} AS c{index}"
        for index, column in enumerate(plan.columns)
    )
    sums = "".join(
        f", count(c{index}), {_render_checksum(column, index)}" for index, column in enumerate(plan.columns)
    )
    # OFFSET 0: the key of a row is computed once, not once per column.
    query = (
        f"SELECT count(*){sums} FROM (SELECT {_render_row_key(plan, masked=masked)} AS k{inner}"
        f" FROM {rows_sql or plan.table.rows_sql} OFFSET 0) AS x"
    )
    ((rows, *values),) = conn.execute(query.encode()).fetchall()
    return rows, tuple(ColumnSummary(*pair) for pair in zip(values[::2], values[1::2], strict=True))


def _render_row_key(plan: TablePlan, *, masked: bool) -> str:
    """Return SQL for a number that the primary key decides; 0 if not both sides can compute it."""
    by_name = {column.column.name: column for column in plan.columns}
    keys = [by_name.get(name) for name in plan.table.primary_key]
    texts = [
        f"{_render_expected(key) if masked else quote(key.column.name)}::text"
        for key in keys
        if key is not None and (key.mask is None or not (key.mask.function or key.mask.moves))
    ]
    if not texts or len(texts) < len(keys):
        return "0::bigint"
    return f"pg_catalog.hashtextextended(pg_catalog.concat_ws(E'\\x1f', {', '.join(texts)}), 0)"


def _render_expected(column: ColumnPlan) -> str:
    return f"({column.sql})::{column.column.type}"


def _render_checksum(column: ColumnPlan, index: int) -> str:
    if column.mask is not None and column.mask.function is not None:
        return f"coalesce(sum({render_number(_DOMAIN, f'(k || {_BREAK} || c{index}::text)')}::numeric), 0)"
    seed = "0" if column.mask is not None and column.mask.moves else "k"
    return f"coalesce(sum(pg_catalog.hashtextextended(c{index}::text, {seed})::numeric), 0)"


_BREAK = "':'"


def _sum_masked(
    source: Connection[Any],
    plan: TablePlan,
    column: ColumnPlan,
    function: Callable[[str], str],
    key: Key,
    rows_sql: str | None,
) -> int:
    total = 0
    # A second run must not find the results of the first.
    masked = function if rows_sql else lru_cache(maxsize=_REMEMBERED)(function)
    row_key = _render_row_key(plan, masked=True)
    query = f"COPY (SELECT {row_key}, {column.sql} FROM {rows_sql or plan.table.rows_sql}) TO STDOUT"
    with source.cursor() as cursor, cursor.copy(query.encode()) as rows:
        for number, value in rows.rows():
            if value is not None:
                total += int.from_bytes(key.digest(_DOMAIN, f"{number}:{masked(value)}")[:7])
    return total


def _count_rows(conn: Connection[Any], plan: TablePlan) -> int:
    ((rows,),) = conn.execute(f"SELECT count(*) FROM {plan.table.sql}".encode()).fetchall()
    return int(rows)
