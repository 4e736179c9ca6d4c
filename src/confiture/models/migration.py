"""Define the base class of Python migrations, and the values that describe a migration file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import field, frozen

if TYPE_CHECKING:
    from psycopg.sql import Composable

Kind = Literal["sql", "python"]
Direction = Literal["forward", "backward"]


class Migration(ABC):
    """One versioned change, written in Python.

    Attributes:
        connection: The psycopg connection that ``execute`` uses.
        version: The version, compared number by number. A class in a file can omit it, as the file's name
            has it.
        name: The name; optional in a file, like ``version``.
        transactional: False to run each statement by itself, outside a transaction.
        lock_timeout: For this migration, in PostgreSQL's notation (``"5s"``); ``None`` for the configured
            value.
        statement_timeout: The same for ``statement_timeout``.
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
        self._connection = connection
        self._uses_connection = False
        self._run_statement: Callable[[Any, Any], Any] = connection.execute

    @property
    def connection(self) -> Any:
        """The psycopg connection that ``execute`` uses."""
        # No report lists the statements that a migration runs on it, so a report must not claim to know all.
        self._uses_connection = True
        return self._connection

    @connection.setter
    def connection(self, connection: Any) -> None:
        self._connection = connection

    @abstractmethod
    def up(self) -> None:
        """Make the change."""

    def down(self) -> None:
        """Undo the change. Without an override the migration cannot be undone."""
        raise TypeError(f"migration {self.version or type(self).__name__} has no down()")

    def verify(self) -> None:  # noqa: B027 - optional on purpose
        """Check the outcome after ``up()``; raise to stop the migration."""

    def execute(
        self, sql: str | bytes | Composable, params: Sequence[Any] | dict[str, Any] | None = None
    ) -> Any:
        """Run SQL and return the psycopg cursor; the report counts its rows and time."""
        return self._run_statement(sql, params)


@frozen
class SqlSection:
    """One direction of a migration, as the convention of its source divides it.

    Attributes:
        path: The file.
        text: The SQL of this direction. What belongs to the other one, and the lines that divide the two, are
            blank, so that lines and columns are those of the file.
        transactional: False if the file says that it runs outside a transaction.
        lone_outside: True if the tool runs a file of one statement outside a transaction, as PostgreSQL does
            with a simple query. It counts only for a statement that PostgreSQL refuses inside one.
        outside_if_needed: True if the tool leaves transactions to the file: one with a statement that
            PostgreSQL refuses inside a transaction runs outside.
    """

    path: Path
    text: str = field(repr=False)
    transactional: bool = True
    lone_outside: bool = False
    outside_if_needed: bool = False


@frozen
class MigrationFile:
    """A migration file in the migrations folder.

    Attributes:
        version: The version, as written in the file's name.
        name: The name, as written in the file's name; empty if it has none.
        kind: ``"sql"`` or ``"python"``.
        path: The file with the *up* part.
        text: Its text, without BOM, and with LF line ends.
        checksum: SHA-256 of ``text``, in hexadecimal.
        down_path: The file with the *down* part, if that is separate.
        down_text: The text of that file.
        divide: Returns one direction of it, ``None`` if it has none. ``None`` for the plain convention, whose
            files ``sql.script`` divides.
        repeatable: True if it is applied again whenever its file changes, and after all others.
        variables: What placeholders in its SQL stand for; ``None`` if they are replaced already.
        check: SQL that checks the outcome after it was applied, and is rolled back; else ``None``.
        details: What its source needs to know to record it in the tool's own ledger.
        requires: The versions that it needs, if its tool keeps a graph of them and no line; else ``None``.
    """

    version: str
    name: str
    kind: Kind
    path: Path
    text: str = field(repr=False)
    checksum: str
    down_path: Path | None = None
    down_text: str | None = field(default=None, repr=False)
    divide: Callable[[Direction], SqlSection | None] | None = field(default=None, eq=False, repr=False)
    repeatable: bool = False
    variables: Mapping[str, str] | None = field(default=None, eq=False, repr=False)
    check: SqlSection | None = field(default=None, eq=False, repr=False)
    details: Any = field(default=None, eq=False, repr=False)
    requires: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """The version and name, separated by a space."""
        return f"{self.version} {self.name}".rstrip()


@frozen
class Statement:
    """One SQL statement of a file.

    Attributes:
        sql: Its text, without the semicolon and without leading comments.
        line: 1-based, in the file.
        column: 1-based, in characters.
        kind: The parser's name of the statement, such as ``"index_stmt"``.
        in_transaction: True if PostgreSQL can run it inside a transaction block.
        copy_data: The data of a ``COPY … FROM STDIN``, else ``None``.
        ignores: The rules that are ignored here, each with its reason (``None`` if none was given).
        node: The parse tree.
        start: Where it begins in the file's text, counted in characters from 0.
        end: Where it ends there, without its semicolon.
    """

    sql: str
    line: int
    column: int
    kind: str
    in_transaction: bool = True
    copy_data: str | None = field(default=None, repr=False)
    ignores: tuple[tuple[str, str | None], ...] = ()
    node: Any = field(default=None, repr=False, eq=False)
    start: int = 0
    end: int = 0


@frozen
class SqlScript:
    """One direction of an SQL migration, parsed and checked.

    Attributes:
        file: The file it was read from.
        statements: The statements, in order.
        transactional: False with ``-- confiture: no-transaction``.
        lock_timeout: The value of ``-- confiture: lock_timeout=…``, else ``None``.
        statement_timeout: The value of ``-- confiture: statement_timeout=…``, else ``None``.
        ignores: The rules that are ignored in the whole file.
        divider: The lines of another tool's convention that begin the file's two directions, ``-- +goose Up``
            and ``-- +goose Down``; ``None`` if it has none.
        passed_over: The BEGIN and COMMIT around the statements that are not sent, with their lines.
        text: The file's text, both directions of it.
        check: Another script, which checks the outcome and is rolled back; ``None`` if there is none.
    """

    file: Path
    statements: tuple[Statement, ...]
    transactional: bool = True
    lock_timeout: str | None = None
    statement_timeout: str | None = None
    ignores: tuple[tuple[str, str | None], ...] = ()
    passed_over: str = ""
    text: str = field(default="", repr=False)
    divider: tuple[str, str] | None = None
    check: SqlScript | None = field(default=None, repr=False)
