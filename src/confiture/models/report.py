"""The report of a run, a rehearsal or a down: one frozen value for every reporter.

The field names are the keys of the JSON report.
"""

from __future__ import annotations

from typing import Any, Literal

from attrs import Factory, field, frozen

Mode = Literal["run", "dry-run", "down"]
Outcome = Literal["ok", "failed", "refused"]
MigrationOutcome = Literal["applied", "reverted", "rehearsed", "not_rehearsed", "failed", "pending"]
RelationKind = Literal["table", "index", "view", "matview", "sequence", "foreign", "toast"]
Seen = Literal["measured", "sampled", "held-before"]


@frozen
class Lock:
    """The strongest lock that was held on one relation.

    Attributes:
        relation: Schema-qualified, quoted only if PostgreSQL would quote it.
        kind: The kind of relation.
        mode: PostgreSQL's name, ``AccessExclusiveLock``.
        blocks: ``"reads"``, ``"writes"``: what another session would wait for.
        held_ms: How long it was held, in milliseconds; ``None`` if not measured.
        transient: Gone before the migration's end.
        seen: How it was found out.
    """

    relation: str
    kind: RelationKind
    mode: str
    blocks: tuple[str, ...] = ()
    held_ms: float | None = None
    transient: bool = False
    seen: Seen = "measured"


@frozen
class IndexBuild:
    """An index that was built or rebuilt."""

    index: str
    table: str
    new: bool


@frozen
class NotSeen:
    """Something that could not be observed, and why."""

    relation: str | None
    what: str
    reason: str


@frozen
class Spread:
    """How several rehearsals of the same differ: least, median and most.

    Attributes:
        runs: How many.
        duration_ms: Of the time they took, in milliseconds.
        held_ms: Of the longest time that a lock was held; ``None`` if none was.
    """

    runs: int
    duration_ms: tuple[float, float, float] | None
    held_ms: tuple[float, float, float] | None


@frozen
class Estimate:
    """How long production would take, or why that is not known."""

    known: bool
    reason: str | None = None
    advice: str | None = None
    p50_ms: float | None = None
    interval50_ms: tuple[float, float] | None = None
    interval90_ms: tuple[float, float] | None = None
    confidence_percent: float | None = None
    scales_with: str | None = None
    lock_wait_ms: float | None = None


@frozen
class Unavailable:
    """A table that production could not read or write for a while.

    Attributes:
        relation: Its name.
        reads: How long reads would wait; ``None`` if they would not.
        writes: The same of writes.
    """

    relation: str
    reads: Estimate | None
    writes: Estimate | None


@frozen
class StatementReport:
    """The effects of one statement.

    Attributes:
        line: 1-based, in the file; of the call in a Python migration; ``None`` if not known.
        sql: Its text.
        duration_ms: Wall-clock time, in milliseconds.
        lock_wait_ms: The part of it spent waiting for locks; ``None`` if not measured.
        rows: The command tag's count for INSERT, UPDATE, DELETE, MERGE, COPY, else ``None``.
        wal_bytes: WAL written by the whole cluster during the step; ``None`` if not measured.
        not_rehearsed: Why it could not be rehearsed, else ``None``.
        reasons: Why relations were rewritten, by name, if PostgreSQL reports it.
        plan: PostgreSQL's JSON, with ``--explain``.
        spread: With ``--repeat``.
        rewritten_bytes: Of the new files of what it rewrote, indexes and TOAST included; ``None`` where it
            rewrote nothing, or that was not measured.
        estimate: How long production would take, with ``--production``.
        cpu_wait_ms: The part of ``duration_ms`` that its server process waited for a CPU; ``None`` where
            that cannot be seen.
    """

    line: int | None
    sql: str
    duration_ms: float
    lock_wait_ms: float | None = None
    rows: int | None = None
    wal_bytes: int | None = None
    rewrites: tuple[str, ...] = ()
    index_builds: tuple[IndexBuild, ...] = ()
    scans: tuple[str, ...] = ()
    locks: tuple[Lock, ...] = ()
    not_rehearsed: str | None = None
    reasons: dict[str, str] = Factory(dict)
    plan: Any = None
    spread: Spread | None = None
    rewritten_bytes: int | None = None
    estimate: Estimate | None = None
    cpu_wait_ms: float | None = None

    @property
    def work_ms(self) -> float:
        """Its time without the observed waits for locks and for a CPU."""
        waited_ms = (self.lock_wait_ms or 0.0) + (self.cpu_wait_ms or 0.0)
        return max(self.duration_ms - waited_ms, 1e-3)


