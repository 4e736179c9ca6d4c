"""What was predicted and what happened: kept beside the configuration, without SQL and without rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from statistics import median
from typing import Any

from attrs import asdict, evolve, field, frozen

from confiture.estimate.plan_estimate import Forecast
from confiture.estimate.prior import OwnHistory
from confiture.estimate.statement_estimate import Prediction
from confiture.models.report import MigrationReport, StatementReport

ESTIMATES_VERSION = 1
SAME_SIZE_RATIO = 1.5
"""A table counts as the one predicted where its rows differ by no more."""
_PRIOR_CASES = 10.0
"""How many migrations of one's own count as much as what is shipped."""


@frozen
class KeptStatement:
    """What was said of one statement, and what became of it.

    Attributes:
        line: In its file.
        sql_sha256: Of its text.
        relation: The table whose size decides; ``None`` for a bound.
        rows: How many of it were predicted for.
        kind: Its class; ``None`` for a bound.
        p50_ms: ``None`` for a bound.
        interval50_ms: The same.
        interval90_ms: Of a bound: zero and the bound.
        own: What one's own runs had added to it.
        actual_ms: What it took; ``None`` as long as it was not run.
        actual_rows: How many rows the run found.
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
        """Whether it was run on what it was predicted for."""
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
    """What was said of one migration's statements.

    Attributes:
        checksum: Of its file.
        predicted_at: When, as text.
        ran_at: When it was run.
        statements: Those of which something was said.
    """

    version: str
    name: str
    checksum: str
    predicted_at: str
    ran_at: str | None = None
    statements: tuple[KeptStatement, ...] = ()


@frozen
class CalibrationLine:
    """One statement's prediction beside what happened."""

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
    """How good predictions were so far.

    Attributes:
        migrations: How many were run that something was predicted of.
        predictions: How many statements of them had an interval.
        coverage50_percent: How many of those were within their 50 % interval; ``None`` where there are none.
        coverage90_percent: The same of the 90 % interval.
        median_error_percent: How far the point estimate was off, of the truth.
        bounds: How many statements had a bound.
        bounds_kept_percent: How many of those kept it.
        elsewhere: Statements that were run on tables of another size, which does not count.
        waiting: Migrations predicted and not yet run.
        statements: Each that counts, oldest first.
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
    statements: tuple[CalibrationLine, ...] = field(default=(), repr=False)


def collect_kept(
    forecasts: Sequence[Forecast], checksums: Mapping[str, str], own: OwnHistory, predicted_at: str
) -> tuple[KeptMigration, ...]:
    """Return what is to be kept of forecasts to which ``own`` runs have contributed."""
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
    """Return what a statement is known by, without its text."""
    return sha256(sql.encode("utf-8", "backslashreplace")).hexdigest()


def merge_kept(before: Iterable[KeptMigration], new: Iterable[KeptMigration]) -> tuple[KeptMigration, ...]:
    """Return what is kept when something is predicted anew; what was run stays."""
    anew = {each.version: each for each in new}
    stays = [each for each in before if each.ran_at or each.version not in anew]
    return (*stays, *anew.values())


def add_outcome(
    waiting: KeptMigration, ran: MigrationReport, rows: Mapping[str, float | None], ran_at: str
) -> KeptMigration:
    """Return a migration with what its run took, on tables of so many rows."""
    took: dict[str, list[float]] = {}
    for statement in ran.statements:
        took.setdefault(hash_sql(statement.sql), []).append(statement.work_ms)
    return evolve(
        waiting,
        ran_at=ran_at,
        statements=tuple(
            evolve(
                each,
                actual_ms=took[each.sql_sha256].pop(0),
                actual_rows=rows.get(each.relation) if each.relation else None,
            )
            if took.get(each.sql_sha256)
            else each
            for each in waiting.statements
        ),
    )


def compute_calibration(all_kept: Sequence[KeptMigration]) -> Calibration:
    """Return how good predictions were so far."""
    pairs = [
        (migration, statement)
        for migration in all_kept
        for statement in migration.statements
        if statement.counts
    ]
    intervals = [pair for _, pair in pairs if pair.p50_ms is not None]
    bounds = [pair for _, pair in pairs if pair.p50_ms is None]
    run = [each for each in all_kept if each.ran_at]
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
            for one in run
            for statement in one.statements
        ),
        waiting=len(all_kept) - len(run),
        statements=tuple(_build_line(migration, pair) for migration, pair in pairs),
    )


def _is_within(statement: KeptStatement, interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[0] <= (statement.actual_ms or 0.0) <= interval[1]


def _compute_percent(hits: Sequence[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None


def _compute_error_percent(statement: KeptStatement) -> float:
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
    """Return what one's own runs say about predictions, drawn towards saying nothing while they are few.

    A migration counts once, however many statements it has.
    """
    cases = [found for each in all_kept if (found := [*_compute_residuals(each)])]
    if not cases:
        return OwnHistory()
    middles = [sum(value for value, _ in case) / len(case) for case in cases]
    counted = _PRIOR_CASES + len(cases)
    shift = sum(middles) / counted
    sizes = [sum(((value - shift) / spread) ** 2 for value, spread in case) / len(case) for case in cases]
    return OwnHistory(shift, math.sqrt((_PRIOR_CASES + sum(sizes)) / counted), len(cases))


def _compute_residuals(migration: KeptMigration) -> Iterable[tuple[float, float]]:
    """Yield the logarithm of true over predicted, and how large it was expected to be."""
    for statement in migration.statements:
        if statement.counts and statement.p50_ms and statement.interval90_ms[0] > 0:
            spread = math.log(statement.interval90_ms[1] / statement.interval90_ms[0]) / (2 * 1.645)
            value = math.log(max(statement.actual_ms or 0.0, 1e-3) / statement.p50_ms)
            # As if nothing of one's own had been added, or it would be learned twice.
            yield value + statement.own.shift, max(spread / statement.own.spread, 0.02)


def to_json(all_kept: Iterable[KeptMigration]) -> dict[str, Any]:
    """Return it as the file has it."""
    return {"estimates_version": ESTIMATES_VERSION, "migrations": [asdict(each) for each in all_kept]}


def from_json(document: Mapping[str, Any]) -> tuple[KeptMigration, ...]:
    """Return what a file holds.

    Raises:
        KeyError, TypeError, ValueError: It is not what ``to_json`` returns.
    """
    if document["estimates_version"] != ESTIMATES_VERSION:
        raise ValueError(f"version {document['estimates_version']}")
    return tuple(
        KeptMigration(**{**each, "statements": tuple(map(_parse_statement, each["statements"]))})
        for each in document["migrations"]
    )


def _parse_statement(document: Mapping[str, Any]) -> KeptStatement:
    intervals = {
        key: document[key] and tuple(map(float, document[key])) for key in ("interval50_ms", "interval90_ms")
    }
    return KeptStatement(**{**document, **intervals, "own": OwnHistory(**document["own"])})
