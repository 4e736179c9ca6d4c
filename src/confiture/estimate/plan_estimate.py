"""Add estimates for production to the report of a rehearsal: per statement, hook, migration and table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve, field, frozen

from confiture.estimate.comparability import is_same_server
from confiture.estimate.prior import Prior
from confiture.estimate.statement_estimate import (
    Prediction,
    RehearsedStatement,
    predict,
    predict_hook,
    sum_predictions,
)
from confiture.estimate.statistics import Statistics
from confiture.estimate.unavailability import PredictedStep, predict_unavailability
from confiture.estimate.work_classes import classify
from confiture.models.report import Estimate, HookReport, MigrationReport, Report, StatementReport
from confiture.sql.statement_kind import classify_statement

# A change of the catalog alone takes no longer than this.
_BUSY_MS = 100.0
_BEFORE = ("before_validation", "before_ddl")
# A migration is unknown if it spent at least this share of its time, and at least this many milliseconds,
# outside of statements and hooks.
_UNACCOUNTED_SHARE = 0.2
_UNACCOUNTED_MS = 50.0
# These statements lock the relation they work on. If the rehearsal reports no lock, their own transaction
# created the relation.
_WORKS_ON_RELATION = ("index_stmt", "alter_table_stmt", "cluster_stmt", "vacuum_stmt")


@frozen
class RehearsedSize:
    """The rehearsals of a plan on a database of one size.

    Attributes:
        here: Statistics of that database before the rehearsal.
        report: The report of all its rehearsals together.
        runs: The report of each rehearsal.
        sample_rows: The maximum number of rows per table in the sample; ``None`` for all rows.
    """

    here: Statistics = field(repr=False)
    report: Report
    runs: tuple[Report, ...]
    sample_rows: int | None = None

    @property
    def most_rows(self) -> float:
        """Rows of the largest table."""
        return max((relation.rows or 0.0 for relation in self.here.relations.values()), default=0.0)


@frozen
class Forecast:
    """The estimates of one migration.

    Attributes:
        migration: Its report with the estimates.
        statements: The prediction of each statement; empty if it was not rehearsed.
    """

    migration: MigrationReport
    statements: tuple[Prediction, ...] = ()


def forecast_plan(
    sizes: Sequence[RehearsedSize], production: Statistics, prior: Prior | None = None
) -> tuple[Forecast, ...]:
    """Return the forecast of each migration of a plan; the largest size is the last in ``sizes``."""
    filled = False
    forecasts = []
    for number, migration in enumerate(sizes[-1].report.migrations):
        forecasts.append(_forecast(number, migration, sizes, production, prior, filled=filled))
        filled = filled or any(map(_fills, migration.statements))
    return tuple(forecasts)


def note_server_difference(sizes: Sequence[RehearsedSize], production: Statistics) -> tuple[str, ...]:
    """Return a note if production's server differs from that of the rehearsal."""
    largest = sizes[-1].here
    if is_same_server(largest, production):
        return ()
    return (
        f"production (PostgreSQL {production.server.version}) differs from the rehearsal's server in "
        "version, settings or speed: intervals are wider",
    )


def _forecast(
    number: int,
    migration: MigrationReport,
    sizes: Sequence[RehearsedSize],
    production: Statistics,
    prior: Prior | None,
    *,
    filled: bool,
) -> Forecast:
    if migration.outcome == "not_rehearsed":
        return Forecast(evolve(migration, estimate=_estimate_not_rehearsed(migration)))
    if migration.outcome != "rehearsed":
        return Forecast(migration)
    statements = []
    for place, statement in enumerate(migration.statements):
        rehearsed = list(_collect_same(number, place, statement, sizes))
        statements.append(
            _explain_unknown(statement, sizes[-1], filled) or predict(rehearsed, production, prior)
        )
        filled = filled or _fills(statement)
    hooks = [predict_hook(hook, sizes[-1].here, production) for hook in migration.hooks]
    return Forecast(_add_predictions(migration, statements, hooks), tuple(statements))


def _add_predictions(
    migration: MigrationReport, statements: Sequence[Prediction], hooks: Sequence[Prediction]
) -> MigrationReport:
    """Return the migration with estimates of its steps, of their sum and of the tables it blocks."""
    steps = [*_order_steps(migration, statements, hooks)]
    unaccounted = _predict_unaccounted(migration)
    total = sum_predictions([*(step.prediction for step in steps), *([unaccounted] if unaccounted else [])])
    return evolve(
        migration,
        statements=tuple(
            evolve(statement, estimate=prediction.estimate)
            for statement, prediction in zip(migration.statements, statements, strict=True)
        ),
        hooks=tuple(
            evolve(hook, estimate=prediction.estimate)
            for hook, prediction in zip(migration.hooks, hooks, strict=True)
        ),
        estimate=total,
        unavailable=predict_unavailability(migration, steps, unaccounted),
    )


