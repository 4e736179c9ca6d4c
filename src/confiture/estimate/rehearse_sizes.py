"""Rehearse, at several sizes where it pays, and say how long production would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from attrs import evolve, field, frozen

from confiture.estimate.plan_estimate import RehearsedSize, forecast_plan, note_server_difference
from confiture.estimate.prediction_store import PredictionStore
from confiture.estimate.prior import Prior, load_shipped
from confiture.estimate.statistics import Statistics, describe_age
from confiture.estimate.statistics_file import load_statistics
from confiture.exceptions import ConfitureError
from confiture.models.report import MigrationReport, Report

if TYPE_CHECKING:
    from confiture.config.settings import Settings
    from confiture.rehearsal.copies import RehearsalTarget

BUDGET_S = 60.0
SAMPLE_ROWS = (10_000, 30_000, 100_000)
_NEARLY_ALL = 0.9
_SMALLER_SHARE = 0.5
# Each size is about three times the one before; a server takes its time to start whatever the size.
_GROWTH = 2.0


@frozen
class Production:
    """What estimates are for.

    Attributes:
        statistics: As exported.
        file: Where they were read from.
        budget_s: For rehearsing at several sizes, in seconds.
        prior: What earlier timings teach; ``None``: those that are shipped, and one's own runs.
    """

    statistics: Statistics
    file: str = "the export"
    budget_s: float = BUDGET_S
    prior: Prior | None = field(default=None, repr=False)

    @classmethod
    def read(cls, file: Path, budget_s: float = BUDGET_S) -> Production:
        """Return what a file says of production.

        Raises:
            StatisticsFault: It cannot be used.
        """
        return cls(load_statistics(file), str(file), budget_s)


@frozen
class RehearsalResult:
    """What rehearsing a plan at one size showed.

    Attributes:
        report: Of all repetitions together.
        runs: The report of each.
        here: The statistics of the database before the first; ``None`` if nothing was pending.
    """

    report: Report
    runs: tuple[Report, ...] = ()
    here: Statistics | None = None


RehearseCallback = Callable[["RehearsalTarget", int | None, int], RehearsalResult]
"""Rehearses in a place, on a sample of rows, so many times."""


def rehearse_with_estimates(
    settings: Settings,
    rehearse: RehearseCallback,
    production: Production,
    target: RehearsalTarget,
    sample_rows: int | None,
    repeat: int,
) -> Report:
    """Rehearse, and return the report with what production would take; that is kept for the real run."""
    sizes: list[RehearsedSize | Report]
    if target == "embedded" and sample_rows is None:
        sizes = _rehearse_samples(rehearse, repeat, production.budget_s)
    elif target == "clone":
        sizes = _rehearse_whole_and_samples(rehearse, repeat, production)
    else:
        sizes = [_rehearse_size(rehearse, target, sample_rows, repeat)]
    return _add_plan_estimates(sizes, production, PredictionStore.open(settings))


def _rehearse_size(
    rehearse: RehearseCallback, target: RehearsalTarget, sample_rows: int | None, repeat: int
) -> RehearsedSize | Report:
    seen = rehearse(target, sample_rows, repeat)
    return RehearsedSize(seen.here, seen.report, seen.runs, sample_rows) if seen.here else seen.report


def _rehearse_samples(
    rehearse: RehearseCallback, repeat: int, budget_s: float
) -> list[RehearsedSize | Report]:
    """Rehearse on larger and larger samples, as long as there is time and there are more rows."""
    began = time.monotonic()
    sizes: list[RehearsedSize | Report] = []
    for rows in SAMPLE_ROWS:
        before = time.monotonic()
        size = _rehearse_size(rehearse, "embedded", rows, repeat)
        sizes.append(size)
        took_s = time.monotonic() - before
        spent_s = time.monotonic() - began
        if isinstance(size, Report) or _is_last(size, rows) or spent_s + _GROWTH * took_s > budget_s:
            break
    return sizes


def _rehearse_whole_and_samples(
    rehearse: RehearseCallback, repeat: int, production: Production
) -> list[RehearsedSize | Report]:
    """Rehearse in a clone with all rows, then with fewer and fewer, as long as there is time and use for it.

    How times grow is told by the sizes that are nearest to production's.
    """
    began = time.monotonic()
    whole = _rehearse_size(rehearse, "clone", None, repeat)
    if isinstance(whole, Report) or whole.report.outcome != "ok" or not _exceeds(production, whole):
        return [whole]
    sizes: list[RehearsedSize | Report] = [whole]
    took_s = time.monotonic() - began
    for rows in reversed(SAMPLE_ROWS):
        if rows > _SMALLER_SHARE * whole.most_rows:
            continue
        if time.monotonic() - began + took_s > production.budget_s:
            break
        try:
            size = _rehearse_size(rehearse, "clone", rows, repeat)
        except (ConfitureError, psycopg.Error):
            break  # what all rows have told stands; they are the best there is
        if isinstance(size, Report) or size.report.outcome != "ok":
            break
        sizes.insert(0, size)
    return sizes


def _exceeds(production: Production, size: RehearsedSize) -> bool:
    """Whether a table has more rows in production than it had here."""
    there = production.statistics
    return any(
        (there.count_rows(name) or 0.0) > (size.here.count_rows(name) or 0.0) for name in size.here.relations
    )


def _is_last(size: RehearsedSize, rows: int) -> bool:
    """Whether a larger sample would hold nothing more, or nothing that went well."""
    return size.report.outcome != "ok" or size.most_rows < _NEARLY_ALL * rows


def _add_plan_estimates(
    attempts: list[RehearsedSize | Report], production: Production, store: PredictionStore
) -> Report:
    """Return the last report with its estimates, and what is to be said of them."""
    sizes = [attempt for attempt in attempts if isinstance(attempt, RehearsedSize)]
    last = attempts[-1]
    old = describe_age(production.statistics, production.file)
    if isinstance(last, Report):
        return evolve(last, notes=(*last.notes, *([old] if old else [])))
    prior = production.prior or evolve(load_shipped(), own=store.own_history)
    found = forecast_plan(sizes, production.statistics, prior)
    notes = (
        *last.report.notes,
        *_describe_sizes(sizes),
        *([old] if old else []),
        *store.keep_predictions(found, prior.own),
    )
    return evolve(
        last.report,
        migrations=tuple(each.migration for each in found),
        notes=(*notes, *note_server_difference(sizes, production.statistics)),
    )


def _describe_sizes(sizes: list[RehearsedSize]) -> tuple[str, ...]:
    if len(sizes) == 1:
        return ()
    *first, last = (f"{size.sample_rows:,}" if size.sample_rows else "all" for size in sizes)
    return (f"rehearsed on {', '.join(first)} and {last} rows of each table for the estimates",)


def add_estimates(ran: MigrationReport, here: Statistics, production: Production) -> MigrationReport:
    """Return one migration's rehearsal on ``here`` with what production would take."""
    report = Report("dry-run", "ok", 0, migrations=(ran,))
    (found,) = forecast_plan(
        (RehearsedSize(here, report, (report,)),), production.statistics, production.prior
    )
    return found.migration
