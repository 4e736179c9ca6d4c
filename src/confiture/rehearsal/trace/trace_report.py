"""Add a trace to the report of a migration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve

from confiture.models.lock_mode import LockMode, keep_strongest
from confiture.models.report import Blocks, Lock, MigrationReport, StatementReport
from confiture.rehearsal.trace.blocked_access import find_blocking
from confiture.rehearsal.trace.diff import MigrationTrace
from confiture.rehearsal.trace.steps import AcquiredLock, StatementTrace


def add_trace(
    report: MigrationReport,
    migration_trace: MigrationTrace,
    statements: Sequence[StatementTrace],
    hooks: Sequence[StatementTrace],
) -> MigrationReport:
    """Return the report of a migration with the trace of its statements and hooks."""
    end_ms = migration_trace.end_ms
    steps = migration_trace.steps
    acquired = [lock for step in steps for lock in step.acquired]
    return evolve(
        report,
        statements=tuple(
            _add_statement_trace(statement, step, end_ms)
            for statement, step in zip(report.statements, statements, strict=False)
        )
        + report.statements[len(statements) :],
        hooks=tuple(
            evolve(hook, locks=_select_strongest(step.acquired, end_ms), wal_bytes=step.wal_bytes)
            for hook, step in zip(report.hooks, hooks, strict=False)
        )
        + report.hooks[len(hooks) :],
        locks=_select_strongest(acquired, end_ms),
        rewrites=merge_names(step.rewrites for step in steps),
        index_builds=tuple({build: None for step in steps for build in step.builds.values()}),
        scans=merge_names(step.scans for step in steps),
        long_blocks=merge_names(step.long_blocks for step in steps),
        blocks=_find_blocks(migration_trace, acquired),
        not_seen=(*report.not_seen, *migration_trace.not_seen),
        warnings=(*report.warnings, *merge_names(step.warnings for step in steps)),
    )


def _add_statement_trace(report: StatementReport, step: StatementTrace, end_ms: float) -> StatementReport:
    return evolve(
        report,
        lock_wait_ms=step.lock_wait_ms,
        wal_bytes=step.wal_bytes,
        rewrites=tuple(step.rewrites),
        rewritten_bytes=step.rewritten_bytes,
        index_builds=tuple(step.builds.values()),
        scans=tuple(step.scans),
        long_blocks=tuple(step.long_blocks),
        empty_scans=tuple(step.empty_scans),
        empty_blocks=tuple(step.empty_blocks),
        locks=_select_strongest(step.acquired, end_ms),
        reasons={name: reason for name, reason in step.rewrites.items() if reason},
        plan=report.plan or step.plan,
        production_plan=step.production_plan,
    )


def _select_strongest(acquired: Iterable[AcquiredLock], end_ms: float) -> tuple[Lock, ...]:
    """Return the strongest lock of each relation, sorted by name."""
    strongest = keep_strongest(acquired, target_of=lambda lock: lock.relation.name, strength_of=_rank_lock)
    return tuple(strongest[name].build_lock(end_ms) for name in sorted(strongest))


def _rank_lock(lock: AcquiredLock) -> tuple[int, bool]:
    """Rank a lock by its mode; of equal modes, one that lasts until the end ranks higher."""
    return LockMode[lock.mode], lock.until_ms is None


def _find_blocks(migration_trace: MigrationTrace, acquired: Iterable[AcquiredLock]) -> Blocks:
    """Return what the locks block that are held until the end."""
    lasting = [(lock.relation.oid, lock.mode) for lock in acquired if lock.until_ms is None]
    found = find_blocking(migration_trace.catalog, lasting)
    return Blocks(
        migration_trace.catalog.list_names(found.reads), migration_trace.catalog.list_names(found.writes)
    )


def merge_names(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the names of all groups, sorted, each once."""
    return tuple(sorted({name for names in groups for name in names}))
