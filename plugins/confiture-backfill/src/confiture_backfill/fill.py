"""Fill one read model, count, and check that nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import asdict, frozen
from psycopg import Connection, Cursor, sql
from psycopg.errors import LockNotAvailable
from psycopg.rows import tuple_row

from confiture.plugins.kit import PluginSettingsFault
from confiture_backfill.errors import BackfillFailed, IncompleteBackfill
from confiture_backfill.key_range import insert_range, locate_original
from confiture_backfill.read_model import ReadModel

_WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE")
_NAME = """
    SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""


@frozen
class FilledModel:
    """What became of one read model.

    Attributes:
        table: As it was configured.
        rows: Rows written.
        expected: Rows it must hold; ``None`` where there is no count query.
        found: Rows it holds; ``None`` where that was not asked.
        batches: In how many batches; ``None`` where it was filled in one piece.
        seconds: How long the batches took; the same.
    """

    table: str
    rows: int
    expected: int | None = None
    found: int | None = None
    batches: int | None = None
    seconds: float | None = None

    @property
    def stats(self) -> dict[str, Any]:
        """What the report says of it."""
        skipped = ("batches", "seconds") if self.batches is None else ()
        return {name: value for name, value in asdict(self).items() if name not in skipped}


def fill_model(conn: Connection[Any], model: ReadModel) -> FilledModel:
    """Fill the table and check it, in the transaction that is open.

    Raises:
        PluginSettingsFault: There is no such table, or the count query gives no number.
        BackfillFailed: The server refuses the SQL.
        IncompleteBackfill: Rows are missing, or there are too many.
    """
    with open_plain_cursor(conn) as cursor:
        table = find_table(cursor, model)
        if model.mode == "truncate":
            empty_table(cursor, model, table)
        rows = run_insert(cursor, model)
        return FilledModel(model.table, rows, *compare_counts(cursor, model, table))


def open_plain_cursor(conn: Connection[Any]) -> Cursor[tuple[Any, ...]]:
    """Return a cursor of ours, whatever rows or cursors the connection makes for the application."""
    return Cursor(conn, row_factory=tuple_row)


def empty_table(cursor: Cursor[Any], model: ReadModel, table: sql.Identifier) -> None:
    """Take every row out of the table."""
    with locate_errors(model, "emptying"):
        cursor.execute(sql.SQL("TRUNCATE {}").format(table))


def run_insert(cursor: Cursor[Any], model: ReadModel, condition: str = "") -> int:
    """Run the SQL that fills it, over the range of ``condition``; return how many rows it wrote."""
    with locate_errors(model, "filling", condition):
        # Without parameters, so that % in it is just %.
        cursor.execute(insert_range(model.insert, condition).encode(), prepare=False)
    return _count_written(cursor)


def find_table(cursor: Cursor[Any], model: ReadModel) -> sql.Identifier:
    """Ask the server what the name means: it knows its own rules, and the search_path."""
    with locate_errors(model, "looking up"):
        row = cursor.execute(_NAME, [model.table]).fetchone()
    if row is None:
        raise PluginSettingsFault(
            f"{model.source}: there is no table {model.table} once the migration has run",
            hint="check its name (quoted where PostgreSQL would) and the migration it is for",
        )
    return sql.Identifier(*row)


def _count_written(cursor: Cursor[Any]) -> int:
    rows = 0
    while True:
        if (cursor.statusmessage or "").startswith(_WRITES):
            rows += cursor.rowcount
        if not cursor.nextset():
            return rows


def compare_counts(
    cursor: Cursor[Any], model: ReadModel, table: sql.Identifier
) -> tuple[int | None, int | None]:
    """Return how many rows it must hold and how many it holds, where a query says so.

    Raises:
        IncompleteBackfill: They differ.
    """
    if model.count is None:
        return None, None
    with locate_errors(model, "counting"):
        expected = _fetch_count(cursor.execute(model.count.encode(), prepare=False), model)
        found = _fetch_count(cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table)), model)
    if expected != found:
        raise IncompleteBackfill(
            model.table, expected=expected, found=found, in_batches=model.batch is not None
        )
    return expected, found


def _fetch_count(cursor: Cursor[Any], model: ReadModel) -> int:
    answer = cursor.fetchall() if cursor.description else []
    if len(answer) != 1 or len(answer[0]) != 1 or type(answer[0][0]) is not int:
        raise PluginSettingsFault(
            f"{model.source}: the count query does not give one whole number",
            hint="write it as SELECT count(*) FROM …",
        )
    return int(answer[0][0])


@contextmanager
def locate_errors(model: ReadModel, doing: str, condition: str = "") -> Iterator[None]:
    """Say which read model, where, and what the server said."""
    try:
        yield
    except LockNotAvailable:
        raise  # as it is: by this the migration is tried again
    except psycopg.Error as error:
        said = (error.diag.message_primary or str(error)).strip()
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        place = f"{model.source}{_locate_error(error, model, condition) if doing == 'filling' else ''}"
        raise BackfillFailed(
            f"{doing} {model.table} failed: {said}{detail} ({place})",
            sqlstate=error.sqlstate,
            hint=error.diag.message_hint,
        ) from error


def _locate_error(error: psycopg.Error, model: ReadModel, condition: str) -> str:
    offset = error.diag.statement_position
    if not offset:
        return ""
    before = model.insert[: locate_original(model.insert, condition, int(offset) - 1)]
    return f", line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
