"""Define the base class of Python migrations, and the values of a migration file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import field, frozen

Kind = Literal["sql", "python"]
Direction = Literal["forward", "backward"]


class Migration(ABC):
    """One versioned change, written in Python.

    Attributes:
        connection: The psycopg connection that ``execute`` uses.
        version: Compared number by number; in a file it may be absent, the file's name says it.
        name: The same.
        transactional: ``False`` runs each statement by itself, outside a transaction.
        lock_timeout: For this migration, as PostgreSQL writes it (``"5s"``); ``None``: the configured one.
        statement_timeout: The same.
    """

    version: ClassVar[str] = ""
    name: ClassVar[str] = ""
    transactional: bool = True
    lock_timeout: str | None = None
    statement_timeout: str | None = None
    before_validation_hooks: Sequence[Any] = ()
    before_ddl_hooks: Sequence[Any] = ()
    after_ddl_hooks: Sequence[Any] = ()
    after_validation_hooks: Sequence[Any] = ()
    cleanup_hooks: Sequence[Any] = ()
    error_hooks: Sequence[Any] = ()

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._run_statement: Callable[[str, Any], Any] = connection.execute

    @abstractmethod
    def up(self) -> None:
        """Make the change."""

    def down(self) -> None:
        """Undo the change. Without an override the migration cannot be undone."""
        raise TypeError(f"migration {self.version or type(self).__name__} has no down()")

    def verify(self) -> None:  # noqa: B027 - optional on purpose
        """Check the outcome after ``up()``; raise to stop the migration."""

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] | None = None) -> Any:
        """Run SQL and return the psycopg cursor; the report counts its rows and time."""
        return self._run_statement(sql, params)


@frozen
class MigrationFile:
    """A migration as it lies in the folder.

    Attributes:
        version: As written in the file's name.
        name: As written, empty if the name is missing.
        kind: ``"sql"`` or ``"python"``.
        path: The file with the *up* part.
        text: Its text: decoded, without BOM, line ends as LF.
        checksum: SHA-256 of ``text``, in hexadecimal.
        down_path: The file with the *down* part, if it is a separate file.
        down_text: Its text.
    """

    version: str
    name: str
    kind: Kind
    path: Path
    text: str = field(repr=False)
    checksum: str
    down_path: Path | None = None
    down_text: str | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """Version and name as a person reads them."""
        return f"{self.version} {self.name}".rstrip()


@frozen
class Statement:
    """One SQL statement of a file.

    Attributes:
        sql: Its text, without the semicolon and without leading comments.
        line: 1-based, in the file.
        column: 1-based, in characters.
        kind: The parser's name of its node, ``"index_stmt"``.
        in_transaction: True if PostgreSQL can run it inside a transaction block.
        copy_data: The data of a ``COPY … FROM STDIN``, else ``None``.
        ignores: Rules ignored here, each with its reason (``None`` if none was given).
        node: The parser's tree of it.
    """

    sql: str
    line: int
    column: int
    kind: str
    in_transaction: bool = True
    copy_data: str | None = field(default=None, repr=False)
    ignores: tuple[tuple[str, str | None], ...] = ()
    node: Any = field(default=None, repr=False, eq=False)


@frozen
class SqlScript:
    """One direction of an SQL migration, parsed and found runnable.

    Attributes:
        file: Where it was read.
        statements: In order.
        transactional: ``False`` with ``-- confiture: no-transaction``.
        lock_timeout: From the directive, else ``None``.
        statement_timeout: The same.
        ignores: Rules ignored in the whole file.
    """

    file: Path
    statements: tuple[Statement, ...]
    transactional: bool = True
    lock_timeout: str | None = None
    statement_timeout: str | None = None
    ignores: tuple[tuple[str, str | None], ...] = ()
