"""Estimate one statement in production from its rehearsals: an interval, an upper bound, or *unknown*."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from attrs import field, frozen

from confiture.estimate.comparability import (
    UnknownEstimate,
    explain_too_far,
    explain_too_few,
    explain_too_quick,
    find_difference,
    fits_in_buffers,
    is_same_server,
)
from confiture.estimate.curve import Point, fit_curve
from confiture.estimate.error_law import SHARES, ErrorLaw
from confiture.estimate.index_workers import count_index_workers
from confiture.estimate.plan_change import find_plan_change
from confiture.estimate.prior import Prior, Regime, load_shipped
from confiture.estimate.statistics import Statistics
from confiture.estimate.work_classes import LINEAR_CLASSES, StatementClass, classify
from confiture.models.report import Estimate, HookReport, StatementReport
from confiture.sql.statement_kind import classify_statement

# Beyond these limits the answer is *unknown*.
FEWEST_ROWS = 10_000
"""The largest rehearsal must have at least this many rows."""
FEWEST_MS = 1.0
"""The largest rehearsal must take at least this long, in milliseconds."""
FARTHEST_TIMES = 100.0
"""Production may have at most this many times the rehearsed rows."""
WIDEST_FACTOR = 3.0
"""The 90 % interval may be at most ×/÷ this."""
# A hook that took less and had no visible effect is code that does nothing to tables.
_QUICK_HOOK_MS = 10.0
# A hook may change many rows and report none. One row takes at most a few pages of the write-ahead log.
_WRITTEN_BYTES = 65_536
_HOST_SPREAD = 0.36
"""The standard deviation of ``ln(true / predicted)`` that another host or configuration adds, measured."""
# The timings that the prior was learned from have at most three sizes, and one or three runs.
_MOST_SIZES = 3
_REPEATED_RUNS = 3
# The 95 % quantile of the standard normal distribution: the upper end of a 90 % interval.
_UPPER_END = 1.645


@frozen
class RehearsedStatement:
    """The rehearsals of one statement on a database of one size.

    Attributes:
        here: Statistics of that database before the rehearsal.
        runs: The report of each run, all from the same state of the database.
    """

    here: Statistics = field(repr=False)
    runs: tuple[StatementReport, ...]

    @property
    def median_ms(self) -> float:
        """The median time of the runs in milliseconds, without waits for locks or a CPU."""
        return median(run.work_ms for run in self.runs)


@frozen
class Basis:
    """The inputs of a prediction that grows with a table.

    Attributes:
        kind: The class of the statement.
        relation: The table whose size decides.
        rows: Its rows in production.
        times: Its rows in production divided by its rows in the largest rehearsal.
        regime: The runs and sizes of the rehearsals, and if a memory limit is crossed.
    """

    kind: str
    relation: str
    rows: float
    times: float
    regime: Regime


@frozen
class Prediction:
    """The estimate of a statement, with its distribution.

    Attributes:
        estimate: The estimate as the report shows it.
        quantiles_ms: Quantiles of the time in milliseconds, one for each of ``SHARES``; empty if unknown.
        is_bound: True if only the upper end of the distribution means anything.
        basis: The inputs of an interval; ``None`` for a bound and if unknown.
    """

    estimate: Estimate
    quantiles_ms: tuple[float, ...] = field(default=(), repr=False)
    is_bound: bool = False
    basis: Basis | None = None


def predict(
    rehearsed: Sequence[RehearsedStatement], production: Statistics, prior: Prior | None = None
) -> Prediction:
    """Return the prediction of a statement that was rehearsed on databases of one or more sizes."""
    ordered = sorted(
        rehearsed,
        key=lambda rehearsal: sum(relation.rows or 0 for relation in rehearsal.here.relations.values()),
    )
    prior = prior or load_shipped()
    largest = ordered[-1]
    statement_class = classify(largest.runs[0], largest.here)
    if statement_class.work_class is None:
        unclassed = UnknownEstimate(statement_class.reason, statement_class.advice)
        return _build_unknown(unclassed, largest, production)
    driving = _find_driving_relation(statement_class, largest, production)
    if driving is None:
        # Scanning an empty table leaves no trace, so the statement looks like a catalog change.
        if empty := _find_empty(largest, production):
            return _build_unknown(empty, largest, production)
        return _predict_bound(largest, production, prior, statement_class)
    unknown = find_plan_change(largest.runs[0]) or _find_obstacle(
        statement_class, driving, largest, production
    )
    if unknown:
        return _build_unknown(unknown, largest, production)
    return _extrapolate(statement_class, driving, ordered, production, prior)


def predict_hook(
    hook: HookReport, here: Statistics | None = None, production: Statistics | None = None
) -> Prediction:
    """Return a bound for a hook that had no visible effect, and *unknown* for any other: it is code."""
    wrote = hook.rows_affected or hook.locks or (hook.wal_bytes or 0) >= _WRITTEN_BYTES
    if here and production and hook.duration_ms < _QUICK_HOOK_MS and not wrote:
        longest_ms = load_shipped().catalog.compute_bound_ms(hook.duration_ms) * _find_bound_factor(
            here, production
        )
        return _build_bound(longest_ms, _estimate_bound(longest_ms, 0.0, reason="had no visible effect"))
    return Prediction(
        Estimate(
            known=False,
            reason=f"{hook.hook} is code; its time on other data cannot be predicted",
            advice="rehearse on a copy of production",
        )
    )


def sum_predictions(predictions: Sequence[Prediction]) -> Estimate:
    """Return the estimate of several steps in sequence; unknown if one of them is.

    Adds the quantiles, as if all errors were fully correlated: steps on the same server tend to be slow
    together, and this gives the wider interval.
    """
    unknown = [prediction.estimate for prediction in predictions if not prediction.estimate.known]
    waits = [prediction.estimate.lock_wait_ms for prediction in predictions]
    wait_ms = None if None in waits else sum(wait for wait in waits if wait is not None)
    if unknown:
        return Estimate(
            known=False, reason=_describe_first(unknown), advice=unknown[0].advice, lock_wait_ms=wait_ms
        )
    summed = tuple(map(sum, zip(*(prediction.quantiles_ms for prediction in predictions), strict=True)))
    # The last quantile of a bound is the bound: see `_build_bound`.
    if all(prediction.is_bound for prediction in predictions):
        return _estimate_bound(summed[-1] if summed else 0.0, wait_ms, reason=_describe_bounds(predictions))
    scales = dict.fromkeys(
        prediction.estimate.scales_with for prediction in predictions if prediction.estimate.scales_with
    )
    return _build_estimate(summed, ", ".join(scales), wait_ms)


def _describe_bounds(bounds: Sequence[Prediction]) -> str:
    reasons = {(bound.estimate.reason or "").partition(":")[0] for bound in bounds}
    return reasons.pop() if len(reasons) == 1 else "does not grow with production's tables"


def _describe_first(unknown: Sequence[Estimate]) -> str:
    others = len(unknown) - 1
    return f"{unknown[0].reason}" + (f" (and {others} more unknown)" if others else "")


def _find_driving_relation(
    statement_class: StatementClass, largest: RehearsedStatement, production: Statistics
) -> str | None:
    """Return the relation whose size decides; ``None`` if no relation that existed before does.

    Of several it is the one with the most rows in production.
    """
    known = [name for name in statement_class.relations if name in largest.here.relations]
    known = [_find_root(name, known, largest.here) for name in known]
    rows = {
        name: (production.count_rows(name) or 0.0, largest.here.count_rows(name) or 0.0) for name in known
    }
    return max(known, key=lambda name: rows[name], default=None)


def _find_root(name: str, touched: Sequence[str], here: Statistics) -> str:
    """Return the topmost partitioned table whose rows were all touched; other relations are their own root.

    Production may have more partitions than this database, but a statement that works on some of them does
    so there too.
    """
    parent = here.relations[name].parent
    if parent is None:
        return name
    filled = {leaf.name for leaf in here.find_leaves(parent) if leaf.rows != 0}
    return _find_root(parent, touched, here) if filled <= {*touched} else name


def _find_empty(largest: RehearsedStatement, production: Statistics) -> UnknownEstimate | None:
    """Return an unknown estimate if the statement locked a table that is empty here, not in production."""
    for name in (lock.relation for lock in largest.runs[0].locks):
        here, there = largest.here.count_rows(name), production.count_rows(name)
        filled_there = there is None or there > 0
        if name in production.relations and name in largest.here.relations and not here and filled_there:
            return explain_too_far(name, 0, there or 0, max(FEWEST_ROWS, (there or 0) / FARTHEST_TIMES))
    return None


def _find_obstacle(
    statement_class: StatementClass, name: str, largest: RehearsedStatement, production: Statistics
) -> UnknownEstimate | None:
    """Return the first reason why the time cannot be estimated; ``None`` if there is none."""
    if name not in production.relations:
        return UnknownEstimate(
            f"{name} is not in production's statistics",
            "apply the migration that creates it in production, then rehearse with its new statistics",
        )
    here, there = largest.here.count_rows(name), production.count_rows(name)
    if there is None:
        return UnknownEstimate(
            f"production has no statistics of {name}: it was never analyzed, or not since a rewrite",
            f"run ANALYZE {name} in production, then rehearse with its new statistics",
        )
    if here is None:
        return UnknownEstimate(f"{name} was never analyzed here", f"run ANALYZE {name} before rehearsing")
    return find_difference(statement_class, name, largest.here, production) or _check_rows(
        name, here, there, largest.median_ms
    )


def _check_rows(name: str, here: float, there: float, ms: float) -> UnknownEstimate | None:
    # A table that is no larger in production needs no extrapolation, so any size and time will do.
    if there <= here:
        return None
    if there > FARTHEST_TIMES * here:
        return explain_too_far(name, here, there, max(FEWEST_ROWS, there / FARTHEST_TIMES))
    if here < FEWEST_ROWS:
        return explain_too_few(name, here, FEWEST_ROWS)
    return explain_too_quick(name, here, ms, FEWEST_MS) if ms < FEWEST_MS else None


def _extrapolate(
    statement_class: StatementClass,
    name: str,
    ordered: Sequence[RehearsedStatement],
    production: Statistics,
    prior: Prior,
) -> Prediction:
    largest = ordered[-1]
    there, here = production.count_rows(name) or 0.0, largest.here.count_rows(name) or 0.0
    points = [
        Point(rows, rehearsal.median_ms, _count_workers(statement_class, name, largest, rehearsal.here))
        for rehearsal in ordered[-_MOST_SIZES:]
        if (rows := rehearsal.here.count_rows(name))
    ]
    if not points or there == 0:
        return _predict_bound(largest, production, prior, statement_class)
    points.sort(key=lambda point: point.rows)
    basis = _build_basis(statement_class, name, points, ordered, production)
    law = _find_law(basis, largest, production, prior)
    if law is None or law.width > WIDEST_FACTOR:
        return _build_unknown(_explain_too_wide(name, law, here), largest, production)
    curve = fit_curve(points, basis.kind, linear=basis.kind in LINEAR_CLASSES, form=prior.form)
    workers = _count_workers(statement_class, name, largest, production)
    expected_ms = curve.predict_ms(there, workers) * _compare_speed(largest.here, production)
    quantiles = tuple(expected_ms * math.exp(value) for value in law.quantiles)
    estimate = _build_estimate(quantiles, f"the rows of {name}", _estimate_lock_wait_ms(largest, production))
    return Prediction(estimate, quantiles, basis=basis)


def _count_workers(
    statement_class: StatementClass, name: str, rehearsal: RehearsedStatement, side: Statistics
) -> int:
    if statement_class.work_class not in ("index", "text index"):
        return 0
    return count_index_workers(name, side, classify_statement(rehearsal.runs[0].sql).index_method)


def _build_basis(
    statement_class: StatementClass,
    name: str,
    points: Sequence[Point],
    ordered: Sequence[RehearsedStatement],
    production: Statistics,
) -> Basis:
    crosses = fits_in_buffers(name, ordered[-1].here) and not fits_in_buffers(name, production)
    fewest_runs = min(len(rehearsal.runs) for rehearsal in ordered)
    runs = _REPEATED_RUNS if fewest_runs >= _REPEATED_RUNS else 1
    sizes = len({point.rows for point in points})
    rows = production.count_rows(name) or 1.0
    return Basis(
        str(statement_class.work_class), name, rows, rows / points[-1].rows, Regime(runs, sizes, crosses)
    )


def _find_law(
    basis: Basis, largest: RehearsedStatement, production: Statistics, prior: Prior
) -> ErrorLaw | None:
    law = prior.find_law(basis.kind, basis.regime, basis.times, largest.median_ms)
    return law if law is None or is_same_server(largest.here, production) else law.widen(_HOST_SPREAD)


def _explain_too_wide(name: str, law: ErrorLaw | None, here: float) -> UnknownEstimate:
    reason = (
        "no similar statement was ever timed"
        if law is None
        else f"the 90 % interval is ×/÷{law.width:.1f}, wider than ×/÷{WIDEST_FACTOR:.0f}"
    )
    return UnknownEstimate(
        reason, f"rehearse with more than {here:,.0f} rows of {name}, and with production's settings"
    )


def _compare_speed(here: Statistics, production: Statistics) -> float:
    """Return how many times as long production computes, by the speed probe; 1 if the servers are alike."""
    if is_same_server(here, production):
        return 1.0
    there_ns, here_ns = production.probe.ns_per_row, here.probe.ns_per_row
    return there_ns / here_ns if there_ns and here_ns else 1.0


def _predict_bound(
    largest: RehearsedStatement, production: Statistics, prior: Prior, statement_class: StatementClass
) -> Prediction:
    """Return an upper bound for a statement whose cost does not depend on the size of production's tables."""
    longest_ms = prior.catalog.compute_bound_ms(largest.median_ms) * _find_bound_factor(
        largest.here, production
    )
    reason = (
        "changes the catalog only"
        if statement_class.work_class == "catalog"
        else "does not grow with production's tables"
    )
    return _build_bound(
        longest_ms, _estimate_bound(longest_ms, _estimate_lock_wait_ms(largest, production), reason=reason)
    )


