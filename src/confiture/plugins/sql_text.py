"""Split SQL text into statements with PostgreSQL's own parser."""

from __future__ import annotations

from attrs import frozen


@frozen
class SqlStatement:
    """One statement of a text.

    Attributes:
        sql: The statement, without its semicolon.
        kind: The parser's name of the statement, such as ``"select_stmt"`` or ``"alter_table_stmt"``.
        start: The position of its first character in the text, counted from 0.
    """

    sql: str
    kind: str
    start: int


class SqlSyntaxError(ValueError):
    """A text is not valid SQL.

    Attributes:
        message: PostgreSQL's message.
        offset: The position of the error in characters, counted from 0; ``None`` if unknown.
    """

    def __init__(self, message: str, offset: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def parse_statements(text: str) -> tuple[SqlStatement, ...]:
    """Return the statements of a text.

    Raises:
        SqlSyntaxError: The text is not valid SQL.
    """
    # Imported here: the parser takes 0.1 s to import, which a plugin without a file to parse need not spend.
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
    """Return line and column, counted from 1, of the character at ``offset``, counted from 0."""
    from confiture.sql.position import locate_offset

    return locate_offset(text, offset)
