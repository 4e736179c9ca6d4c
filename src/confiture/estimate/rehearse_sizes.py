"""Rehearse, at several sizes where it pays, and say how long production would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from attrs import evolve, field, frozen

from confiture.estimate.plan_estimate import Size, forecasts, remarks
from confiture.estimate.prediction_store import Keeping
from confiture.estimate.prior import Prior, shipped
from confiture.estimate.statistics import Statistics, age_note
from confiture.estimate.statistics_file import load
from confiture.exceptions import ConfitureError
from confiture.models.report import MigrationReport, Report

if TYPE_CHECKING:
    from confiture.config.settings import Settings
    from confiture.rehearsal.copies import Place

BUDGET_S = 60.0
SAMPLES_ROWS = (10_000, 30_000, 100_000)
_NEARLY_ALL = 0.9
_SMALLER = 0.5
# Each size is about three times the one before; a server takes its time to start whatever the size.
_LONGER = 2.0


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
        return cls(load(file), str(file), budget_s)


@frozen
class Rehearsed:
    """What rehearsing a plan at one size showed.

    Attributes:
        report: Of all repetitions together.
        runs: The report of each.
        here: The statistics of the database before the first; ``None`` if nothing was pending.
    """

    report: Report
    runs: tuple[Report, ...] = ()
    here: Statistics | None = None


Rehearse = Callable[["Place", int | None, int], Rehearsed]
"""Rehearses in a place, on a sample of rows, so many times."""


def estimated(
    settings: Settings,
    rehearse: Rehearse,
    production: Production,
    place: Place,
    sample_rows: int | None,
    repeat: int,
) -> Report:
    """Rehearse, and return the report with what production would take; that is kept for the real run."""
    sizes: list[Size | Report]
    if place == "embedded" and sample_rows is None:
        sizes = _at_several_sizes(rehearse, repeat, production.budget_s)
    elif place == "clone":
        sizes = _whole_and_samples(rehearse, repeat, production)
    else:
        sizes = [_at_one_size(rehearse, place, sample_rows, repeat)]
    return _said(sizes, production, Keeping.of(settings))


def _at_one_size(rehearse: Rehearse, place: Place, sample_rows: int | None, repeat: int) -> Size | Report:
    seen = rehearse(place, sample_rows, repeat)
    return Size(seen.here, seen.report, seen.runs, sample_rows) if seen.here else seen.report


def _at_several_sizes(rehearse: Rehearse, repeat: int, budget_s: float) -> list[Size | Report]:
    """Rehearse on larger and larger samples, as long as there is time and there are more rows."""
    began = time.monotonic()
    sizes: list[Size | Report] = []
    for rows in SAMPLES_ROWS:
        before = time.monotonic()
        size = _at_one_size(rehearse, "embedded", rows, repeat)
        sizes.append(size)
        took_s = time.monotonic() - before
        spent_s = time.monotonic() - began
        if isinstance(size, Report) or _is_the_last(size, rows) or spent_s + _LONGER * took_s > budget_s:
            break
    return sizes


def _whole_and_samples(rehearse: Rehearse, repeat: int, production: Production) -> list[Size | Report]:
    """Rehearse in a clone with all rows, then with fewer and fewer, as long as there is time and use for it.

    How times grow is told by the sizes that are nearest to production's.
    """
    began = time.monotonic()
    whole = _at_one_size(rehearse, "clone", None, repeat)
    if isinstance(whole, Report) or whole.report.outcome != "ok" or not _is_larger(production, whole):
        return [whole]
    sizes: list[Size | Report] = [whole]
    took_s = time.monotonic() - began
    for rows in reversed(SAMPLES_ROWS):
        if rows > _SMALLER * whole.most_rows:
            continue
        if time.monotonic() - began + took_s > production.budget_s:
            break
        try:
            size = _at_one_size(rehearse, "clone", rows, repeat)
        except (ConfitureError, psycopg.Error):
            break  # what all rows have told stands; they are the best there is
        if isinstance(size, Report) or size.report.outcome != "ok":
            break
        sizes.insert(0, size)
    return sizes


def _is_larger(production: Production, size: Size) -> bool:
    """Whether a table has more rows in production than it had here."""
    there = production.statistics
    return any((there.rows(name) or 0.0) > (size.here.rows(name) or 0.0) for name in size.here.relations)


def _is_the_last(size: Size, rows: int) -> bool:
    """Whether a larger sample would hold nothing more, or nothing that went well."""
    return size.report.outcome != "ok" or size.most_rows < _NEARLY_ALL * rows


def _said(tried: list[Size | Report], production: Production, keeping: Keeping) -> Report:
    """Return the last report with its estimates, and what is to be said of them."""
    sizes = [each for each in tried if isinstance(each, Size)]
    last = tried[-1]
    old = age_note(production.statistics, production.file)
    if isinstance(last, Report):
        return evolve(last, notes=(*last.notes, *([old] if old else [])))
    prior = production.prior or evolve(shipped(), own=keeping.own)
    found = forecasts(sizes, production.statistics, prior)
    notes = (
        *last.report.notes,
        *_sizes(sizes),
        *([old] if old else []),
        *keeping.predicted(found, prior.own),
    )
    return evolve(
        last.report,
        migrations=tuple(each.migration for each in found),
        notes=(*notes, *remarks(sizes, production.statistics)),
    )


def _sizes(sizes: list[Size]) -> tuple[str, ...]:
    if len(sizes) == 1:
        return ()
    *first, last = (f"{each.sample_rows:,}" if each.sample_rows else "all" for each in sizes)
    return (f"rehearsed on {', '.join(first)} and {last} rows of each table for the estimates",)


def with_estimates(ran: MigrationReport, here: Statistics, production: Production) -> MigrationReport:
    """Return one migration's rehearsal on ``here`` with what production would take."""
    report = Report("dry-run", "ok", 0, migrations=(ran,))
    (found,) = forecasts((Size(here, report, (report,)),), production.statistics, production.prior)
    return found.migration
