"""Every fault confiture reports: what failed, the next step, and the exit code it ends in.

The exit codes are part of the contract: 1 a check said no, 2 usage and configuration, 3 connecting,
4 a migration, 5 a hook, 6 a lock, 7 the ledger and the files disagree.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


def describe_error(error: BaseException) -> str:
    """Return the type and the message of ``error``, on one line."""
    text = " ".join(read_message(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def read_message(error: BaseException) -> str:
    """Return the message of ``error``; empty if its ``__str__``, which may be a plugin's own, raises."""
    try:
        return str(error)
    except Exception:
        return ""


class ConfitureError(Exception):
    """The root of every exception that confiture defines."""


class UserFault(ConfitureError):
    """Something that a user can put right: a command prints its message and its hint.

    Attributes:
        hint: The next step, or ``None`` if the message already says it.
        exit_code: The command's exit code.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageFault(UserFault):
    """A flag, an argument or a version that cannot be used as given."""

    exit_code = 2


class ConfigurationFault(UserFault):
    """The configuration file or the environment holds something unusable."""

    exit_code = 2


class PluginFault(UserFault):
    """A plugin cannot be found or loaded, or is not the one that was asked for."""

    exit_code = 2


class PluginNotFound(PluginFault):
    """``--plugins`` or the configuration names a plugin which is not installed.

    Attributes:
        name: The first that is not installed.
        names: All of them.
    """

    def __init__(self, name: str, *more: str, near: str = "") -> None:
        names = (name, *more)
        step = "pip install the package that provides it, or list what is there: confiture plugins"
        super().__init__(
            f"no installed plugin is called {' or '.join(repr(text) for text in names)}",
            hint=f"{near} {step}".strip(),
        )
        self.name = name
        self.names = names


class SourceFault(UserFault):
    """There is no migrations folder, or nothing in it."""

    exit_code = 2


class ConnectionFault(UserFault):
    """The server cannot be reached, refuses us, or is too old."""

    exit_code = 3


class RecordLost(ConnectionFault):
    """The control database was lost while a fleet run was going on."""


class ServerFault(UserFault):
    """The embedded server cannot be started or used."""

    exit_code = 3


class MigrationFault(UserFault):
    """A migration file is faulty: unreadable, duplicate, not SQL, or not to be run this way.

    Attributes:
        file: The file, if known.
        line: 1-based, if known.
        column: 1-based, in characters, if known.
    """

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        file: Path | None = None,
        line: int | None = None,
        column: int | None = None,
        source_line: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = file
        self.line = line
        self.column = column
        self.source_line = source_line


class RenderFault(MigrationFault):
    """A migration of another tool cannot be written as SQL, so that tool must apply it."""


class MigrationFaults(UserFault):
    """Several migration files are faulty; all are named at once."""

    exit_code = 4

    def __init__(self, faults: list[MigrationFault]) -> None:
        super().__init__(f"{len(faults)} migration files are faulty")
        self.faults = faults


class RightsFault(UserFault):
    """The role lacks a privilege, or the database is read-only."""

    exit_code = 4


class LockFault(UserFault):
    """The migration lock was not granted, or was lost."""

    exit_code = 6


class LedgerFault(UserFault):
    """The ledger and the files disagree."""

    exit_code = 7


class OutdatedLedger(UserFault):
    """The ledger's tables lack columns that this version of Confiture reads."""


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; what was in progress is rolled back.

    A ``KeyboardInterrupt``, because psycopg cancels the running query for that one only.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__("interrupted")
        self.exit_code = exit_code
