"""What one statement or one hook did."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from confiture.models.report import IndexBuild, Lock, Seen
from confiture.postgres.locks import find_blocked_access
from confiture.rehearsal.trace.catalog import KnownRelation


@define
class AcquiredLock:
    """A lock that a statement or hook took.

    Attributes:
        relation: The locked relation.
        mode: PostgreSQL's name of the mode.
        seen: How the lock was detected.
        since_ms: When it was taken, on the tracer's clock, in milliseconds.
        until_ms: When it was released; ``None`` if it was held until the migration's end.
    """

    relation: KnownRelation
    mode: str
    seen: Seen
    since_ms: float
    until_ms: float | None = None

    def build_lock(self, end_ms: float) -> Lock:
        """Return the report's lock, for a migration that ended at ``end_ms``."""
        until_ms = end_ms if self.until_ms is None else self.until_ms
        return Lock(
            relation=self.relation.name,
            kind=self.relation.kind,
            mode=self.mode,
            blocks=find_blocked_access(self.relation.kind, self.mode),
            held_ms=max(0.0, until_ms - self.since_ms),
            transient=self.until_ms is not None,
            seen=self.seen,
        )


@define
class StatementTrace:
    """What one statement or one hook did.

    Attributes:
        acquired: Locks that the migration did not hold before, or held in a weaker mode.
        rewrites: Why each table and materialized view got a new file, by name; ``None`` if unknown.
        builds: The indexes that were built, by name.
        scans: Populated relations that were read from end to end.
        long_blocks: Populated relations that were scanned, rewritten or index-built while blocked.
        empty_scans: Relations without rows that were read from end to end.
        empty_blocks: Relations without rows that were scanned, rewritten or index-built while blocked.
        rewritten: The oids of the rewritten relations.
        rewritten_bytes: The size of the rewritten relations; ``None`` if there are none or it is unknown.
        wal_bytes: Write-ahead log that the whole cluster wrote during the step.
        lock_wait_ms: Time spent waiting for locks, in milliseconds.
        plan: The plan, in the format of ``EXPLAIN (FORMAT JSON)``, with ``--explain``.
        production_plan: The plan in production, if it is another than ``plan``.
        warnings: Warnings for the report.
        clusters: True if its functions or DO block run CLUSTER, whose new file is no TRUNCATE's.
    """

    acquired: list[AcquiredLock] = field(factory=list)
    rewrites: dict[str, str | None] = field(factory=dict)
    builds: dict[str, IndexBuild] = field(factory=dict)
    scans: dict[str, None] = field(factory=dict)
    long_blocks: dict[str, None] = field(factory=dict)
    empty_scans: dict[str, None] = field(factory=dict)
    empty_blocks: dict[str, None] = field(factory=dict)
    rewritten: set[int] = field(factory=set)
    rewritten_bytes: int | None = None
    wal_bytes: int | None = None
    lock_wait_ms: float | None = None
    plan: Any = None
    production_plan: Any = None
    warnings: list[str] = field(factory=list)
    clusters: bool = False
