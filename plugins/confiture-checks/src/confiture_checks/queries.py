"""Run a check's queries without letting them change anything, and locate the errors of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection, Cursor
from psycopg.errors import LockNotAvailable
from psycopg.rows import tuple_row

from confiture.plugins.kit import PluginSettingsFault
from confiture_checks.errors import CheckRefused

# A cursor fetches the first rows of millions, and DECLARE refuses whatever is not a plain query.
_DECLARE = "DECLARE confiture_check NO SCROLL CURSOR FOR "


@frozen
class FirstRows:
    """The first rows of a query, as PostgreSQL writes them.

    Attributes:
        columns: The columns' names.
        rows: The values; ``None`` is NULL.
        has_more: Whether the query returns more rows than these.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    has_more: bool


@contextmanager
def forbid_writes(conn: Connection[Any]) -> Iterator[None]:
    """Make the transaction read-only inside the block; the settings of before hold again after it."""
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL transaction_read_only = on")
        yield


def read_transaction_start(conn: Connection[Any]) -> str:
    """Return when the transaction began, which is the same for every query of one transaction."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        ((start,),) = cursor.execute("SELECT transaction_timestamp()::text").fetchall()
    return str(start)


def fetch_first_rows(
    conn: Connection[Any], query: str, limit: int, place: Callable[[int | None], str]
) -> FirstRows:
    """Return the first ``limit`` rows of a query.

    Args:
        conn: A connection in a transaction.
        query: One statement.
        limit: How many rows to return at most.
        place: Returns where the query is written, or a character of it, counted from 0.

    Raises:
        CheckRefused: The server refuses the query.
    """
    with Cursor(conn, row_factory=tuple_row) as cursor:
        with locate_errors(lambda offset: place(None if offset is None else offset - len(_DECLARE))):
            # Without parameters, so that a % in the query is a plain %.
            cursor.execute((_DECLARE + query).encode(), prepare=False)
            cursor.execute(f"FETCH {limit + 1} FROM confiture_check".encode(), prepare=False)
        columns, rows = _read_result(cursor, conn.info.encoding)
        cursor.execute("CLOSE confiture_check")
    return FirstRows(columns, rows[:limit], has_more=len(rows) > limit)


def _read_result(
    cursor: Cursor[Any], encoding: str
) -> tuple[tuple[str, ...], tuple[tuple[str | None, ...], ...]]:
    # Not the Python values that psycopg would return: Python has no date for 'infinity'.
    result = cursor.pgresult
    assert result is not None
    fields = range(result.nfields)

    def decode(row: int, field: int) -> str | None:
        raw = result.get_value(row, field)
        return None if raw is None else bytes(raw).decode(encoding, "replace")

    columns = tuple((result.fname(field) or b"").decode(encoding, "replace") for field in fields)
    rows = tuple(tuple(decode(row, field) for field in fields) for row in range(result.ntuples))
    return columns, rows


def fetch_whole_number(conn: Connection[Any], query: str, place: str) -> int:
    """Return the one number that a query returns.

    Raises:
        PluginSettingsFault: The query returns something else.
        CheckRefused: The server refuses the query.
    """
    first = fetch_first_rows(conn, query.rstrip().rstrip(";"), 1, lambda _: place)
    (text,) = first.rows[0] if len(first.rows) == len(first.columns) == 1 else (None,)
    try:
        if first.has_more or text is None:
            raise ValueError
        return int(text)
    except ValueError:
        raise PluginSettingsFault(
            f"{place} must be a query that returns one whole number",
            hint="write it as SELECT count(*) FROM …",
        ) from None


@contextmanager
def locate_errors(place: Callable[[int | None], str]) -> Iterator[None]:
    """Raise the server's error as ``CheckRefused``, with the place that ``place`` returns."""
    try:
        yield
    except LockNotAvailable:
        raise  # The runner retries after this error, and after no other.
    except psycopg.Error as error:
        diag = error.diag
        message = (diag.message_primary or str(error)).strip()
        detail = f" ({diag.message_detail})" if diag.message_detail else ""
        offset = int(diag.statement_position) - 1 if diag.statement_position else None
        raise CheckRefused(
            f"{place(offset)}: {message}{detail}", sqlstate=error.sqlstate, hint=diag.message_hint
        ) from error
