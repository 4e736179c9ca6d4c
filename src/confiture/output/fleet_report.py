"""Hand a fleet's run or rehearsal to the reporters of runs: JUnit, SARIF, Markdown and those of plugins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import evolve

from confiture.models.report import Fault, MigrationOutcome, MigrationReport, Report

if TYPE_CHECKING:
    from confiture.models.fleet import RunRecord, TargetRecord
    from confiture.models.fleet_rehearsal import SampledTarget

_OUTCOMES: dict[str, MigrationOutcome] = {
    "done": "applied",
    "unchanged": "applied",
    "failed": "failed",
    "waiting": "pending",
    "running": "pending",
}


def build_report(record: RunRecord) -> Report:
    """Return a run as a report: a migration for each target, by the target's name.

    A target that was left unchanged counts as applied, and one that still waits or runs as pending.
    """
    failed = any(target.state == "failed" for target in record.targets)
    ended = record.state == "done"
    why = f": {record.reason}" if record.reason else ""
    return Report(
        "run",
        "failed" if failed or not ended else "ok",
        record.exit_code or (0 if ended else 4),
        migrations=tuple(map(_build_migration, record.targets)),
        error=None if ended else Fault(f"fleet run {record.run} is {record.state}{why}"),
    )


def _build_migration(target: TargetRecord) -> MigrationReport:
    reason = {"unchanged": "nothing to do", "waiting": "not begun", "running": "not ended"}
    return MigrationReport(
        target.name,
        "",
        _OUTCOMES[target.state],
        reason.get(target.state),
        target.duration_ms,
        error=Fault(target.error or "unknown") if target.state == "failed" else None,
    )


def name_migrations(one: SampledTarget) -> Iterator[MigrationReport]:
    """Yield the migrations of a rehearsed target, each with the target's name before its version."""
    if not one.report.migrations and one.report.error:
        yield MigrationReport(one.shape.name, "", "failed", error=one.report.error)
    for migration in one.report.migrations:
        yield evolve(migration, version=f"{one.shape.name}: {migration.version}")
