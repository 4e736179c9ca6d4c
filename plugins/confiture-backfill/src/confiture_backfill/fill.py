"""Fill one read model, and compare its rows with the count query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import asdict, frozen
from psycopg import Connection, Cursor, sql
from psycopg.errors import LockNotAvailable
from psycopg.rows import tuple_row

from confiture.plugins.kit import PluginSettingsFault, line_and_column
from confiture_backfill.errors import BackfillFailed, IncompleteBackfill
from confiture_backfill.range_condition import locate_in_original, replace_range
from confiture_backfill.read_model import ReadModel

_WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE")
_NAME = """
    SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""


@frozen
class FillResult:
    """What was done to one read model. The names of the attributes are stored, and are keys of the report.

    Attributes:
        table: As it is configured.
        rows: Rows written.
        expected: Rows it must hold; ``None`` if there is no count query.
        found: Rows it holds; ``None`` if they were not counted.
        batches: In how many batches; ``None`` if it was filled in one piece.
        seconds: How long the batches took; ``None`` if it was filled in one piece.
    """

    table: str
    rows: int
    expected: int | None = None
    found: int | None = None
    batches: int | None = None
    seconds: float | None = None

    @property
    def stats(self) -> dict[str, Any]:
        """The stats in the report."""
        skipped = ("batches", "seconds") if self.batches is None else ()
        return {name: value for name, value in asdict(self).items() if name not in skipped}


def fill(conn: Connection[Any], model: ReadModel) -> FillResult:
    """Fill the table in one piece and check it, in the current transaction.

    Raises:
        PluginSettingsFault: There is no such table, or the count query returns no number.
        BackfillFailed: The server refuses the SQL.
        IncompleteBackfill: Rows are missing, or there are too many.
    """
    with open_cursor(conn) as cursor:
        table = find_table(cursor, model)
        if model.mode == "truncate":
            truncate(cursor, model, table)
        rows = insert(cursor, model)
        return FillResult(model.table, rows, *compare_counts(cursor, model, table))


def open_cursor(conn: Connection[Any]) -> Cursor[tuple[Any, ...]]:
    """Return a plain cursor: the application may have set another row or cursor factory."""
    return Cursor(conn, row_factory=tuple_row)


def truncate(cursor: Cursor[Any], model: ReadModel, table: sql.Identifier) -> None:
    """Delete every row of the table."""
    with locate_errors(model, "emptying"):
        cursor.execute(sql.SQL("TRUNCATE {}").format(table))


def insert(cursor: Cursor[Any], model: ReadModel, condition: str = "") -> int:
    """Run the SQL that fills it, over the range of ``condition``; return how many rows it wrote."""
    with locate_errors(model, "filling", condition):
        # Without parameters, so that a % in the SQL is a plain %.
        cursor.execute(replace_range(model.insert, condition).encode(), prepare=False)
    return _count_written(cursor)


def find_table(cursor: Cursor[Any], model: ReadModel) -> sql.Identifier:
    """Return the table's name with schema. The server resolves it, by its rules and the search_path.

    Raises:
        PluginSettingsFault: There is no such table.
    """
    with locate_errors(model, "looking up"):
        row = cursor.execute(_NAME, [model.table]).fetchone()
    if row is None:
        raise PluginSettingsFault(
            f"{model.place}: there is no table {model.table} after the migration has run",
            hint="check its name (quoted if PostgreSQL would) and the migration that fills it",
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
    """Return how many rows the table must hold and how many it holds; ``None`` without a count query.

    Raises:
        IncompleteBackfill: They differ.
    """
    if model.count is None:
        return None, None
    with locate_errors(model, "counting"):
        expected = _fetch_whole_number(cursor.execute(model.count.encode(), prepare=False), model)
        count_rows = sql.SQL("SELECT count(*) FROM {}").format(table)
        found = _fetch_whole_number(cursor.execute(count_rows), model)
    if expected != found:
        raise IncompleteBackfill(
            model.table, expected=expected, found=found, in_batches=model.batch is not None
        )
    return expected, found


def _fetch_whole_number(cursor: Cursor[Any], model: ReadModel) -> int:
    rows = cursor.fetchall() if cursor.description else []
    if len(rows) != 1 or len(rows[0]) != 1 or type(rows[0][0]) is not int:
        raise PluginSettingsFault(
            f"{model.place}: the count query must return one whole number",
            hint="write it as SELECT count(*) FROM …",
        )
    return int(rows[0][0])


@contextmanager
def locate_errors(model: ReadModel, action: str, condition: str = "") -> Iterator[None]:
    """Raise the server's error as ``BackfillFailed``, with the read model and the place in its SQL."""
    try:
        yield
    except LockNotAvailable:
        raise  # The runner retries after this error, and after no other.
    except psycopg.Error as error:
        message = (error.diag.message_primary or str(error)).strip()
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        place = f"{model.place}{_format_position(error, model, condition) if action == 'filling' else ''}"
        raise BackfillFailed(
            f"{action} {model.table} failed: {message}{detail} ({place})",
            sqlstate=error.sqlstate,
            hint=error.diag.message_hint,
        ) from error


def _format_position(error: psycopg.Error, model: ReadModel, condition: str) -> str:
    position = error.diag.statement_position
    if not position:
        return ""
    offset = locate_in_original(model.insert, condition, int(position) - 1)
    line, column = line_and_column(model.insert, offset)
    return f", line {line}, column {column}"