def _find_bound_factor(here: Statistics, production: Statistics) -> float:
    """Return the factor for a bound: the upper end of a host's 90 % interval if the servers differ."""
    return 1.0 if is_same_server(here, production) else math.exp(_UPPER_END * _HOST_SPREAD)


def _build_bound(longest_ms: float, estimate: Estimate) -> Prediction:
    # A uniform distribution that ends at the bound, so that bounds can be added to intervals.
    return Prediction(estimate, tuple(share * longest_ms / SHARES[-1] for share in SHARES), is_bound=True)


def _estimate_bound(
    longest_ms: float, wait_ms: float | None, *, reason: str = "changes the catalog only"
) -> Estimate:
    return Estimate(
        known=True,
        reason=f"{reason}: at most {longest_ms:.3g} ms, plus waiting for locks",
        interval90_ms=(0.0, longest_ms),
        lock_wait_ms=wait_ms,
    )


def _build_estimate(quantiles: tuple[float, ...], scales_with: str, wait_ms: float | None) -> Estimate:
    law = ErrorLaw(tuple(map(math.log, quantiles)))
    return Estimate(
        known=True,
        p50_ms=math.exp(law.median),
        interval50_ms=(math.exp(law.find_quantile(0.25)), math.exp(law.find_quantile(0.75))),
        interval90_ms=(math.exp(law.find_quantile(0.05)), math.exp(law.find_quantile(0.95))),
        confidence_percent=law.compute_near_percent(),
        scales_with=scales_with,
        lock_wait_ms=wait_ms,
    )


def _build_unknown(
    unknown: UnknownEstimate, largest: RehearsedStatement, production: Statistics
) -> Prediction:
    wait_ms = _estimate_lock_wait_ms(largest, production)
    return Prediction(
        Estimate(known=False, reason=unknown.reason, advice=unknown.advice, lock_wait_ms=wait_ms)
    )


def _estimate_lock_wait_ms(largest: RehearsedStatement, production: Statistics) -> float | None:
    """Return a rough upper bound for waiting for locks, in milliseconds; ``None`` if not known.

    Twice the median age of production's transactions: this covered all of 52 measured waits.
    """
    if not largest.runs[0].locks:
        return 0.0
    transactions = production.transactions
    if not transactions.ages_s:
        return None if transactions.hidden else 0.0
    return 2000 * median(transactions.ages_s)
