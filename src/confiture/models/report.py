"""The report of a run, a rehearsal or a down: one frozen value for every reporter.

The field names are the keys of the JSON report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import Factory, field, frozen

Mode = Literal["run", "dry-run", "down"]
Outcome = Literal["ok", "failed", "refused"]
MigrationOutcome = Literal["applied", "reverted", "rehearsed", "not_rehearsed", "failed", "pending"]
RelationKind = Literal["table", "index", "view", "matview", "sequence", "foreign", "toast"]
Seen = Literal["measured", "sampled", "held-before"]
FindingSeverity = Literal["error", "warning", "info"]


@frozen
class Lock:
    """The strongest lock that was held on one relation.

    Attributes:
        relation: Schema-qualified, quoted only if PostgreSQL would quote it.
        kind: The kind of relation.
        mode: PostgreSQL's name of the mode, such as ``AccessExclusiveLock``.
        blocks: The access of other sessions that it blocks: ``"reads"``, ``"writes"``, both or none.
        held_ms: How long it was held, in milliseconds, in a run at most; ``None`` if not measured.
        transient: True if it was released before the migration ended.
        seen: How it was observed: ``measured`` from the migration's own session, ``sampled`` from another one
            while the statement ran, or ``held-before`` if an earlier statement had taken it.
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
    """How repeated rehearsals differ: minimum, median and maximum.

    Attributes:
        runs: The number of rehearsals.
        duration_ms: The durations, in milliseconds.
        held_ms: How long the longest lock was held, in milliseconds; ``None`` if there was no lock.
    """

    runs: int
    duration_ms: tuple[float, float, float] | None
    held_ms: tuple[float, float, float] | None


@frozen
class Estimate:
    """How long production would take, or the reason why that is unknown."""

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
    """A table that would be blocked in production.

    Attributes:
        relation: Its name.
        reads: How long reads would be blocked; ``None`` if they would not.
        writes: How long writes would be blocked; ``None`` if they would not.
    """

    relation: str
    reads: Estimate | None
    writes: Estimate | None


@frozen
class ServerMessage:
    """What the server said while it executed a statement.

    Attributes:
        severity: PostgreSQL's word, in English: ``WARNING``, ``NOTICE``, ``INFO``, ``LOG`` or ``DEBUG``.
        message: The message, with its detail and hint on further lines.
    """

    severity: str
    message: str

    @property
    def is_warning(self) -> bool:
        """True if every report shows it; the others are for ``-v``."""
        return self.severity == "WARNING"


@frozen
class StatementReport:
    """The effects of one statement.

    Attributes:
        line: 1-based, in the file; for a Python migration, the line of the call; ``None`` if unknown.
        sql: Its text.
        duration_ms: Wall-clock time, in milliseconds.
        lock_wait_ms: The part of ``duration_ms`` spent waiting for locks; ``None`` if not measured.
        rows: The row count in the command tag of INSERT, UPDATE, DELETE, MERGE, COPY, else ``None``.
        wal_bytes: WAL written by the whole cluster during the step; ``None`` if not measured.
        notices: What the server said while it ran.
        not_rehearsed: Why it could not be rehearsed, else ``None``.
        reasons: Why each relation was rewritten, by name, if PostgreSQL reports it.
        plan: With ``--explain``, PostgreSQL's query plan as JSON.
        spread: With ``--repeat``, how the rehearsals differ.
        rewritten_bytes: The size of the rewritten relations with indexes and TOAST; ``None`` if nothing was
            rewritten, or the size was not measured.
        estimate: With ``--production``, how long production would take.
        production_plan: With ``--production``, the plan that PostgreSQL would choose there, if it is another;
            ``plan`` is the one here then.
        cpu_wait_ms: The part of ``duration_ms`` in which the server process waited for a CPU; ``None`` if
            that cannot be measured.
        long_blocks: Its part of the migration's ``long_blocks``.
        empty_scans: Existing relations that it read from end to end, and that held no rows.
        empty_blocks: Existing relations without rows that it scanned, rewrote or index-built while they were
            blocked. With rows they would be in ``long_blocks``.
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
    notices: tuple[ServerMessage, ...] = ()
    not_rehearsed: str | None = None
    reasons: dict[str, str] = Factory(dict)
    plan: Any = None
    spread: Spread | None = None
    rewritten_bytes: int | None = None
    estimate: Estimate | None = None
    cpu_wait_ms: float | None = None
    long_blocks: tuple[str, ...] = ()
    empty_scans: tuple[str, ...] = ()
    empty_blocks: tuple[str, ...] = ()
    production_plan: Any = None

    @property
    def work_ms(self) -> float:
        """The duration without the measured waits for locks and for a CPU, in milliseconds."""
        waited_ms = (self.lock_wait_ms or 0.0) + (self.cpu_wait_ms or 0.0)
        # The two waits may overlap and exceed the duration; estimates need a positive time.
        return max(self.duration_ms - waited_ms, 1e-3)


@frozen
class HookReport:
    """The effects of one hook; ``undone`` means that its savepoint was rolled back.

    Attributes:
        wal_bytes: WAL written by the whole cluster during the step; ``None`` if not measured.
        handed_over: The hook's own objects behind ``stats``, which its ``on_commit`` callback may complete.
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
    handed_over: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)


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
        warnings: Warnings for the user, such as a setting that was restored after a hook.
        on_commit: The callbacks that a rehearsal listed instead of calling them.
        source_line: The line of the file in which the error is; text output shows it with a caret.
        spread: With ``--repeat``, how the rehearsals differ.
        file: The file it was read from; ``None`` if there is none.
        unavailable: With ``--production``, each table that would be blocked, and how long.
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
    """A plugin that took part in a command."""

    name: str
    distribution: str
    version: str