def _order_steps(
    migration: MigrationReport, statements: Sequence[Prediction], hooks: Sequence[Prediction]
) -> Iterator[PredictedStep]:
    """Yield the steps in the order they ran: hooks before ``up()``, statements, hooks after it."""
    predicted = [*zip(migration.hooks, hooks, strict=True)]
    yield from (PredictedStep(hook, prediction) for hook, prediction in predicted if _comes_before(hook))
    for statement, prediction in zip(migration.statements, statements, strict=True):
        yield PredictedStep(statement, prediction)
    yield from (PredictedStep(hook, prediction) for hook, prediction in predicted if not _comes_before(hook))


def _comes_before(hook: HookReport) -> bool:
    return hook.phase.lower() in _BEFORE


def _predict_unaccounted(migration: MigrationReport) -> Prediction | None:
    """Return an unknown prediction if much time passed outside of statements and hooks, else ``None``."""
    steps: list[StatementReport | HookReport] = [*migration.statements, *migration.hooks]
    steps_ms = sum(step.duration_ms for step in steps)
    unaccounted_ms = (migration.duration_ms or 0.0) - steps_ms
    if unaccounted_ms < max(_UNACCOUNTED_MS, _UNACCOUNTED_SHARE * (migration.duration_ms or 0.0)):
        return None
    return Prediction(
        Estimate(
            known=False,
            reason=f"{unaccounted_ms:.0f} ms passed outside its statements and hooks: in Python code, "
            "or in the check of deferred constraints",
            advice="rehearse on a copy of production",
        )
    )


def _collect_same(
    number: int, place: int, statement: StatementReport, sizes: Sequence[RehearsedSize]
) -> Iterator[RehearsedStatement]:
    """Yield the rehearsals of a statement at every size, the largest last."""
    for size in sizes:
        reports = [found for run in size.runs if (found := _find_same(number, place, statement, run))]
        # predict() classifies by the first run: make it the one that the report shows.
        if size is sizes[-1]:
            reports.sort(key=lambda report: report.duration_ms != statement.duration_ms)
        if reports:
            yield RehearsedStatement(size.here, tuple(reports))


def _find_same(number: int, place: int, statement: StatementReport, run: Report) -> StatementReport | None:
    if number >= len(run.migrations) or place >= len(run.migrations[number].statements):
        return None
    # A Python migration may execute other statements on other data.
    found = run.migrations[number].statements[place]
    return found if found.sql == statement.sql else None


def _fills(statement: StatementReport) -> bool:
    """Return True if a statement fills a relation with rows that it reads from others."""
    statement_class = classify(statement)
    return statement_class.work_class == "matview" or (
        statement_class.work_class == "dml"
        and bool(statement_class.relations)
        and "insert" in statement_class.events
    )


def _explain_unknown(statement: StatementReport, size: RehearsedSize, filled: bool) -> Prediction | None:
    """Return an unknown prediction of a statement whose table cannot be looked up in production.

    Either this plan creates and fills the table, or the statement looks like a catalog change but took
    too long for one.
    """
    statement_class = classify(statement)
    created = [name for name in statement_class.relations if name not in size.here.relations]
    unseen = (
        statement_class.work_class == "catalog"
        and not statement.locks
        and classify_statement(statement.sql).node in _WORKS_ON_RELATION
    )
    busy = statement_class.work_class == "catalog" and statement.work_ms > _BUSY_MS
    if not busy and not (filled and (created or unseen)):
        return None
    if filled and (created or unseen):
        name = created[0] if created else "a relation"
        reason = f"it works on {name}, created by this plan, whose size in production is unknown"
        advice = "apply the migration that creates it, then rehearse the rest"
    else:
        reason = f"it took {statement.work_ms:.0f} ms, but the rehearsal did not see which table it worked on"
        advice = "rehearse on a copy of production"
    return Prediction(Estimate(known=False, reason=reason, advice=advice))


def _estimate_not_rehearsed(migration: MigrationReport) -> Estimate:
    return Estimate(
        known=False,
        reason=f"it could not be rehearsed: {migration.reason}",
        advice="rehearse with --in clone or --in embedded, which commit each migration",
    )
