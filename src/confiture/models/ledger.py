"""Values that describe the ledger: history, disagreements, unfinished migrations and repairs."""

from __future__ import annotations

from typing import Any, Literal

from attrs import frozen

from confiture.models.migration import Direction

DisagreementKind = Literal[
    "changed", "missing", "unfinished", "out-of-order", "plugin-missing", "plugin-changed"
]
StatementState = Literal["done", "begun", "pending", "changed"]
BaselineOutcome = Literal["recorded", "would-record", "applied"]
AdoptionOutcome = Literal["recorded", "would-record", "applied", "pending", "forgotten", "would-forget"]


@frozen
class PluginRecord:
    """A plugin that took part in a migration, with its version at that time."""

    name: str
    version: str


@frozen
class HookRecord:
    """A hook that ran in a migration."""

    phase: str
    hook: str


@frozen
class HistoryRecord:
    """One applied migration in the history.

    Attributes:
        applied_at: When it was applied, in ISO 8601 with time zone.
        applied_by: The role that applied it.
        duration_ms: How long it took, in milliseconds; ``None`` if it was not run.
        transactional: False for a no-transaction migration.
        baseline: True if it was recorded as applied without running.
        plugins: The plugins that took part.
        hooks: The hooks that ran, in order.
        git_revision: The commit that was checked out; ``None`` if that is not known.
        schema_before: The fingerprint of the schema before it; ``None`` if it was not read.
        schema_after: The fingerprint after it; ``None`` likewise.
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
    git_revision: str | None = None
    schema_before: str | None = None
    schema_after: str | None = None


@frozen
class Disagreement:
    """A difference between the ledger and the files or installed plugins.

    Attributes:
        what: The kind of disagreement.
        version: The version of the migration, as written.
        name: The name of the migration.
        message: The problem.
        hint: The next step.
        plugin: The plugin, if the disagreement is about one, else ``None``.
        recorded: The value in the ledger: a checksum, or a plugin's version.
        found: The current value; ``None`` if the file or plugin is missing.
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
        state: ``done``; ``begun`` (started, and not recorded as ended); ``pending``; or ``changed`` (done,
            and its text has changed since).
        at: When it ended or, if begun, started; ISO 8601.
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
    """An invalid index that a failed CREATE INDEX CONCURRENTLY left.

    Attributes:
        index: The name, schema-qualified and quoted.
        builder_pid: The process id of the session that is still building it, else ``None``.
    """

    index: str
    builder_pid: int | None = None


@frozen
class UnfinishedMigration:
    """An unfinished migration, and the commands that finish it.

    Attributes:
        direction: ``backward`` if its ``down`` is unfinished.
        file: The file; ``None`` if it is missing.
        statements: All statements of the file, in order.
        hooks: The last progress of its generator hooks.
        invalid_indexes: The invalid indexes that it left.
        notes: What the user must know before continuing.
        commands: The exact next commands, in order; those that end in a semicolon are SQL.
        alternatives: True if only one of the commands is to be run: they are answers to choose from.
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
    alternatives: bool = False


@frozen
class Repair:
    """The result of ``repair``.

    Attributes:
        unfinished: The unfinished migrations.
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
class AdoptionStep:
    """One migration of another tool, and what becomes of it.

    Attributes:
        version: Its version for confiture.
        name: Its name.
        outcome: ``pending`` if the tool has not applied it: ``confiture run`` will; ``forgotten`` if the
            tool has undone it.
    """

    version: str
    name: str
    outcome: AdoptionOutcome


@frozen
class AdoptionResult:
    """The result of ``adopt``, or of its dry run.

    Attributes:
        source: The source's name.
        title: The tool's name.
        evidence: What shows that the folder is of this convention; ``None`` if ``--from`` named it.
        tool_table: The tool's own ledger; ``None`` if the database has none.
        mirror: True if runs keep that ledger up to date.
        dry_run: True if nothing was written.
        migrations: All migrations, in order.
        notes: What the user must know.
    """

    source: str
    title: str
    evidence: str | None
    tool_table: str | None
    mirror: bool
    dry_run: bool
    migrations: tuple[AdoptionStep, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class Dump:
    """A schema that was written to a file.

    Attributes:
        file: The file's path; ``-`` for stdout.
        changed: True if the file's content changed.
        server_version: ``"18.1"``.
        pg_dump_version: The version of ``pg_dump`` that wrote it.
    """

    file: str
    changed: bool
    server_version: str
    pg_dump_version: str


@frozen
class LedgerEntry:
    """One migration as the ledger records it.

    Attributes:
        version: The version, as written when it was applied.
        name: The name at that time.
        checksum: The SHA-256 of its text; ``None`` if it was applied from a class without a file.
        applied_at: When it was applied, in ISO 8601 with time zone; ``None`` if it is unfinished.
        done: If unfinished, the SHA-256 of each statement that is done, in order.
        begun: The SHA-256 of a statement that was started and not recorded as done, else ``None``.
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
    """The ledger row of a finished migration.

    Attributes:
        repeated: True if it replaces an earlier row of the same version.
        applied_at: When another tool applied it, in ISO 8601; ``None`` for now.
        was_unfinished: True if an earlier run has left progress of it, which the row replaces.
    """

    version: str
    name: str
    checksum: str | None
    duration_ms: float
    transactional: bool
    plugins: tuple[str, ...]
    hooks: tuple[str, ...]
    repeated: bool = False
    applied_at: str | None = None
    was_unfinished: bool = False