@frozen
class RecipeFile:
    """A migration file of a recipe.

    Attributes:
        name: The file's name: that of the file at hand for what stays in it, else a proposal.
        directives: The comments to write at its top, such as ``-- confiture: no-transaction``.
        sql: The text below them.
        excerpt: The same, with comments in place of the lines that stay as they are; reports show this.
        down: The down part, if what undoes the file is known.
    """

    name: str
    directives: tuple[str, ...]
    sql: str
    excerpt: str = field(default="", repr=False)
    down: str | None = field(default=None, repr=False)


@frozen
class Finding:
    """A problem that a rule or a limit of the gate found.

    Attributes:
        recipe: The SQL to use instead of the statement; ``None`` if there is none.
        files: The files to write instead of the file at hand, which are the recipe and what stays.
    """

    rule: str
    severity: FindingSeverity
    migration: str
    file: str
    line: int | None
    relation: str | None
    message: str
    recipe: str | None
    basis: Literal["measured", "static"]
    ignored: bool
    fingerprint: str
    files: tuple[RecipeFile, ...] = ()


@frozen
class RuleText:
    """What a rule that has findings is about.

    Attributes:
        rule: Its id.
        summary: One sentence.
        description: What PostgreSQL does, why that hurts, and what to do instead.
        help_uri: PostgreSQL's page about it.
        suppression: How to suppress a finding, as an imperative.
    """

    rule: str
    summary: str
    description: str
    help_uri: str
    suppression: str = ""


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
    """A change that the rollback of a rehearsal could not undo, such as a sequence that moved."""

    what: str
    relation: str
    before: Any
    after: Any


@frozen
class Report:
    """The report of one run, rehearsal or down.

    Attributes:
        outcome: ``ok``; ``failed``; or ``refused`` if the command did not begin.
        exit_code: The command's exit code.
        server_version: The server's version, such as ``"18.1"``; ``None`` if no server was used.
        rehearsed_on: The version of the server that the rehearsal ran on; ``None`` for a run.
        error: The error that stopped the command outside any migration, else ``None``.
        verdict: The gate's verdict; ``None`` if the gate did not run.
        rules: The rules that have findings.
        elapsed_ms: The time that passed for the whole command, its looking included; ``None`` if unknown.
        in_transaction: True if it was rehearsed in one transaction, so that a clone could rehearse more.
        judged: What ``lint --schema`` judged, such as "150 tables"; ``None`` for any other report.
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
    error: Fault | None = None
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None
    rules: tuple[RuleText, ...] = ()
    elapsed_ms: float | None = None
    in_transaction: bool = False
    judged: str | None = None


@frozen
class RuleExplanation:
    """The explanation of a rule.

    Attributes:
        rule: Its id.
        severity: The default severity, or the configured one.
        by: How it decides: ``"S"`` from the text, ``"D"`` by a rehearsal, ``"S+D"`` both, ``"C"`` from the
            catalog of a database.
        summary: One line.
        does: What PostgreSQL does.
        hurts: Why that hurts.
        schema: The schema that the example needs.
        example: A migration that the rule warns of.
        recipe: The SQL to use instead.
        way: What to do instead, if that is not SQL.
        differs: How the schema differs after the recipe, if it does.
        files: The recipe as files.
        needs: The keys of ``[tool.confiture.schema]`` without which the rule is off.
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
    files: tuple[RecipeFile, ...] = ()
    needs: tuple[str, ...] = ()
