"""Ask the database without changing it, and say where a question was refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection, Cursor
from psycopg.errors import LockNotAvailable
from psycopg.rows import tuple_row

from confiture_checks.faults import CheckRefused, Misconfigured

# A cursor fetches the first rows of millions; and it refuses whatever is not a plain query.
_DECLARE = "DECLARE confiture_check NO SCROLL CURSOR FOR "


@frozen
class Answer:
    """The first rows of a query, as PostgreSQL writes them.

    Attributes:
        columns: Their names.
        rows: ``None`` is NULL.
        more: Whether there are others.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    more: bool


@contextmanager
def read_only(conn: Connection[Any]) -> Iterator[None]:
    """Let nothing be written meanwhile."""
    with conn.transaction(force_rollback=True):
        conn.execute("SET LOCAL transaction_read_only = on")
        yield


def began(conn: Connection[Any]) -> str:
    """Return when the transaction began: in the same one it is the same."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        ((at,),) = cursor.execute("SELECT transaction_timestamp()::text").fetchall()
    return str(at)


def first_rows(conn: Connection[Any], query: str, limit: int, place: Callable[[int | None], str]) -> Answer:
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
        with told(lambda offset: place(None if offset is None else offset - len(_DECLARE))):
            # Without parameters, so that % in it is just %.
            cursor.execute((_DECLARE + query).encode(), prepare=False)
            cursor.execute(f"FETCH {limit + 1} FROM confiture_check".encode(), prepare=False)
        answer = _as_written(cursor, conn.info.encoding)
        cursor.execute("CLOSE confiture_check")
    return Answer(answer.columns, answer.rows[:limit], len(answer.rows) > limit)


def _as_written(cursor: Cursor[Any], encoding: str) -> Answer:
    # Not what psycopg makes of them: Python has no date for 'infinity'.
    result = cursor.pgresult
    assert result is not None
    fields = range(result.nfields)

    def value(row: int, field: int) -> str | None:
        raw = result.get_value(row, field)
        return None if raw is None else bytes(raw).decode(encoding, "replace")

    columns = tuple((result.fname(field) or b"").decode(encoding, "replace") for field in fields)
    rows = tuple(tuple(value(row, field) for field in fields) for row in range(result.ntuples))
    return Answer(columns, rows, more=False)


def whole_number(conn: Connection[Any], query: str, place: str) -> int:
    """Return the number that a query gives.

    Raises:
        Misconfigured: It gives something else.
        CheckRefused: The server refuses it.
    """
    answer = first_rows(conn, query.rstrip().rstrip(";"), 1, lambda _: place)
    (text,) = answer.rows[0] if len(answer.rows) == len(answer.columns) == 1 else (None,)
    try:
        if answer.more or text is None:
            raise ValueError
        return int(text)
    except ValueError:
        raise Misconfigured(
            f"{place}: the query does not give one whole number", hint="write it as SELECT count(*) FROM …"
        ) from None


@contextmanager
def told(place: Callable[[int | None], str]) -> Iterator[None]:
    """Say where it was, and what the server said."""
    try:
        yield
    except LockNotAvailable:
        raise  # as it is: by this the migration is tried again
    except psycopg.Error as error:
        diag = error.diag
        said = (diag.message_primary or str(error)).strip()
        detail = f" ({diag.message_detail})" if diag.message_detail else ""
        offset = int(diag.statement_position) - 1 if diag.statement_position else None
        raise CheckRefused(
            f"{place(offset)}: {said}{detail}", sqlstate=error.sqlstate, hint=diag.message_hint
        ) from error
