"""``--repeat``: combine several rehearsals into one report, with the spread of their times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from attrs import evolve

from confiture.models.report import Lock, MigrationReport, Report, Residue, Spread, StatementReport


def repeat_rehearsal(rehearse: Callable[[], Report], times: int) -> Report:
    """Rehearse ``times`` times and return the combined report; if one rehearsal fails, return its report."""
    reports: list[Report] = []
    for _ in range(times):
        reports.append(rehearse())
        if reports[-1].outcome != "ok":
            return reports[-1]
    return combine_reports(reports)


def combine_reports(reports: Sequence[Report]) -> Report:
    """Return the report of the rehearsal with the median duration, with the spread of all of them."""
    middle = sorted(reports, key=_sum_durations_ms)[(len(reports) - 1) // 2]
    if len(reports) == 1 or not middle.migrations:
        return middle
    repetitions = zip(*(report.migrations for report in reports), strict=True)
    return evolve(
        middle,
        migrations=tuple(
            _combine_migration(migration, same)
            for migration, same in zip(middle.migrations, repetitions, strict=True)
        ),
        residue=_combine_residue(reports),
    )


def _sum_durations_ms(report: Report) -> float:
    return sum(migration.duration_ms or 0.0 for migration in report.migrations)


def _combine_migration(middle: MigrationReport, repetitions: Sequence[MigrationReport]) -> MigrationReport:
    runs = [run.statements for run in repetitions]
    statements = middle.statements
    # A Python migration may execute a different number of statements each time: then none has a counterpart.
    if len({len(run) for run in runs}) == 1:
        statements = tuple(
            evolve(statement, spread=_measure_spread(same))
            for statement, same in zip(middle.statements, zip(*runs, strict=True), strict=True)
        )
    return evolve(middle, statements=statements, spread=_measure_spread(repetitions))


def _measure_spread(runs: Sequence[MigrationReport | StatementReport]) -> Spread:
    held = [longest for run in runs if (longest := _find_longest_ms(run.locks)) is not None]
    return Spread(
        runs=len(runs),
        duration_ms=_compute_range([run.duration_ms for run in runs if run.duration_ms is not None]),
        held_ms=_compute_range(held),
    )


def _find_longest_ms(locks: Sequence[Lock]) -> float | None:
    return max((lock.held_ms for lock in locks if lock.held_ms is not None), default=None)


def _compute_range(values: Sequence[float]) -> tuple[float, float, float] | None:
    return (min(values), median(values), max(values)) if values else None


def _combine_residue(reports: Sequence[Report]) -> tuple[Residue, ...]:
    """Return the residue of all rehearsals: the values before the first one and after the last one."""
    found: dict[tuple[str, str], Residue] = {}
    for residue in (residue for report in reports for residue in report.residue):
        key = residue.what, residue.relation
        found[key] = evolve(residue, before=found[key].before) if key in found else residue
    return tuple(found.values())
