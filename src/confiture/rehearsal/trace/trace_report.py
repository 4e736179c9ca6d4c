"""Put what was traced into the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve

from confiture.models.lock_mode import LockMode, keep_strongest
from confiture.models.report import Blocks, Lock, MigrationReport, StatementReport
from confiture.rehearsal.trace.blocking import blocking
from confiture.rehearsal.trace.diff import Following
from confiture.rehearsal.trace.steps import Step, Taken


def traced(
    report: MigrationReport, following: Following, statements: Sequence[Step], hooks: Sequence[Step]
) -> MigrationReport:
    """Return the report of a migration with what its statements' and hooks' steps saw."""
    end_ms = following.end_ms
    each = following.steps
    held = [taken for step in each for taken in step.taken]
    return evolve(
        report,
        statements=tuple(
            _statement(statement, step, end_ms)
            for statement, step in zip(report.statements, statements, strict=False)
        )
        + report.statements[len(statements) :],
        hooks=tuple(
            evolve(hook, locks=_locks(step.taken, end_ms), wal_bytes=step.wal_bytes)
            for hook, step in zip(report.hooks, hooks, strict=False)
        )
        + report.hooks[len(hooks) :],
        locks=_locks(held, end_ms),
        rewrites=_union(step.rewrites for step in each),
        index_builds=tuple({build: None for step in each for build in step.builds.values()}),
        scans=_union(step.scans for step in each),
        long_blocks=_union(step.long_blocks for step in each),
        blocks=_blocks(following, held),
        not_seen=(*report.not_seen, *following.not_seen),
        warnings=(*report.warnings, *_union(step.warnings for step in each)),
    )


def _statement(report: StatementReport, step: Step, end_ms: float) -> StatementReport:
    return evolve(
        report,
        lock_wait_ms=step.lock_wait_ms,
        wal_bytes=step.wal_bytes,
        rewrites=tuple(step.rewrites),
        rewritten_bytes=step.rewritten_bytes,
        index_builds=tuple(step.builds.values()),
        scans=tuple(step.scans),
        locks=_locks(step.taken, end_ms),
        reasons={name: reason for name, reason in step.rewrites.items() if reason},
        plan=report.plan or step.plan,
    )


def _locks(each: Iterable[Taken], end_ms: float) -> tuple[Lock, ...]:
    """Return each relation once, with its strongest mode, by name."""
    strongest = keep_strongest(each, on=lambda taken: taken.known.name, strength=_weight)
    return tuple(strongest[name].lock(end_ms) for name in sorted(strongest))


def _weight(taken: Taken) -> tuple[int, bool]:
    """Order locks on one relation: the stronger counts, and of equal ones the one that lasts."""
    return LockMode[taken.mode], taken.until_ms is None


def _blocks(following: Following, held: Iterable[Taken]) -> Blocks:
    """Return what is blocked by what is held until the end."""
    lasting = [(taken.known.oid, taken.mode) for taken in held if taken.until_ms is None]
    found = blocking(following.catalog, lasting)
    return Blocks(following.catalog.names(found.reads), following.catalog.names(found.writes))


def _union(each: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in each for name in names}))
