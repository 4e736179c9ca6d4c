"""Where in a file something stands: lines and columns, 1-based, in characters."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from confiture.exceptions import MigrationFault
from confiture.models.migration import Statement


def locate_offset(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of a character."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def extract_line(text: str, line: int) -> str | None:
    """Return a line as it is written, ``None`` where the text is shorter."""
    lines = text.split("\n")
    return lines[line - 1] if 0 < line <= len(lines) else None


def locate_server_position(statement: Statement, server_position: int) -> tuple[int, int]:
    """Return line and column in the file for the position that PostgreSQL reports.

    ``server_position`` counts characters of the statement as it was sent, from 1.
    """
    line, column = locate_offset(statement.sql, server_position - 1)
    if line == 1:
        return statement.line, statement.column + column - 1
    return statement.line + line - 1, column


@frozen
class SourceFile:
    """A file and the text that was read from it.

    Attributes:
        file: Where it was read.
        text: Line ends as LF.
    """

    file: Path
    text: str = field(repr=False)

    def build_fault(
        self, message: str, offset: int | None = None, *, hint: str | None = None
    ) -> MigrationFault:
        """Return a fault that points at a character, or at the file alone."""
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
