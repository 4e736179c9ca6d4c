"""Convert offsets to lines and columns of a file; both count from 1, columns in characters."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from confiture.exceptions import MigrationFault
from confiture.models.migration import Statement


def locate_offset(text: str, offset: int) -> tuple[int, int]:
    """Return the line and column of the character at ``offset``."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def extract_line(text: str, line: int) -> str | None:
    """Return a line of a text; ``None`` if the text has fewer lines."""
    # Not splitlines(): it also splits at form feeds and Unicode separators, which PostgreSQL does not count.
    lines = text.split("\n")
    return lines[line - 1] if 0 < line <= len(lines) else None


def locate_server_position(statement: Statement, server_position: int) -> tuple[int, int]:
    """Return the line and column in the file of an error position that PostgreSQL reports.

    ``server_position`` counts characters of the statement that was sent, from 1.
    """
    line, column = locate_offset(statement.sql, server_position - 1)
    if line == 1:
        return statement.line, statement.column + column - 1
    return statement.line + line - 1, column


@frozen
class SourceFile:
    """A file and its text.

    Attributes:
        file: The path it was read from.
        text: Its text, with LF at line ends.
    """

    file: Path
    text: str = field(repr=False)

    def build_fault(
        self, message: str, offset: int | None = None, *, hint: str | None = None
    ) -> MigrationFault:
        """Return a fault that points at the character at ``offset``, or only at the file."""
        if offset is None:
            return MigrationFault(message, hint=hint, file=self.file)
        line, column = locate_offset(self.text, offset)
        return MigrationFault(
            message,
            hint=hint,
            file=self.file,
            line=line,
            column=column,
            source_line=extract_line(self.text, line),
        )
