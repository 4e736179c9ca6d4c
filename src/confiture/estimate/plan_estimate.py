"""From the report of a rehearsal to one that says what each step, migration and table takes in production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve, field, frozen

from confiture.estimate.comparability import is_same_server
from confiture.estimate.prior import Prior
from confiture.estimate.statement_estimate import (
    FEWEST_MS,
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
from confiture.sql.statement_kind import statement_kind

_BEFORE = ("before_validation", "before_ddl")
_UNACCOUNTED_SHARE = 0.2
_UNACCOUNTED_MS = 50.0
# Statements that lock what they work on, except a relation that their own transaction made.
_WORKS_ON_RELATION = ("index_stmt", "alter_table_stmt", "cluster_stmt", "vacuum_stmt")


@frozen
class RehearsedSize:
    """A plan that was rehearsed on a database of one size.

    Attributes:
        here: That database's statistics, taken before it.
        report: What is said of it.
        runs: Every rehearsal that stands behind it.
        sample_rows: How many rows of each table were there at most; ``None``: all.
    """

    here: Statistics = field(repr=False)
    report: Report
    runs: tuple[Report, ...]
    sample_rows: int | None = None

    @property
    def most_rows(self) -> float:
        """Those of the largest table."""
        return max((relation.rows or 0.0 for relation in self.here.relations.values()), default=0.0)


@frozen
class Forecast:
    """What is known of one migration in production.

    Attributes:
        migration: With its estimates.
        statements: What they are made of, one for each statement.
    """

    migration: MigrationReport
    statements: tuple[Prediction, ...] = ()


def forecast_plan(
    sizes: Sequence[RehearsedSize], production: Statistics, prior: Prior | None = None
) -> tuple[Forecast, ...]:
    """Return what the migrations would take in production, the largest size last in ``sizes``."""
    filled = False
    found = []
    for number, migration in enumerate(sizes[-1].report.migrations):
        found.append(_forecast(number, migration, sizes, production, prior, filled=filled))
        filled = filled or any(map(_fills, migration.statements))
    return tuple(found)


def note_server_difference(sizes: Sequence[RehearsedSize], production: Statistics) -> tuple[str, ...]:
    """Return what a reader must know of these estimates."""
    largest = sizes[-1].here
    if is_same_server(largest, production):
        return ()
    return (
        f"production (PostgreSQL {production.server.version}) has other settings or another speed than where "
        "it was rehearsed: intervals are wider for it",
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
        alike = list(_collect_same(number, place, statement, sizes))
        statements.append(_explain_unknown(statement, sizes[-1], filled) or predict(alike, production, prior))
        filled = filled or _fills(statement)
    hooks = [predict_hook(hook, sizes[-1].here, production) for hook in migration.hooks]
    return Forecast(_add_predictions(migration, statements, hooks), tuple(statements))


def _add_predictions(
    migration: MigrationReport, statements: Sequence[Prediction], hooks: Sequence[Prediction]
) -> MigrationReport:
    """Return the migration with what is predicted of its steps, of all, and of the tables it blocks."""
    steps = [*_order_steps(migration, statements, hooks)]
    untold = _predict_unaccounted(migration)
    whole = sum_predictions([*(step.prediction for step in steps), *([untold] if untold else [])])
    return evolve(
        migration,
        statements=tuple(
            evolve(each, estimate=prediction.estimate)
            for each, prediction in zip(migration.statements, statements, strict=True)
        ),
        hooks=tuple(
            evolve(each, estimate=prediction.estimate)
            for each, prediction in zip(migration.hooks, hooks, strict=True)
        ),
        estimate=whole,
        unavailable=predict_unavailability(migration, steps, untold),
    )


def _order_steps(
    migration: MigrationReport, statements: Sequence[Prediction], hooks: Sequence[Prediction]
) -> Iterator[PredictedStep]:
    """Yield the steps as they ran."""
    told = [*zip(migration.hooks, hooks, strict=True)]
    yield from (PredictedStep(each, prediction) for each, prediction in told if _comes_before(each))
    for statement, prediction in zip(migration.statements, statements, strict=True):
        yield PredictedStep(statement, prediction)
    yield from (PredictedStep(each, prediction) for each, prediction in told if not _comes_before(each))


def _comes_before(hook: HookReport) -> bool:
    return hook.phase.lower() in _BEFORE


def _predict_unaccounted(migration: MigrationReport) -> Prediction | None:
    """Say that much of the time went by beside statements and hooks; ``None`` where it did not."""
    steps: list[StatementReport | HookReport] = [*migration.statements, *migration.hooks]
    steps_ms = sum(step.duration_ms for step in steps)
    untold_ms = (migration.duration_ms or 0.0) - steps_ms
    if untold_ms < max(_UNACCOUNTED_MS, _UNACCOUNTED_SHARE * (migration.duration_ms or 0.0)):
        return None
    return Prediction(
        Estimate(
            known=False,
            reason=f"{untold_ms:.0f} ms went by beside its statements and hooks: Python, or the check of "
            "deferred constraints",
            advice="rehearse on a copy of production",
        )
    )


def _collect_same(
    number: int, place: int, statement: StatementReport, sizes: Sequence[RehearsedSize]
) -> Iterator[RehearsedStatement]:
    """Yield the same statement at every size, the largest last."""
    for size in sizes:
        runs = [one for run in size.runs if (one := _find_same(number, place, statement, run))]
        # What says where it reads and what it locks comes first.
        if size is sizes[-1]:
            runs.sort(key=lambda one: one.duration_ms != statement.duration_ms)
        if runs:
            yield RehearsedStatement(size.here, tuple(runs))


def _find_same(number: int, place: int, statement: StatementReport, run: Report) -> StatementReport | None:
    if number >= len(run.migrations) or place >= len(run.migrations[number].statements):
        return None
    found = run.migrations[number].statements[place]
    return found if found.sql == statement.sql else None


def _fills(statement: StatementReport) -> bool:
    """Whether a statement makes a relation out of what it finds in others."""
    its = classify(statement)
    return its.work_class == "matview" or (
        its.work_class == "dml" and bool(its.relations) and "insert" in its.events
    )


def _explain_unknown(statement: StatementReport, size: RehearsedSize, filled: bool) -> Prediction | None:
    """Say why a statement is not known that works on what this plan has made and filled."""
    its = classify(statement)
    new = [name for name in its.relations if name not in size.here.relations]
    unseen = (
        its.work_class == "catalog"
        and not statement.locks
        and statement_kind(statement.sql).node in _WORKS_ON_RELATION
    )
    busy = its.work_class == "catalog" and statement.work_ms > 10 * FEWEST_MS
    if not busy and not (filled and (new or unseen)):
        return None
    if filled and (new or unseen):
        what = new[0] if new else "a relation"
        reason = f"it works on {what} that this plan makes, and how large that will be is not known"
        advice = "apply what makes it first, then rehearse the rest"
    else:
        reason = f"it took {statement.work_ms:.0f} ms, and what it worked on was not seen"
        advice = "rehearse on a copy of production"
    return Prediction(Estimate(known=False, reason=reason, advice=advice))


def _estimate_not_rehearsed(migration: MigrationReport) -> Estimate:
    return Estimate(
        known=False,
        reason=f"it could not be rehearsed: {migration.reason}",
        advice="rehearse where each migration is committed: --in clone, --in embedded",
    )
