"""Runs queries without changing the database, and says where a query was refused."""

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

# A cursor fetches the first rows of millions; and it refuses whatever is not a plain query.
_DECLARE = "DECLARE confiture_check NO SCROLL CURSOR FOR "


@frozen
class QueryAnswer:
    """The first rows of a query, as PostgreSQL writes them.

    Attributes:
        columns: Their names.
        rows: ``None`` is NULL.
        more: True if there are further rows.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    more: bool


@contextmanager
def open_read_only(conn: Connection[Any]) -> Iterator[None]:
    """Refuse writes inside the block."""
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL transaction_read_only = on")
        yield


def read_begin_time(conn: Connection[Any]) -> str:
    """Return the begin time of the transaction: equal times mean the same transaction."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        ((at,),) = cursor.execute("SELECT transaction_timestamp()::text").fetchall()
    return str(at)


def fetch_first_rows(
    conn: Connection[Any], query: str, limit: int, place: Callable[[int | None], str]
) -> QueryAnswer:
    """Return the first ``limit`` rows.

    Args:
        conn: In a transaction.
        query: One statement.
        limit: How many rows.
        place: Says where the query stands, or a character of it, counted from 0.

    Raises:
        CheckRefused: The server refuses the query.
    """
    with Cursor(conn, row_factory=tuple_row) as cursor:
        with locate_errors(lambda offset: place(None if offset is None else offset - len(_DECLARE))):
            # Without parameters, so that % in it is just %.
            cursor.execute((_DECLARE + query).encode(), prepare=False)
            cursor.execute(f"FETCH {limit + 1} FROM confiture_check".encode(), prepare=False)
        answer = _read_as_text(cursor, conn.info.encoding)
        cursor.execute("CLOSE confiture_check")
    return QueryAnswer(answer.columns, answer.rows[:limit], len(answer.rows) > limit)


def _read_as_text(cursor: Cursor[Any], encoding: str) -> QueryAnswer:
    # psycopg would convert the values, and Python has no date for 'infinity'.
    result = cursor.pgresult
    assert result is not None
    fields = range(result.nfields)

    def value(row: int, field: int) -> str | None:
        raw = result.get_value(row, field)
        return None if raw is None else bytes(raw).decode(encoding, "replace")

    columns = tuple((result.fname(field) or b"").decode(encoding, "replace") for field in fields)
    rows = tuple(tuple(value(row, field) for field in fields) for row in range(result.ntuples))
    return QueryAnswer(columns, rows, more=False)


def fetch_whole_number(conn: Connection[Any], query: str, place: str) -> int:
    """Return the number that a query gives.

    Raises:
        PluginSettingsFault: It gives something else.
        CheckRefused: The server refuses it.
    """
    answer = fetch_first_rows(conn, query.rstrip().rstrip(";"), 1, lambda _: place)
    (text,) = answer.rows[0] if len(answer.rows) == len(answer.columns) == 1 else (None,)
    try:
        if answer.more or text is None:
            raise ValueError
        return int(text)
    except ValueError:
        raise PluginSettingsFault(
            f"{place}: the query does not give one whole number", hint="write it as SELECT count(*) FROM …"
        ) from None


@contextmanager
def locate_errors(place: Callable[[int | None], str]) -> Iterator[None]:
    """Turn the server's error into one that names the place of the query."""
    try:
        yield
    except LockNotAvailable:
        raise  # unchanged: the runner retries the migration for this error
    except psycopg.Error as error:
        diag = error.diag
        message = (diag.message_primary or str(error)).strip()
        detail = f" ({diag.message_detail})" if diag.message_detail else ""
        offset = int(diag.statement_position) - 1 if diag.statement_position else None
        raise CheckRefused(
            f"{place(offset)}: {message}{detail}", sqlstate=error.sqlstate, hint=diag.message_hint
        ) from error
