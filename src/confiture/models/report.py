"""What happened: one frozen report for run, rehearsal and down, the same to every reporter.

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
        relation: Schema-qualified, quoted only where PostgreSQL would.
        kind: What sort of relation.
        mode: PostgreSQL's name, ``AccessExclusiveLock``.
        blocks: ``"reads"``, ``"writes"``: what another session would wait for.
        held_ms: How long it was held, in milliseconds; ``None`` where not measured.
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
        held_ms: Of the longest time that a lock was held; ``None`` where none was.
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
        reads: How long reads would wait; ``None`` where they would not.
        writes: The same of writes.
    """

    relation: str
    reads: Estimate | None
    writes: Estimate | None


@frozen
class StatementReport:
    """What one statement did.

    Attributes:
        line: 1-based, in the file; of the call in a Python migration; ``None`` where not known.
        sql: Its text.
        duration_ms: Wall-clock time, in milliseconds.
        lock_wait_ms: The part of it spent waiting for locks; ``None`` where not measured.
        rows: The command tag's count for INSERT, UPDATE, DELETE, MERGE, COPY, else ``None``.
        wal_bytes: Written to the WAL meanwhile, cluster-wide; ``None`` where not measured.
        not_rehearsed: Why it could not be rehearsed, else ``None``.
        reasons: Why relations were rewritten, by name, where PostgreSQL says so.
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
        """What it took without waiting for locks or for a CPU, as far as that was seen."""
        waited_ms = (self.lock_wait_ms or 0.0) + (self.cpu_wait_ms or 0.0)
        return max(self.duration_ms - waited_ms, 1e-3)


@frozen
class HookReport:
    """What one hook did; ``undone`` says that its savepoint was rolled back.

    Attributes:
        wal_bytes: Written to the WAL meanwhile, cluster-wide; ``None`` where not measured.
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
    """What one migration did.

    Attributes:
        warnings: Said to the reader beside the measurements: settings put back, a hook left out.
        on_commit: The callbacks that a rehearsal listed and did not call.
        source_line: The faulty line of the file, for the caret.
        spread: With ``--repeat``.
        file: Where it was read from; ``None`` where it is no file.
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
    """What the gate says of it all.

    Attributes:
        passed: Whether nothing failed it.
        sentence: What failed it, or that nothing did.
        next_step: What to do now; ``None`` where there is nothing to do.
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
        exit_code: What the command ends with.
        server_version: ``"18.1"``; ``None`` where no server was reached.
        rehearsed_on: The version the rehearsal ran on, ``None`` for a run.
        fault: What stopped everything outside any one migration, else ``None``.
        verdict: Of the gate; ``None`` where nothing was judged.
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
