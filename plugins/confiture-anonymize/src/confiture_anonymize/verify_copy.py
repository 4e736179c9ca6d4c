"""Compare a copy with its source: nothing personal is left, and everything else is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import evolve, frozen
from psycopg import Connection

from confiture_anonymize.copy_plan import ColumnPlan, TablePlan
from confiture_anonymize.copy_rows import hold_snapshot, prepare_session
from confiture_anonymize.foreign_keys import find_orphans
from confiture_anonymize.keyed_hash import Key, render_number
from confiture_anonymize.original_values import find_original_values
from confiture_anonymize.profile import Profile, match_parts
from confiture_anonymize.source_schema import quote

_DOMAIN = "verify"


@frozen
class Finding:
    """One thing that is not as the profile promises.

    Attributes:
        check: ``original-value``, ``rows``, ``nulls``, ``values``, ``foreign-key``, ``skipped`` or
            ``k-anonymity``.
        where: The table, or the column.
        message: What is wrong, without any value.
        rows: How many rows are concerned.
    """

    check: str
    where: str
    message: str
    rows: int


@frozen
class ColumnSummary:
    """A column of one side, summed up.

    Attributes:
        values: How many values are not NULL.
        checksum: The sum of the hashes of all values, whatever their order.
    """

    values: int
    checksum: int


def verify_copy(
    source: Connection[Any], target: Connection[Any], plans: Sequence[TablePlan], profile: Profile, key: Key
) -> tuple[Finding, ...]:
    """Return everything that is wrong with a copy; nothing is written to either side."""
    prepare_session(source, key, plans)
    prepare_session(target, key, plans)
    with hold_snapshot(source):
        findings = [
            *_compare_tables(source, target, plans, key),
            *(Finding("original-value", *found) for found in find_original_values(source, target, plans)),
        ]
    orphans = (
        Finding("foreign-key", table, f"{rows} rows refer to nothing ({name})", rows)
        for table, name, rows in find_orphans(target, plans)
    )
    return (*findings, *orphans, *_check_groups(target, plans, profile))


def _compare_tables(
    source: Connection[Any], target: Connection[Any], plans: Sequence[TablePlan], key: Key
) -> Iterator[Finding]:
    for plan in plans:
        label = plan.table.label
        if plan.skipped:
            rows = _count_rows(target, plan)
            if rows:
                yield Finding("skipped", label, f"is skipped, and has {rows} rows in the copy", rows)
            continue
        expected_rows, expected = _summarize(source, plan, masked=True)
        rows, found = _summarize(target, plan, masked=False)
        if rows != expected_rows:
            yield Finding("rows", label, f"has {rows} rows in the copy, {expected_rows} in the source", rows)
            continue
        for column, wanted, there in zip(plan.columns, expected, found, strict=True):
            if column.mask is not None and (function := column.mask.function) is not None:
                wanted = evolve(wanted, checksum=_sum_masked(source, plan, column.sql, function, key))
            yield from _compare_column(plan, column, wanted, there)


def _compare_column(
    plan: TablePlan, column: ColumnPlan, expected: ColumnSummary, found: ColumnSummary
) -> Iterator[Finding]:
    where = f"{plan.table.label}.{column.column.name}"
    if found.values != expected.values:
        message = f"has {found.values} values in the copy where {expected.values} are expected"
        yield Finding("nulls", where, message, abs(found.values - expected.values))
    elif found.checksum != expected.checksum:
        message = (
            "does not have the values of the source"
            if column.mask is None
            else "is not masked as the profile says"
        )
        yield Finding("values", where, message, found.values)


def _summarize(
    conn: Connection[Any], plan: TablePlan, *, masked: bool
) -> tuple[int, tuple[ColumnSummary, ...]]:
    """Return the rows of a table, and the summary of each column: as it is, or as its mask would make it."""
    inner = ", ".join(
        f"{_render_expected(column) if masked else quote(column.column.name)} AS c{index}"
        for index, column in enumerate(plan.columns)
    )
    sums = ", ".join(
        f"count(c{index}), {_render_checksum(column, index)}" for index, column in enumerate(plan.columns)
    )
    query = (
        f"SELECT count(*){', ' if sums else ''}{sums} FROM (SELECT {inner} FROM {plan.table.rows_sql}) AS x"
    )
    ((rows, *values),) = conn.execute(query.encode()).fetchall()
    return rows, tuple(ColumnSummary(*pair) for pair in zip(values[::2], values[1::2], strict=True))


def _render_expected(column: ColumnPlan) -> str:
    return f"({column.sql})::{column.column.type}"


def _render_checksum(column: ColumnPlan, index: int) -> str:
    if column.mask is not None and column.mask.function is not None:
        return f"coalesce(sum({render_number(_DOMAIN, f'c{index}::text')}::numeric), 0)"
    return f"coalesce(sum(pg_catalog.hashtextextended(c{index}::text, 0)::numeric), 0)"


def _sum_masked(
    source: Connection[Any], plan: TablePlan, value_sql: str, function: Callable[[str], str], key: Key
) -> int:
    """Return the checksum of a column that a function of ours masks, which the server cannot call."""
    total = 0
    with source.cursor() as cursor:
        query = f"COPY (SELECT {value_sql} FROM {plan.table.rows_sql}) TO STDOUT"
        with cursor.copy(query.encode()) as rows:
            for (value,) in rows.rows():
                if value is not None:
                    total += int.from_bytes(key.digest(_DOMAIN, function(value))[:7])
    return total


def _count_rows(conn: Connection[Any], plan: TablePlan) -> int:
    ((rows,),) = conn.execute(f"SELECT count(*) FROM {plan.table.sql}".encode()).fetchall()
    return int(rows)


def _check_groups(target: Connection[Any], plans: Sequence[TablePlan], profile: Profile) -> Iterator[Finding]:
    """Find rows that their quasi-identifiers single out."""
    for pattern, columns in profile.quasi_identifiers.items():
        for plan in plans:
            if plan.skipped or not match_parts(pattern, plan.table.identity):
                continue
            names = ", ".join(map(quote, columns))
            query = (
                f"SELECT coalesce(sum(n), 0)::bigint FROM (SELECT count(*) AS n FROM {plan.table.rows_sql}"
                f" GROUP BY {names} HAVING count(*) < {profile.k}) AS x"
            )
            ((rows,),) = target.execute(query.encode()).fetchall()
            if rows:
                message = f"{rows} rows are in groups of fewer than {profile.k} by {', '.join(columns)}"
                yield Finding("k-anonymity", plan.table.label, message, rows)
