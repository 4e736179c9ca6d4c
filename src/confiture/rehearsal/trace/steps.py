"""What one statement or one hook did, and what all of a migration's came to."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from confiture.models.report import IndexBuild, Lock, Seen
from confiture.postgres.locks import find_blocked_access
from confiture.rehearsal.trace.catalog import KnownRelation


@define
class AcquiredLock:
    """A lock that a step took.

    Attributes:
        relation: On what.
        mode: PostgreSQL's name.
        seen: How it was found out.
        since_ms: When, on the client's clock without our own looking, in milliseconds.
        until_ms: When it was gone, before the migration's end; ``None`` where it was held until then.
    """

    relation: KnownRelation
    mode: str
    seen: Seen
    since_ms: float
    until_ms: float | None = None

    def build_lock(self, end_ms: float) -> Lock:
        """Return it as the report has it, for a migration that ended at ``end_ms``."""
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
        acquired: The locks it took first, or strengthened.
        rewrites: Tables and matviews that got a new file, by name, each with the reason where known.
        builds: Indexes built.
        scans: Populated relations read end to end.
        long_blocks: Those scanned, rewritten or index-built while they were blocked.
        rewritten: The oids of those.
        rewritten_bytes: How much was written anew, where something was; ``None`` where not known.
        wal_bytes: Written by the whole cluster meanwhile.
        lock_wait_ms: Spent waiting for locks.
        plan: As ``EXPLAIN (FORMAT JSON)`` gives it, where it was asked for.
        warnings: What else is to be said.
    """

    acquired: list[AcquiredLock] = field(factory=list)
    rewrites: dict[str, str | None] = field(factory=dict)
    builds: dict[str, IndexBuild] = field(factory=dict)
    scans: dict[str, None] = field(factory=dict)
    long_blocks: dict[str, None] = field(factory=dict)
    rewritten: set[int] = field(factory=set)
    rewritten_bytes: int | None = None
    wal_bytes: int | None = None
    lock_wait_ms: float | None = None
    plan: Any = None
    warnings: list[str] = field(factory=list)
