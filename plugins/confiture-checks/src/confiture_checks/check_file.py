"""The queries of a ``VERSION_name.check.sql`` file: each must return no rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture.plugins.kit import (
    PluginSettingsFault,
    SqlStatement,
    SqlSyntaxError,
    find_sidecar,
    line_and_column,
    parse_statements,
)
from confiture_checks.errors import CheckFailed
from confiture_checks.queries import QueryAnswer, fetch_first_rows

SHOWN_ROWS = 10
_LONGEST_VALUE_CHARACTERS = 60


@frozen
class CheckQuery:
    """One query of a file.

    Attributes:
        sql: The query.
        file: The file's name.
        text: All of the file.
        start: Where in it the query begins.
    """

    sql: str
    file: str
    text: str = field(repr=False)
    start: int

    def locate(self, offset: int | None = None) -> str:
        """Return the file and line of the query, or of a character in it."""
        line, column = line_and_column(self.text, self.start + (offset or 0))
        return f"{self.file}, line {line}" + ("" if offset is None else f", column {column}")


def read_check_file(folder: Path | None, version: str, name: str) -> tuple[CheckQuery, ...]:
    """Return the queries of a migration's ``.check.sql`` file; none if there is no file.

    Raises:
        PluginSettingsFault: The file cannot be used, or it belongs to another migration.
    """
    sidecar = find_sidecar(folder, version, name, ".check.sql")
    return parse_queries(sidecar.text, sidecar.name) if sidecar else ()


def parse_queries(text: str, file: str) -> tuple[CheckQuery, ...]:
    """Return the queries of a file's text.

    Raises:
        PluginSettingsFault: It does not parse, is empty, or contains something else than queries.
    """
    try:
        found = parse_statements(text)
    except SqlSyntaxError as error:
        place = CheckQuery("", file, text, 0).locate(error.offset)
        raise PluginSettingsFault(f"{place}: {error.message}", hint="each check is a SELECT") from None
    if not found:
        raise PluginSettingsFault(f"{file} contains no query", hint="write one, or delete the file")
    return tuple(_read_query(statement, text, file) for statement in found)


def _read_query(statement: SqlStatement, text: str, file: str) -> CheckQuery:
    query = CheckQuery(statement.sql, file, text, statement.start)
    if statement.kind != "select_stmt":
        raise PluginSettingsFault(
            f"{query.locate()}: this is not a query; a check must not change anything",
            hint="write a SELECT that returns the wrong rows, and none if all is well",
        )
    return query


def run_check(conn: Connection[Any], query: CheckQuery) -> None:
    """Run one query.

    Raises:
        CheckFailed: It returns rows; the first are in the message.
        CheckRefused: The server refuses it.
    """
    answer = fetch_first_rows(conn, query.sql, SHOWN_ROWS, query.locate)
    if answer.rows:
        raise CheckFailed(
            f"{query.locate()}: the query must return no rows and returns {_count_rows(answer)}:\n"
            + "\n".join(f"  {line}" for line in _draw_rows(answer)),
            hint="correct these rows, or the migration",
        )


def _count_rows(answer: QueryAnswer) -> str:
    count = len(answer.rows)
    return f"more than {count}; the first {count}" if answer.more else f"{count}"


def _draw_rows(answer: QueryAnswer) -> list[str]:
    """Return the rows as lines, each column as wide as its widest value."""
    lines = [answer.columns, *(tuple(map(_shorten, row)) for row in answer.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _shorten(value: str | None) -> str:
    if value is None:
        return "NULL"
    line = value.replace("\n", "⏎")
    return line if len(line) <= _LONGEST_VALUE_CHARACTERS else line[: _LONGEST_VALUE_CHARACTERS - 1] + "…"
