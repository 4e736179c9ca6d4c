"""Rehearses a plan, at several sizes if that improves the estimates, and adds the estimates to the report."""

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
from confiture.exceptions import UserFault
from confiture.models.report import MigrationReport, Report

if TYPE_CHECKING:
    from confiture.config.settings import Settings
    from confiture.rehearsal.copies import RehearsalTarget

BUDGET_S = 60.0
SAMPLE_ROWS = (10_000, 30_000, 100_000)
# A sample with fewer rows than this share of its limit contains the whole table: no larger one exists.
_NEARLY_ALL = 0.9
# A sample must be at most this share of all rows: sizes that are close together do not show how times grow.
_SMALLER_SHARE = 0.5
# The next size is expected to take this many times as long: it has about three times the rows, but a server
# takes equally long to start.
_GROWTH = 2.0


@frozen
class Production:
    """The production database that estimates are made for.

    Attributes:
        statistics: Its exported statistics.
        file: The name of their file, for messages.
        budget_s: The time to spend on rehearsing at several sizes, in seconds.
        prior: The errors to expect; ``None`` for the shipped ones, corrected by the user's real runs.
    """

    statistics: Statistics
    file: str = "the export"
    budget_s: float = BUDGET_S
    prior: Prior | None = field(default=None, repr=False)

    @classmethod
    def read(cls, file: Path, budget_s: float = BUDGET_S) -> Production:
        """Return the production that a file of ``confiture stats export`` describes.

        Raises:
            StatisticsFault: If the file cannot be used.
        """
        return cls(load_statistics(file), str(file), budget_s)


@frozen
class RehearsalResult:
    """The rehearsals of a plan at one size.

    Attributes:
        report: The report of all repetitions together.
        runs: The report of each repetition.
        here: Statistics of the database before the first repetition; ``None`` if nothing was pending.
    """

    report: Report
    runs: tuple[Report, ...] = ()
    here: Statistics | None = None


RehearseCallback = Callable[["RehearsalTarget", int | None, int], RehearsalResult]
"""Rehearses at a target, on a sample of so many rows per table (``None``: all), so many times."""


def rehearse_with_estimates(
    settings: Settings,
    rehearse: RehearseCallback,
    production: Production,
    target: RehearsalTarget,
    sample_rows: int | None,
    repeat: int,
) -> Report:
    """Rehearse a plan and return its report with estimates; store them to compare with the real run."""
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
    result = rehearse(target, sample_rows, repeat)
    if result.here is None:
        return result.report
    return RehearsedSize(result.here, result.report, result.runs, sample_rows)


def _rehearse_samples(
    rehearse: RehearseCallback, repeat: int, budget_s: float
) -> list[RehearsedSize | Report]:
    """Rehearse on larger and larger samples until the budget is spent or no more rows exist."""
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
    """Rehearse in a clone with all rows, then, if production has more, on smaller and smaller samples.

    All rows come first because the largest size matters most; the largest samples come next because the
    sizes nearest to production's show best how times grow.
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
        except (UserFault, psycopg.Error):
            # A thinned clone needs a superuser. Without one the rehearsal of all rows is enough.
            break
        if isinstance(size, Report) or size.report.outcome != "ok":
            break
        sizes.insert(0, size)
    return sizes


def _exceeds(production: Production, size: RehearsedSize) -> bool:
    """Return True if a table has more rows in production than in this rehearsal."""
    there = production.statistics
    return any(
        (there.count_rows(name) or 0.0) > (size.here.count_rows(name) or 0.0) for name in size.here.relations
    )


def _is_last(size: RehearsedSize, rows: int) -> bool:
    """Return True if a larger sample is useless: it has no more rows, or the plan fails."""
    return size.report.outcome != "ok" or size.most_rows < _NEARLY_ALL * rows


def _add_plan_estimates(
    attempts: list[RehearsedSize | Report], production: Production, store: PredictionStore
) -> Report:
    """Return the last report with estimates and notes on them; store the predictions."""
    sizes = [attempt for attempt in attempts if isinstance(attempt, RehearsedSize)]
    last = attempts[-1]
    age_note = describe_age(production.statistics, production.file)
    if isinstance(last, Report):
        return evolve(last, notes=(*last.notes, *([age_note] if age_note else [])))
    prior = production.prior or evolve(load_shipped(), own=store.own_history)
    forecasts = forecast_plan(sizes, production.statistics, prior)
    notes = (
        *last.report.notes,
        *_describe_sizes(sizes),
        *([age_note] if age_note else []),
        *store.keep_predictions(forecasts, prior.own),
    )
    return evolve(
        last.report,
        migrations=tuple(forecast.migration for forecast in forecasts),
        notes=(*notes, *note_server_difference(sizes, production.statistics)),
    )


def _describe_sizes(sizes: list[RehearsedSize]) -> tuple[str, ...]:
    if len(sizes) == 1:
        return ()
    *first, last = (f"{size.sample_rows:,}" if size.sample_rows else "all" for size in sizes)
    return (f"rehearsed on {', '.join(first)} and {last} rows of each table for the estimates",)


def add_estimates(ran: MigrationReport, here: Statistics, production: Production) -> MigrationReport:
    """Return the report of one migration, rehearsed on ``here``, with estimates for production."""
    report = Report("dry-run", "ok", 0, migrations=(ran,))
    (forecast,) = forecast_plan(
        (RehearsedSize(here, report, (report,)),), production.statistics, production.prior
    )
    return forecast.migration
