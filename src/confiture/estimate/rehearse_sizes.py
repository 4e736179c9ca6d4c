"""Rehearse a plan, at several sizes if that improves the estimates, and add the estimates to the report."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from attrs import evolve, field, frozen

from confiture.config.urls import expand_variables, is_url, mask_password
from confiture.estimate.export import export
from confiture.estimate.plan_estimate import RehearsedSize, forecast_plan, note_server_difference
from confiture.estimate.prediction_store import PredictionStore
from confiture.estimate.prior import Prior, load_shipped
from confiture.estimate.rehearsal_result import RehearsalResult
from confiture.estimate.statistics import Statistics, describe_age
from confiture.estimate.statistics_file import load_statistics
from confiture.exceptions import ConnectionFault, LockFault, UsageFault, UserFault
from confiture.models.report import MigrationReport, Report
from confiture.rehearsal.trace.plan_comparison import ProductionPlanner

if TYPE_CHECKING:
    from confiture.config.settings import Settings
    from confiture.rehearsal.copies import RehearsalTarget

BUDGET_S = 60.0
# The budget decides how far it goes: a table of a billion rows needs ten million here.
SAMPLE_ROWS = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
# A sample with fewer rows than this share of its limit contains the whole table: no larger one exists.
_NEARLY_ALL = 0.9
# A sample must be at most this share of all rows: sizes that are close together do not show how times grow.
_SMALLER_SHARE = 0.5
# The next size has about three times the rows. It takes between two and three times as long, because a server
# takes equally long to start.
_LEAST_GROWTH, _MOST_GROWTH = 2.0, 3.5


@frozen
class Production:
    """The production database that estimates are made for.

    Attributes:
        statistics: Its exported statistics.
        file: Where they are from, for messages: a file, or a URL without its password.
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

    @classmethod
    def find(cls, settings: Settings, given: str, budget_s: float = BUDGET_S) -> Production:
        """Return the production that ``--production`` names: a URL, a file, or what the configuration says.

        Args:
            settings: The settings; production is read with the schema and the waiting time of the rehearsal.
            given: A URL, a file, or empty for ``stats`` of ``[env.production]``.
            budget_s: The time to spend on rehearsing at several sizes, in seconds.

        Raises:
            UsageFault: Nothing is given and nothing is configured.
            StatisticsFault: The file cannot be used.
            ConnectionFault: The server cannot be reached.
        """
        source = given or _read_configured_source(settings)
        if not is_url(source):
            return cls.read(Path(source) if given else settings.root / source, budget_s)
        return cls(_read_directly(settings, source), mask_password(source), budget_s)

    def build_planner(self) -> ProductionPlanner:
        """Return what plans a rehearsal's statements as production would."""
        there = self.statistics
        rows = {name: relation.rows for name, relation in there.relations.items() if relation.rows}
        visible = {
            name: min(1.0, relation.visible_pages / relation.pages)
            for name, relation in there.relations.items()
            if relation.visible_pages is not None and relation.pages
        }
        return ProductionPlanner(rows, there.settings, visible)


def _read_directly(settings: Settings, url: str) -> Statistics:
    """Return the statistics of the database at ``url``; a fault says that it is production's."""
    try:
        return export(evolve(settings, url=url, direct_url=None))
    except (ConnectionFault, LockFault) as fault:
        hint = fault.hint
        if hint and "--url" in hint:
            hint = (
                "check that its server is running, and the URL: --production, or `stats` of [env.production]"
            )
        raise type(fault)(f"cannot read production's statistics: {fault.message}", hint=hint) from fault
    except psycopg.Error as error:
        # Without an SQLSTATE the error is the client's: the connection was lost.
        fault_type = ConnectionFault if error.sqlstate is None else UserFault
        hint = None
        if isinstance(error, psycopg.errors.QueryCanceled):
            hint = "raise the statement_timeout of its role there"
        raise fault_type(f"cannot read production's statistics: {error}", hint=hint) from error


def _read_configured_source(settings: Settings) -> str:
    if settings.production_stats is None:
        raise UsageFault(
            "--production: nothing says where production's statistics are",
            hint='name the file or the URL, or set it once: [env.production] stats = "production.json"',
        )
    try:
        return expand_variables(settings.production_stats, os.environ)
    except ValueError as error:
        raise UsageFault(
            f"[env.production] stats: {error}", hint="set it, or name the file: --production FILE"
        ) from None


RehearseCallback = Callable[["RehearsalTarget", int | None, int], RehearsalResult]
"""Rehearses at a target, on a sample of a number of rows per table (``None``: all), a number of times."""


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
    previous_s = math.inf
    sizes: list[RehearsedSize | Report] = []
    for rows in SAMPLE_ROWS:
        before = time.monotonic()
        size = _rehearse_size(rehearse, "embedded", rows, repeat)
        sizes.append(size)
        took_s, spent_s = time.monotonic() - before, time.monotonic() - began
        next_s = took_s * min(max(took_s / previous_s, _LEAST_GROWTH), _MOST_GROWTH)
        if isinstance(size, Report) or _is_last(size, rows) or spent_s + next_s > budget_s:
            break
        previous_s = took_s
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
