"""Stream the rows of a table from one connection to another, masked on the way, through no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from psycopg import Connection

from confiture_anonymize.copy_plan import TablePlan
from confiture_anonymize.keyed_hash import Key
from confiture_anonymize.source_schema import quote

# Texts of values must not depend on a session's settings, or the two sides would write them differently.
# A scan always begins at the first row, and a shuffle of some hundred thousand is sorted in memory.
SESSION = """
    SET row_security = off; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC';
    SET extra_float_digits = 1; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET lc_monetary = 'C'; SET bytea_output = 'hex'; SET xmloption = 'content';
    SET synchronize_seqscans = off; SET work_mem = '64MB'"""
_REMEMBERED = 10_000


def prepare_session(conn: Connection[Any], key: Key, plans: Sequence[TablePlan]) -> None:
    """Give a session the settings, the key and the pools that masks are evaluated with."""
    conn.execute(SESSION)
    key.install(conn)
    settings: dict[str, str] = {}
    for plan in plans:
        for column in plan.masked:
            settings |= column.mask.settings if column.mask else {}
    for name, value in settings.items():
        conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))


@contextmanager
def hold_snapshot(conn: Connection[Any]) -> Iterator[None]:
    """Read one moment of the database in the block, and write nothing."""
    conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("ROLLBACK")


def copy_table(source: Connection[Any], target: Connection[Any], plan: TablePlan) -> int:
    """Stream the rows of one table, masked, and return how many there were."""
    names = ", ".join(quote(column.column.name) for column in plan.columns)
    expressions = ", ".join(column.sql for column in plan.columns)
    moved = any(column.mask is not None and column.mask.moves for column in plan.columns)
    # In the order of a shuffle, each value would stand next to the row that it comes from.
    order = f" ORDER BY {'tableoid, ' if plan.table.partitioned else ''}ctid" if moved else ""
    read = f"COPY (SELECT {expressions} FROM {plan.table.rows_sql}{order}) TO STDOUT"
    write = f"COPY {plan.table.sql} ({names}) FROM STDIN"
    functions = [remember(column.mask.function) if column.mask else None for column in plan.columns]
    if not any(functions):
        return stream_copy(source, target, read, write)
    with source.cursor() as reading, target.cursor() as writing:
        with reading.copy(read.encode()) as rows, writing.copy(write.encode()) as copy:
            for row in rows.rows():
                masked = [
                    function(value) if function is not None and value is not None else value
                    for function, value in zip(functions, row, strict=True)
                ]
                copy.write_row(masked)
        return writing.rowcount


def remember(function: Callable[[str], str] | None) -> Callable[[str], str] | None:
    """Return a function that keeps some results: many columns have few values."""
    return lru_cache(maxsize=_REMEMBERED)(function) if function else None


def stream_copy(source: Connection[Any], target: Connection[Any], read: str, write: str) -> int:
    """Send the output of one COPY to another as it is, and return the number of rows."""
    with source.cursor() as reading, target.cursor() as writing:
        with reading.copy(read.encode()) as rows, writing.copy(write.encode()) as copy:
            for data in rows:
                copy.write(data)
        return writing.rowcount
