"""Look in a copy for values that masked columns have in the source: by keyed hash, so none leaves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection

from confiture.plugins.kit import format_count
from confiture_anonymize.copy_plan import ColumnPlan, TablePlan
from confiture_anonymize.copy_rows import stream_copy
from confiture_anonymize.keyed_hash import render_digest
from confiture_anonymize.source_schema import quote, quote_text

_DOMAIN = "verify"
_HASHES = "pg_temp.original_values"
_ROWS = "pg_temp.original_rows"
# Shorter texts are found in many columns by chance: "NL", "42".
_MIN_CHARS = 5
_MIN_SHAPE_CHARS = 8
_TEXT_SORTS = ("text", "json", "inet", "bytea", "other")


def find_original_values(
    source: Connection[Any], target: Connection[Any], plans: Sequence[TablePlan]
) -> Iterator[tuple[str, str]]:
    """Yield each column of the copy that holds original values: its name, and a message."""
    target.execute(f"CREATE TEMP TABLE IF NOT EXISTS original_values (hash bytea); TRUNCATE {_HASHES}")
    for plan in plans:
        if not plan.skipped and plan.masked:
            _send_hashes(source, target, plan)
            yield from _find_unchanged_rows(source, target, plan)
    target.execute(f"CREATE INDEX ON {_HASHES} USING hash (hash); ANALYZE {_HASHES}".encode())
    for plan in plans:
        if not plan.skipped:
            yield from _find_anywhere(target, plan)
    target.execute(f"DROP TABLE {_HASHES}".encode())


def render_hash(text_sql: str) -> str:
    """Return SQL for the keyed hash under which values are compared."""
    return render_digest(_DOMAIN, text_sql)


def _send_hashes(source: Connection[Any], target: Connection[Any], plan: TablePlan) -> None:
    """Collect the hashes of values that must be nowhere in the copy."""
    for column in plan.masked:
        if column.promise == "other" or column.column.sort not in _TEXT_SORTS or _has_pool(column):
            continue
        min_chars = _MIN_SHAPE_CHARS if column.promise == "changed" else _MIN_CHARS
        name = f"{quote(column.column.name)}::text"
        query = (
            f"COPY (SELECT DISTINCT {render_hash(name)} FROM {plan.table.rows_sql}"
            f" WHERE pg_catalog.length({name}) >= {min_chars} AND {_render_findable(column)}) TO STDOUT"
        )
        stream_copy(source, target, query, f"COPY {_HASHES} FROM STDIN")


def _render_findable(column: ColumnPlan) -> str:
    """Return the condition under which a value can be told from one that a mask makes."""
    name = f"{quote(column.column.name)}::text"
    conditions = [f"{name} ~ '[[:alnum:]]'"]
    if column.mask is not None and column.mask.constant is not None:
        conditions.append(f"{name} <> {quote_text(column.mask.constant)}")
    return " AND ".join(conditions)


def _has_pool(column: ColumnPlan) -> bool:
    # A real city is the name of many things that are no personal data; its row is compared with itself.
    return bool(column.mask and column.mask.settings)


def _find_anywhere(target: Connection[Any], plan: TablePlan) -> Iterator[tuple[str, str]]:
    """Find originals in every text column of the copy, masked or kept."""
    columns = [
        column.column.name
        for column in plan.columns
        # A mask with few possible results may turn one value into another row's original.
        if column.column.sort in _TEXT_SORTS and not (column.mask and column.promise == "changed")
    ]
    if not columns:
        return
    # One semi-join per column: as a condition of one aggregate, a large set would be searched row by row.
    query = " UNION ALL ".join(
        f"SELECT {index}, count(*) FROM {plan.table.rows_sql}"
        f" WHERE {render_hash(f'{quote(name)}::text')} IN (SELECT hash FROM {_HASHES})"
        for index, name in enumerate(columns)
    )
    for index, rows in target.execute(query.encode()).fetchall():
        if rows:
            message = f"has {format_count(rows, 'row')} with a value that a masked column has in the source"
            yield f"{plan.table.label}.{columns[index]}", message


def _find_unchanged_rows(
    source: Connection[Any], target: Connection[Any], plan: TablePlan
) -> Iterator[tuple[str, str]]:
    """Find rows, by primary key, whose masked value is their own original."""
    by_name = {column.column.name: column for column in plan.columns}
    keys = [by_name[name] for name in plan.table.primary_key if name in by_name]
    if not keys or any(key.mask is not None and key.mask.function is not None for key in keys):
        return
    masked = [column for column in plan.masked if column not in keys]
    if not masked:
        return
    key_names = [f"k{index}" for index in range(len(keys))]
    hash_names = [f"h{index}" for index in range(len(masked))]
    definition = ", ".join(
        (*(f"{name} text" for name in key_names), *(f"{name} bytea" for name in hash_names))
    )
    target.execute(f"CREATE TEMP TABLE original_rows ({definition})".encode())
    selected = ", ".join(
        (
            *(f"({key.sql})::{key.column.type}::text" for key in keys),
            *(_render_row_hash(column) for column in masked),
        )
    )
    stream_copy(
        source,
        target,
        f"COPY (SELECT {selected} FROM {plan.table.rows_sql}) TO STDOUT",
        f"COPY {_ROWS} FROM STDIN",
    )
    yield from _count_unchanged(target, plan, keys, masked)
    target.execute(f"DROP TABLE {_ROWS}".encode())


def _render_row_hash(column: ColumnPlan) -> str:
    text = f"{quote(column.column.name)}::text"
    conditions = [_render_findable(column)] if column.mask and column.mask.constant is not None else []
    conditions.append(f"{text} ~ '[[:alnum:]]'")
    if column.rule is not None and column.rule.when:
        conditions.append(f"({column.rule.when})")
    return f"CASE WHEN {' AND '.join(conditions)} THEN {render_hash(text)} END"


def _count_unchanged(
    target: Connection[Any], plan: TablePlan, keys: Sequence[ColumnPlan], masked: Sequence[ColumnPlan]
) -> Iterator[tuple[str, str]]:
    joined = " AND ".join(f"o.k{index} = t.{quote(key.column.name)}::text" for index, key in enumerate(keys))
    counts = ", ".join(
        f"count(*) FILTER (WHERE h{index} = {render_hash(f't.{quote(column.column.name)}::text')}),"
        f" count(h{index}), count(DISTINCT h{index})"
        for index, column in enumerate(masked)
    )
    query = f"ANALYZE {_ROWS}; SELECT {counts} FROM {_ROWS} AS o JOIN {plan.table.rows_sql} AS t ON {joined}"
    cursor = target.execute(query.encode())
    cursor.nextset()
    (found,) = cursor.fetchall()
    for index, column in enumerate(masked):
        unchanged, values, different = found[3 * index : 3 * index + 3]
        where = f"{plan.table.label}.{column.column.name}"
        if column.promise != "other" and unchanged:
            yield where, f"has {unchanged:,} of {format_count(values, 'row')} with their own original value"
        elif unchanged == values and different > 1:
            yield where, f"has all {values:,} rows with their own original value"
