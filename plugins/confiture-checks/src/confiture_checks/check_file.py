"""Read and run the queries of ``VERSION_name.check.sql``: each must return no rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture.plugins.kit import (
    PluginSettingsFault,
    Sidecar,
    SqlStatement,
    SqlSyntaxError,
    find_sidecar,
    line_and_column,
    parse_statements,
)
from confiture_checks.errors import CheckFailed
from confiture_checks.queries import FirstRows, fetch_first_rows

SUFFIX = ".check.sql"
SHOWN_ROWS = 10
_LONGEST_VALUE_CHARACTERS = 60


@frozen
class CheckQuery:
    """One query of a file.

    Attributes:
        sql: The query.
        file: The file it is in.
        start: Where in the file's text the query begins.
    """

    sql: str
    file: Sidecar = field(repr=False)
    start: int

    def place(self, offset: int | None = None) -> str:
        """Return where the query is written, or a character of it."""
        return _format_place(self.file, self.start + (offset or 0), with_column=offset is not None)


def read_check_file(folder: Path | None, version: str, name: str) -> tuple[CheckQuery, ...]:
    """Return the queries of a migration's file; none if it has no file.

    Raises:
        PluginSettingsFault: The file cannot be used, or is not clearly this migration's.
    """
    file = find_sidecar(folder, version, name, SUFFIX)
    return parse_queries(file) if file else ()


def parse_queries(file: Sidecar) -> tuple[CheckQuery, ...]:
    """Return the queries of a file.

    Raises:
        PluginSettingsFault: It is not SQL, holds no query, or holds another kind of statement.
    """
    try:
        statements = parse_statements(file.text)
    except SqlSyntaxError as error:
        place = _format_place(file, error.offset or 0, with_column=error.offset is not None)
        raise PluginSettingsFault(f"{place}: {error.message}", hint="write each check as a SELECT") from None
    if not statements:
        raise PluginSettingsFault(f"{file.name} holds no query", hint="write one, or remove the file")
    return tuple(_to_query(statement, file) for statement in statements)


def _to_query(statement: SqlStatement, file: Sidecar) -> CheckQuery:
    query = CheckQuery(statement.sql, file, statement.start)
    if statement.kind != "select_stmt":
        raise PluginSettingsFault(
            f"{query.place()}: this is not a query, and a check must not change anything",
            hint="write a SELECT that returns the faulty rows, and no rows if there are none",
        )
    return query


def _format_place(file: Sidecar, offset: int, *, with_column: bool) -> str:
    line, column = line_and_column(file.text, offset)
    return f"{file.name}, line {line}" + (f", column {column}" if with_column else "")


def run_check(conn: Connection[Any], query: CheckQuery) -> None:
    """Run one query.

    Raises:
        CheckFailed: It returns rows; the first are in the message.
        CheckRefused: The server refuses it.
    """
    first = fetch_first_rows(conn, query.sql, SHOWN_ROWS, query.place)
    if first.rows:
        raise CheckFailed(
            f"{query.place()}: the query must return no rows and returns {_format_count(first)}:\n"
            + "\n".join(f"  {line}" for line in _format_rows(first)),
            hint="these are the rows that the check looks for: correct the data or the migration",
        )


def _format_count(first: FirstRows) -> str:
    count = len(first.rows)
    return f"more than {count}; the first {count}" if first.has_more else f"{count}"


def _format_rows(first: FirstRows) -> list[str]:
    """Return the rows as lines, each column as wide as its widest value."""
    lines = [first.columns, *(tuple(map(_format_value, row)) for row in first.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _format_value(value: str | None) -> str:
    if value is None:
        return "NULL"
    line = value.replace("\n", "⏎")
    return line if len(line) <= _LONGEST_VALUE_CHARACTERS else line[: _LONGEST_VALUE_CHARACTERS - 1] + "…"