@frozen
class HookReport:
    """The effects of one hook; ``undone`` means that its savepoint was rolled back.

    Attributes:
        wal_bytes: WAL written by the whole cluster during the step; ``None`` if not measured.
    """

    phase: str
    plugin: str | None
    hook: str
    outcome: Literal["kept", "undone"]
    duration_ms: float
    rows_affected: int = 0
    stats: dict[str, Any] = Factory(dict)
    locks: tuple[Lock, ...] = ()
    wal_bytes: int | None = None
    estimate: Estimate | None = None


@frozen
class Blocks:
    """The relations whose reads or writes would have waited."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


@frozen
class Fault:
    """Why a migration failed, where, and what the server said."""

    message: str
    sqlstate: str | None = None
    detail: str | None = None
    hint: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    phase: str | None = None
    hook: str | None = None


@frozen
class MigrationReport:
    """The result of one migration.

    Attributes:
        warnings: Warnings for the user: settings put back, a hook left out.
        on_commit: The callbacks that a rehearsal listed and did not call.
        source_line: The faulty line of the file, for the caret.
        spread: With ``--repeat``.
        file: The file it was read from; ``None`` if there is none.
        unavailable: With ``--production``: each table that would be blocked, with how long.
    """

    version: str
    name: str
    outcome: MigrationOutcome
    reason: str | None = None
    duration_ms: float | None = None
    rows_affected: int | None = None
    statements: tuple[StatementReport, ...] = ()
    hooks: tuple[HookReport, ...] = ()
    locks: tuple[Lock, ...] = ()
    rewrites: tuple[str, ...] = ()
    index_builds: tuple[IndexBuild, ...] = ()
    scans: tuple[str, ...] = ()
    blocks: Blocks = field(default=Blocks())
    long_blocks: tuple[str, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()
    error: Fault | None = None
    estimate: Estimate | None = None
    warnings: tuple[str, ...] = ()
    on_commit: tuple[str, ...] = ()
    source_line: str | None = None
    spread: Spread | None = None
    file: str | None = None
    unavailable: tuple[Unavailable, ...] = ()


@frozen
class PluginUse:
    """A plugin that took part."""

    name: str
    distribution: str
    version: str


@frozen
class Finding:
    """Something a reader must know before this reaches production."""

    rule: str
    severity: Literal["error", "warning", "info"]
    migration: str
    file: str
    line: int | None
    relation: str | None
    message: str
    recipe: str | None
    basis: Literal["measured", "static"]
    ignored: bool
    fingerprint: str


@frozen
class Verdict:
    """The gate's verdict on a report.

    Attributes:
        passed: True if nothing failed the gate.
        sentence: The verdict in words, with the findings that failed the gate.
        next_step: The user's next step; ``None`` if there is none.
    """

    passed: bool
    sentence: str
    next_step: str | None = None


@frozen
class Residue:
    """Something a rollback could not undo."""

    what: str
    relation: str
    before: Any
    after: Any


@frozen
class Report:
    """One run, rehearsal or down, from begin to end.

    Attributes:
        outcome: ``refused``: nothing was begun.
        exit_code: The command's exit code.
        server_version: ``"18.1"``; ``None`` if no server was reached.
        rehearsed_on: The version the rehearsal ran on, ``None`` for a run.
        fault: The error that stopped the command outside any migration, else ``None``.
        verdict: The gate's verdict; ``None`` if the gate did not run.
    """

    mode: Mode
    outcome: Outcome
    exit_code: int
    server_version: str | None = None
    rehearsed_on: str | None = None
    plugins: tuple[PluginUse, ...] = ()
    migrations: tuple[MigrationReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    residue: tuple[Residue, ...] = ()
    schema_version: int = 1
    fault: Fault | None = None
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None


@frozen
class RuleExplanation:
    """A rule in words.

    Attributes:
        rule: Its id.
        severity: By default, or as configured.
        by: ``"S"``, ``"D"`` or ``"S+D"``.
        summary: One line.
        does: What PostgreSQL does.
        hurts: Why that hurts.
        schema: Of the example: what there is before.
        example: The migration that it warns of.
        recipe: What to write instead.
        way: What to do, where that is no SQL.
        differs: Why the recipe ends in another schema, where it does.
    """

    rule: str
    severity: str
    by: str
    summary: str
    does: str
    hurts: str
    schema: str | None = None
    example: str | None = None
    recipe: str | None = None
    way: str | None = None
    differs: str | None = None
