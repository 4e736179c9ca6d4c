"""Predictions and the real times of the same statements, and what predictions learn from the difference.

Values only: ``prediction_store`` reads and writes them. They hold checksums, table names, rows and times,
but no SQL and no row data, so that the file can be committed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from statistics import median

from attrs import evolve, field, frozen

from confiture.estimate.plan_estimate import Forecast
from confiture.estimate.prior import PRIOR_CASES, OwnHistory
from confiture.estimate.statement_estimate import Prediction
from confiture.models.report import MigrationReport, StatementReport

SAME_SIZE_RATIO = 1.5
"""A real run counts if its table has the predicted number of rows, up to this factor.

A run on a development database says nothing about production.
"""
# Standard deviations between the 5 % and the 95 % quantile of a normal distribution.
_SPREADS_IN_90_PERCENT = 2 * 1.645


@frozen
class KeptStatement:
    """The prediction of one statement, and its real time once it was run.

    Attributes:
        line: Line of the statement in its file.
        sql_sha256: SHA-256 of its SQL.
        relation: The table whose size decides; ``None`` for a bound.
        rows: Rows of that table in production when predicted; ``None`` for a bound.
        kind: Class of the statement; ``None`` for a bound.
        p50_ms: The point estimate in milliseconds; ``None`` for a bound.
        interval50_ms: The 50 % interval in milliseconds; ``None`` for a bound.
        interval90_ms: The 90 % interval in milliseconds; zero and the bound for a bound.
        own: The correction by earlier real runs that the prediction includes.
        actual_ms: The real time in milliseconds, lock waits included; ``None`` until it was run.
        actual_rows: Rows of the table before the real run.
    """

    line: int | None
    sql_sha256: str
    relation: str | None
    rows: float | None
    kind: str | None
    p50_ms: float | None
    interval50_ms: tuple[float, float] | None
    interval90_ms: tuple[float, float]
    own: OwnHistory = field(factory=OwnHistory)
    actual_ms: float | None = None
    actual_rows: float | None = None

    @property
    def counts(self) -> bool:
        """True if it was run on a table of the predicted size; bounds count at any size."""
        if self.actual_ms is None:
            return False
        if self.rows is None or self.p50_ms is None:
            return True
        return (
            bool(self.actual_rows)
            and 1 / SAME_SIZE_RATIO <= (self.actual_rows or 0) / self.rows <= SAME_SIZE_RATIO
        )


@frozen
class KeptMigration:
    """The predictions of one migration.

    Attributes:
        checksum: Checksum of its file when it was predicted.
        predicted_at: Time of the prediction, ISO 8601.
        ran_at: Time of the real run, ISO 8601; ``None`` until it was run.
        statements: The statements with an interval or a bound.
    """

    version: str
    name: str
    checksum: str
    predicted_at: str
    ran_at: str | None = None
    statements: tuple[KeptStatement, ...] = ()


@frozen
class CalibrationLine:
    """One statement's prediction next to its real time, all in milliseconds.

    Attributes:
        inside: True if the real time is in the 90 % interval.
    """

    version: str
    name: str
    line: int | None
    relation: str | None
    p50_ms: float | None
    interval90_ms: tuple[float, float]
    actual_ms: float
    inside: bool


@frozen
class Calibration:
    """The accuracy of predictions so far.

    Attributes:
        migrations: Number of migrations that were predicted and run.
        predictions: Number of their statements with an interval.
        coverage50_percent: Share of these inside their 50 % interval; ``None`` if there are none.
        coverage90_percent: Share of these inside their 90 % interval; ``None`` if there are none.
        median_error_percent: Median of ``|p50 - actual| / actual``; ``None`` if there are none.
        bounds: Number of their statements with a bound.
        bounds_kept_percent: Share of these that stayed below the bound; ``None`` if there are none.
        elsewhere: Number of statements that do not count: they were run on tables of another size.
        waiting: Number of migrations that were predicted, but not yet run.
        damaged: Number of stored migrations that cannot be read.
        statements: Every statement that counts, oldest first.
    """

    migrations: int
    predictions: int
    coverage50_percent: float | None
    coverage90_percent: float | None
    median_error_percent: float | None
    bounds: int
    bounds_kept_percent: float | None
    elsewhere: int
    waiting: int
    damaged: int = 0
    statements: tuple[CalibrationLine, ...] = field(default=(), repr=False)


def collect_kept(
    forecasts: Sequence[Forecast], checksums: Mapping[str, str], own: OwnHistory, predicted_at: str
) -> tuple[KeptMigration, ...]:
    """Return the predictions of forecasts to keep: the statements with an interval or a bound.

    Args:
        forecasts: The forecasts of a plan.
        checksums: Checksum of each migration's file, by version.
        own: The correction by real runs that the forecasts include.
        predicted_at: The present time, ISO 8601.
    """
    return tuple(
        KeptMigration(
            forecast.migration.version,
            forecast.migration.name,
            checksums[forecast.migration.version],
            predicted_at,
            statements=tuple(
                _build_statement(statement, prediction, own)
                for statement, prediction in zip(
                    forecast.migration.statements, forecast.statements, strict=True
                )
                if prediction.estimate.known and prediction.estimate.interval90_ms
            ),
        )
        for forecast in forecasts
        if forecast.statements and forecast.migration.version in checksums
    )


def _build_statement(statement: StatementReport, prediction: Prediction, own: OwnHistory) -> KeptStatement:
    estimate, basis = prediction.estimate, prediction.basis
    assert estimate.interval90_ms is not None
    return KeptStatement(
        statement.line,
        hash_sql(statement.sql),
        basis.relation if basis else None,
        basis.rows if basis else None,
        basis.kind if basis else None,
        estimate.p50_ms,
        estimate.interval50_ms,
        estimate.interval90_ms,
        own,
    )


def hash_sql(sql: str) -> str:
    """Return the SHA-256 of a statement, by which a real run finds its prediction."""
    return sha256(sql.encode("utf-8", "backslashreplace")).hexdigest()


def merge_kept(before: Iterable[KeptMigration], new: Iterable[KeptMigration]) -> tuple[KeptMigration, ...]:
    """Return the kept migrations with new predictions: they replace those that were not run yet."""
    predicted = {migration.version: migration for migration in new}
    staying = [migration for migration in before if migration.ran_at or migration.version not in predicted]
    return (*staying, *predicted.values())


def add_outcome(
    waiting: KeptMigration, ran: MigrationReport, rows: Mapping[str, float | None], ran_at: str
) -> KeptMigration:
    """Return a predicted migration with the times of its real run.

    Args:
        waiting: The prediction.
        ran: The report of the real run.
        rows: Rows of each table before the run.
        ran_at: The present time, ISO 8601.
    """
    # Lists, because a migration may contain the same statement twice: the times go in order.
    work_ms: dict[str, list[float]] = {}
    for statement in ran.statements:
        work_ms.setdefault(hash_sql(statement.sql), []).append(statement.work_ms)
    return evolve(
        waiting,
        ran_at=ran_at,
        statements=tuple(
            evolve(
                kept,
                actual_ms=work_ms[kept.sql_sha256].pop(0),
                actual_rows=rows.get(kept.relation) if kept.relation else None,
            )
            if work_ms.get(kept.sql_sha256)
            else kept
            for kept in waiting.statements
        ),
    )


def compute_calibration(all_kept: Sequence[KeptMigration]) -> Calibration:
    """Return the accuracy of the kept predictions that were run."""
    pairs = [
        (migration, statement)
        for migration in all_kept
        for statement in migration.statements
        if statement.counts
    ]
    intervals = [statement for _, statement in pairs if statement.p50_ms is not None]
    bounds = [statement for _, statement in pairs if statement.p50_ms is None]
    run = [migration for migration in all_kept if migration.ran_at]
    return Calibration(
        migrations=len(run),
        predictions=len(intervals),
        coverage50_percent=_compute_percent(
            [_is_within(interval, interval.interval50_ms) for interval in intervals]
        ),
        coverage90_percent=_compute_percent(
            [_is_within(interval, interval.interval90_ms) for interval in intervals]
        ),
        median_error_percent=median(map(_compute_error_percent, intervals)) if intervals else None,
        bounds=len(bounds),
        bounds_kept_percent=_compute_percent([_is_within(bound, bound.interval90_ms) for bound in bounds]),
        elsewhere=sum(
            statement.actual_ms is not None and not statement.counts
            for migration in run
            for statement in migration.statements
        ),
        waiting=len(all_kept) - len(run),
        statements=tuple(_build_line(migration, statement) for migration, statement in pairs),
    )


def _is_within(statement: KeptStatement, interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[0] <= (statement.actual_ms or 0.0) <= interval[1]


def _compute_percent(hits: Sequence[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None


def _compute_error_percent(statement: KeptStatement) -> float:
    # A clock may measure zero, and nothing can be divided by it.
    actual_ms = max(statement.actual_ms or 0.0, 1e-3)
    return 100 * abs((statement.p50_ms or 0.0) - actual_ms) / actual_ms


def _build_line(migration: KeptMigration, statement: KeptStatement) -> CalibrationLine:
    return CalibrationLine(
        migration.version,
        migration.name,
        statement.line,
        statement.relation,
        statement.p50_ms,
        statement.interval90_ms,
        statement.actual_ms or 0.0,
        _is_within(statement, statement.interval90_ms),
    )


def learn_from_runs(all_kept: Sequence[KeptMigration]) -> OwnHistory:
    """Return the correction that the user's real runs make to the shipped prior.

    The prior counts as ``PRIOR_CASES`` migrations without any error beyond the expected: of one run at
    twice the predicted time 1/11 is believed, of forty 40/50. The shift is the mean error, the spread the
    root mean square of the errors in units of the expected ones. A migration counts once, however many
    statements it has, because their errors go together.
    """
    cases = [residuals for migration in all_kept if (residuals := [*_compute_residuals(migration)])]
    if not cases:
        return OwnHistory()
    means = [sum(value for value, _ in case) / len(case) for case in cases]
    case_count = PRIOR_CASES + len(cases)
    shift = sum(means) / case_count
    squares = [sum(((value - shift) / spread) ** 2 for value, spread in case) / len(case) for case in cases]
    return OwnHistory(shift, math.sqrt((PRIOR_CASES + sum(squares)) / case_count), len(cases))


def _compute_residuals(migration: KeptMigration) -> Iterable[tuple[float, float]]:
    """Yield ``ln(true / predicted)`` of each statement that counts, and its expected standard deviation."""
    for statement in migration.statements:
        if statement.counts and statement.p50_ms and statement.interval90_ms[0] > 0:
            low_ms, high_ms = statement.interval90_ms
            spread = math.log(high_ms / low_ms) / _SPREADS_IN_90_PERCENT
            value = math.log(max(statement.actual_ms or 0.0, 1e-3) / statement.p50_ms)
            # At least 0.02: of an interval of almost no width, every error would be a large multiple.
            # Take out the correction that the prediction includes already, or it would be learned twice.
            yield value + statement.own.shift, max(spread / statement.own.spread, 0.02)
