"""Splits SQL text into statements with PostgreSQL's own parser."""

from __future__ import annotations

from attrs import frozen


@frozen
class SqlStatement:
    """One statement of a text.

    Attributes:
        sql: The statement, without its semicolon.
        kind: What the parser calls it: ``"select_stmt"``, ``"insert_stmt"``, ``"alter_table_stmt"``.
        start: Where in the text it begins, in characters from 0.
    """

    sql: str
    kind: str
    start: int


class SqlSyntaxError(ValueError):
    """The parser refuses a text.

    Attributes:
        message: What PostgreSQL says.
        offset: Where, in characters from 0; ``None`` if the parser does not say.
    """

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def parse_statements(text: str) -> tuple[SqlStatement, ...]:
    """Return the statements of a text.

    Raises:
        SqlSyntaxError: The text is not SQL.
    """
    # The parser takes a tenth of a second to import: a plugin that has no file to parse must not pay it.
    from confiture.sql.parser import ParseError, parse

    try:
        parsed = parse(text)
    except ParseError as error:
        raise SqlSyntaxError(error.message, error.offset) from None
    return tuple(
        SqlStatement(text[statement.start : statement.end], statement.kind, statement.start)
        for statement in parsed
    )


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return line and column, both from 1, of the character at ``offset``, from 0."""
    from confiture.sql.position import locate_offset

    return locate_offset(text, offset)
