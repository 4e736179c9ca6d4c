"""The queries of a ``VERSION_name.check.sql`` beside the migration: each must return no rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen
from psycopg import Connection

from confiture.migrations.version import parse_filename, parse_version
from confiture.sql.parser import ParseError, RawStatement, parse
from confiture.sql.position import locate_offset
from confiture_checks.asking import Answer, first_rows
from confiture_checks.faults import CheckFailed, Misconfigured

SHOWN_ROWS = 10
_LONGEST_VALUE_CHARACTERS = 60


@frozen
class Query:
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

    def place(self, offset: int | None = None) -> str:
        """Say where the query stands, or a character of it."""
        line, column = locate_offset(self.text, self.start + (offset or 0))
        return f"{self.file}, line {line}" + ("" if offset is None else f", column {column}")


def beside(folder: Path | None, version: str, name: str) -> tuple[Query, ...]:
    """Return the queries of this migration's file, none where there is no file.

    Raises:
        Misconfigured: The file is not usable, or it is not clear that it is the right one.
    """
    found = _files_of(folder, version) if folder else []
    if not found:
        return ()
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise Misconfigured(f"{names} are both of version {version}", hint="keep one of them")
    (path,) = found
    parsed = parse_filename(path.name)
    if parsed and parsed.name != name:
        raise Misconfigured(
            f"{path.name} is of version {version}, and that migration is called {name!r}",
            hint=f"rename it to {'_'.join(filter(None, (version, name)))}.check.sql",
        )
    return queries(_text_of(path), path.name)


def _files_of(folder: Path, version: str) -> list[Path]:
    return [
        path
        for path in sorted(folder.glob("*.check.sql"))
        if (parsed := parse_filename(path.name)) and parse_version(parsed.version) == parse_version(version)
    ]


def _text_of(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Misconfigured(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path.name} is not UTF-8, from byte {error.start + 1} on") from error
    return text.replace("\r\n", "\n")


def queries(text: str, file: str) -> tuple[Query, ...]:
    """Return the queries of a file's text.

    Raises:
        Misconfigured: It does not parse, holds none, or something else than queries.
    """
    try:
        found = parse(text)
    except ParseError as error:
        place = Query("", file, text, 0).place(error.offset)
        raise Misconfigured(f"{place}: {error.message}", hint="each check is a SELECT") from None
    if not found:
        raise Misconfigured(f"{file} holds no query", hint="write one, or take the file away")
    return tuple(_query(statement, text, file) for statement in found)


def _query(parsed: RawStatement, text: str, file: str) -> Query:
    query = Query(text[parsed.start : parsed.end], file, text, parsed.start)
    if parsed.kind != "select_stmt":
        raise Misconfigured(
            f"{query.place()}: this is not a query, and a check changes nothing",
            hint="write a SELECT that returns what is wrong, and no rows where all is well",
        )
    return query


def check(conn: Connection[Any], query: Query) -> None:
    """Run one query.

    Raises:
        CheckFailed: It returns rows; the first are in the message.
        CheckRefused: The server refuses it.
    """
    answer = first_rows(conn, query.sql, SHOWN_ROWS, query.place)
    if answer.rows:
        raise CheckFailed(
            f"{query.place()}: the query must return no rows and returns {_how_many(answer)}:\n"
            + "\n".join(f"  {line}" for line in _drawn(answer)),
            hint="these rows are what the check looks for: mend the data, or the migration",
        )


def _how_many(answer: Answer) -> str:
    count = len(answer.rows)
    return f"more than {count}; the first {count}" if answer.more else f"{count}"


def _drawn(answer: Answer) -> list[str]:
    """Return the rows as lines, each column as wide as its widest value."""
    lines = [answer.columns, *(tuple(map(_shown, row)) for row in answer.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _shown(value: str | None) -> str:
    if value is None:
        return "NULL"
    line = value.replace("\n", "⏎")
    return line if len(line) <= _LONGEST_VALUE_CHARACTERS else line[: _LONGEST_VALUE_CHARACTERS - 1] + "…"
