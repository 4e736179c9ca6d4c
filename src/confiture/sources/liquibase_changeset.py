"""Define a changeset of Liquibase: what it does, who it is, and when it runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attrs import field, frozen

from confiture.models.migration import Direction


@frozen
class Refusal:
    """Why a changeset cannot run here.

    Attributes:
        message: What it has.
        hint: What to do.
        line: Where it has it.
    """

    message: str
    hint: str
    line: int


@frozen
class SqlLine:
    """A line of SQL; ``number`` is that of the file, and ``column`` counts what is before it there."""

    number: int
    text: str
    column: int = 0


@frozen
class ChangeSet:
    """A changeset, with the values of its properties.

    Attributes:
        author: Its author.
        identifier: Its id.
        file: The file.
        logical_path: What Liquibase records in place of the file's path, if anything.
        line: The line on which it begins.
        forward: Its SQL.
        backward: What undoes it; ``None`` if it does not say.
        checksum: Its checksum in version 9 of Liquibase's; ``None`` if it is not known.
        content: What tells whether it has changed.
        transactional: False if it runs outside a transaction.
        repeatable: True if it runs again when it has changed.
        contexts: Its ``context``, and those of the files that include it.
        labels: Its labels.
        dbms: Its ``dbms``.
        comment: Its comment.
        delimiter: What ends its statements, if that is not a semicolon.
        valid_checksums: Other checksums that are no change.
        refusal: Why it cannot run here; ``None`` if it can.
    """

    author: str
    identifier: str
    file: Path
    logical_path: str | None
    line: int
    forward: tuple[SqlLine, ...] = field(default=(), repr=False)
    backward: tuple[SqlLine, ...] | None = field(default=None, repr=False)
    checksum: str | None = None
    content: str = field(default="", repr=False)
    transactional: bool = True
    repeatable: bool = False
    contexts: tuple[str, ...] = ()
    labels: str = ""
    dbms: str | None = None
    comment: str = ""
    delimiter: str | None = None
    valid_checksums: tuple[str, ...] = ()
    refusal: Refusal | None = None

    def render(self, direction: Direction) -> str:
        """Return one direction as a text in which each line is where the file has it."""
        lines = self.forward if direction == "forward" else self.backward or ()
        text = [""] * max((line.number for line in lines), default=0)
        for line in lines:
            text[line.number - 1] = " " * line.column + line.text
        return "\n".join(text) + "\n"


def compute_checksum(sql: str) -> str:
    """Return Liquibase's checksum, version 9, of a changeset of SQL: blanks and line ends do not count."""
    inner = hashlib.md5(normalize_sql(sql).encode(errors="surrogateescape"), usedforsecurity=False)
    outer = hashlib.md5(f"9:{inner.hexdigest()}:".encode(), usedforsecurity=False)
    return f"9:{outer.hexdigest()}"


def normalize_sql(sql: str) -> str:
    """Return SQL without blanks and line ends, in strings neither."""
    return sql.translate(dict.fromkeys(map(ord, " \n\r\t")))
