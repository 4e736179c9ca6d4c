"""The ledger's values: history, disagreements, unfinished migrations and repairs."""

from __future__ import annotations

from typing import Any, Literal

from attrs import frozen

from confiture.models.migration import Direction

DisagreementKind = Literal[
    "changed", "missing", "unfinished", "out-of-order", "plugin-missing", "plugin-changed"
]
StatementState = Literal["done", "begun", "pending", "changed"]
BaselineOutcome = Literal["recorded", "would-record", "applied"]


@frozen
class PluginRecord:
    """A plugin that took part, with the version it had then."""

    name: str
    version: str


@frozen
class HookRecord:
    """A hook that ran."""

    phase: str
    hook: str


@frozen
class HistoryRecord:
    """One migration as the history tells it.

    Attributes:
        applied_at: ISO 8601 with time zone.
        applied_by: The role.
        duration_ms: In milliseconds; ``None`` if it was not run.
        transactional: ``False``: statement by statement.
        baseline: Recorded as applied without running.
        plugins: Those that took part.
        hooks: Those that ran, in order.
    """

    version: str
    name: str
    applied_at: str
    applied_by: str
    duration_ms: float | None
    transactional: bool
    baseline: bool
    plugins: tuple[PluginRecord, ...] = ()
    hooks: tuple[HookRecord, ...] = ()


@frozen
class Disagreement:
    """A difference between the ledger and the files or installed plugins.

    Attributes:
        what: The kind of disagreement.
        version: Of the migration, as written.
        name: Of the migration.
        message: The problem.
        hint: The next step.
        plugin: The plugin concerned, else ``None``.
        recorded: The value in the ledger: a checksum, or a plugin's version.
        found: The current value; ``None`` if it is gone.
    """

    what: DisagreementKind
    version: str
    name: str
    message: str
    hint: str
    plugin: str | None = None
    recorded: str | None = None
    found: str | None = None


@frozen
class Verification:
    """The result of ``verify``.

    Attributes:
        exit_code: 7 if anything disagrees.
        applied: How many migrations were compared.
        plugins: How many plugins were compared.
    """

    exit_code: int
    applied: int
    plugins: int
    disagreements: tuple[Disagreement, ...] = ()


@frozen
class StatementProgress:
    """One statement of an unfinished migration.

    Attributes:
        line: 1-based; ``None`` if the statement is no longer in the file.
        sql: Its text; empty if the statement is no longer in the file.
        state: ``begun``: whether it ended is not recorded; ``changed``: done, with another text.
        at: When it ended, or was begun; ISO 8601.
    """

    line: int | None
    sql: str
    state: StatementState
    at: str | None = None


@frozen
class HookProgress:
    """The last value that a generator hook yielded."""

    phase: str
    plugin: str
    hook: str
    progress: Any


@frozen
class InvalidIndex:
    """An index that a failed CONCURRENTLY left.

    Attributes:
        index: Qualified and quoted.
        builder_pid: The session that is still building it, else ``None``.
    """

    index: str
    builder_pid: int | None = None


@frozen
class UnfinishedMigration:
    """An unfinished migration, and the way on.

    Attributes:
        direction: ``backward`` if its down is unfinished.
        file: ``None`` if it is missing.
        statements: All of the file's, in order.
        hooks: The last progress of its generator hooks.
        invalid_indexes: Left by it.
        notes: Facts to know before continuing.
        commands: The exact next commands, in order; those that end in a semicolon are SQL.
    """

    version: str
    name: str
    direction: Direction
    file: str | None
    statements: tuple[StatementProgress, ...] = ()
    hooks: tuple[HookProgress, ...] = ()
    invalid_indexes: tuple[InvalidIndex, ...] = ()
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@frozen
class Repair:
    """The result of ``repair``.

    Attributes:
        unfinished: One each.
        disagreements: Changed and missing files.
        done: The changes made to the ledger.
    """

    unfinished: tuple[UnfinishedMigration, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    done: tuple[str, ...] = ()


@frozen
class BaselineStep:
    """One migration that is recorded as applied."""

    version: str
    name: str
    outcome: BaselineOutcome


@frozen
class Baseline:
    """The result of ``baseline``, or of its dry run."""

    dry_run: bool
    migrations: tuple[BaselineStep, ...] = ()


@frozen
class Dump:
    """A schema that was written to a file.

    Attributes:
        file: Where; ``-`` for stdout.
        changed: True if the file's content changed.
        server_version: ``"18.1"``.
        pg_dump_version: Of the program that wrote it.
    """

    file: str
    changed: bool
    server_version: str
    pg_dump_version: str


@frozen
class LedgerEntry:
    """One migration as the ledger knows it.

    Attributes:
        version: As written when it was applied.
        name: The same.
        checksum: Of its text; ``None`` if it was applied from a class without a file.
        applied_at: ISO 8601 with time zone; ``None`` while unfinished.
        done: The SHA-256 of each statement recorded of an unfinished migration, in order.
        begun: The SHA-256 of the statement that was begun and not recorded as done, if any.
        direction: ``"backward"`` if its ``down`` is unfinished.
    """

    version: str
    name: str
    checksum: str | None
    applied_at: str | None
    done: tuple[str, ...] = ()
    direction: Direction = "forward"
    begun: str | None = None

    @property
    def finished(self) -> bool:
        """True if the whole migration was applied."""
        return self.applied_at is not None


@frozen
class LedgerRow:
    """The ledger row of a finished migration."""

    version: str
    name: str
    checksum: str | None
    duration_ms: float
    transactional: bool
    plugins: tuple[str, ...]
    hooks: tuple[str, ...]
