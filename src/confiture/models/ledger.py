"""What is in the ledger, and what is read out of it: the history, what disagrees, what is unfinished."""

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
        duration_ms: In milliseconds; ``None`` where it was not run.
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
    """Something that the ledger says and the files, or what is installed, do not.

    Attributes:
        what: What sort of disagreement.
        version: Of the migration, as written.
        name: Of the migration.
        message: What is wrong.
        hint: The next step.
        plugin: The plugin concerned, else ``None``.
        recorded: What the ledger has: a checksum, or a plugin's version.
        found: What there is instead; ``None`` where it is gone.
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
    """What ``verify`` found.

    Attributes:
        exit_code: 7 where anything disagrees.
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
        line: 1-based; ``None`` where the file no longer says.
        sql: Its text; empty where the file no longer says.
        state: ``begun``: whether it ended is not recorded; ``changed``: done, with another text.
        at: When it ended, or was begun; ISO 8601.
    """

    line: int | None
    sql: str
    state: StatementState
    at: str | None = None


@frozen
class HookProgress:
    """What a generator hook yielded last."""

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
        direction: ``backward`` where it is its down.
        file: ``None`` where it is missing.
        statements: All of the file's, in order.
        hooks: What its generator hooks yielded last.
        invalid_indexes: Left by it.
        notes: What a person must know before going on.
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
    """What ``repair`` found, or did.

    Attributes:
        unfinished: One each.
        disagreements: Changed and missing files.
        done: What was changed in the ledger.
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
    """What ``baseline`` recorded, or would record."""

    dry_run: bool
    migrations: tuple[BaselineStep, ...] = ()


@frozen
class Dump:
    """A schema that was written to a file.

    Attributes:
        file: Where; ``-`` for stdout.
        changed: Whether the file is another one now.
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
        checksum: Of its text; ``None`` where it was applied from a class without a file.
        applied_at: ISO 8601 with time zone; ``None`` while unfinished.
        done: The SHA-256 of each statement recorded of an unfinished migration, in order.
        begun: The SHA-256 of the statement that was begun and not recorded as done, if any.
        direction: ``"backward"`` where what is unfinished is its ``down``.
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
        """Whether all of it was applied."""
        return self.applied_at is not None


@frozen
class LedgerRow:
    """What a finished migration leaves in the ledger."""

    version: str
    name: str
    checksum: str | None
    duration_ms: float
    transactional: bool
    plugins: tuple[str, ...]
    hooks: tuple[str, ...]
