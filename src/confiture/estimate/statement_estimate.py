"""From what a rehearsal took to what production will take: an interval, a bound, or why it is not known."""

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
from confiture.estimate.prior import Prior, Regime, load_shipped
from confiture.estimate.statistics import Statistics
from confiture.estimate.work_classes import StatementClass, classify
from confiture.models.report import Estimate, HookReport, StatementReport

FEWEST_ROWS = 10_000
FEWEST_MS = 10.0
FARTHEST_TIMES = 100.0
WIDEST_FACTOR = 3.0
_HOST_SPREAD = 0.28
"""The standard deviation that another host or configuration adds, as measured."""
_MOST_SIZES = 3
_REPEATED_RUNS = 3


@frozen
class RehearsedStatement:
    """One statement on a database of one size.

    Attributes:
        here: That database's statistics, taken before it ran.
        runs: Of the statement, each from the same state.
    """

    here: Statistics = field(repr=False)
    runs: tuple[StatementReport, ...]

    @property
    def median_ms(self) -> float:
        """What it took without waiting for locks or a CPU; the middle of several runs."""
        return median(run.work_ms for run in self.runs)


@frozen
class Basis:
    """What a prediction that grows with a table is made from.

    Attributes:
        kind: The class of the statement.
        relation: The table whose size decides.
        rows: How many production has of it.
        times: That over the largest rehearsed ones.
        regime: How it was rehearsed.
    """

    kind: str
    relation: str
    rows: float
    times: float
    regime: Regime


@frozen
class Prediction:
    """What is said of production.

    Attributes:
        estimate: In the report's words.
        quantiles_ms: One for each of ``SHARES``; none where it is not known.
        is_bound: Only the upper end means something.
        basis: Of an interval; ``None`` where there is none.
    """

    estimate: Estimate
    quantiles_ms: tuple[float, ...] = field(default=(), repr=False)
    is_bound: bool = False
    basis: Basis | None = None


def predict(
    rehearsed: Sequence[RehearsedStatement], production: Statistics, prior: Prior | None = None
) -> Prediction:
    """Return what is known of a statement that was rehearsed on databases of one or more sizes."""
    ordered = sorted(rehearsed, key=lambda each: sum(r.rows or 0 for r in each.here.relations.values()))
    prior = prior or load_shipped()
    largest = ordered[-1]
    its = classify(largest.runs[0])
    if its.work_class is None:
        return _build_unknown(UnknownEstimate(its.reason, its.advice), largest, production)
    driving = _find_driving_relation(its, largest, production)
    if driving is None:
        if empty := _find_empty(largest, production):
            return _build_unknown(empty, largest, production)
        return _predict_bound(largest, production, prior, its)
    unknown = _find_obstacle(its, driving, largest, production)
    if unknown:
        return _build_unknown(unknown, largest, production)
    return _extrapolate(its, driving, ordered, production, prior)


def predict_hook(
    hook: HookReport, here: Statistics | None = None, production: Statistics | None = None
) -> Prediction:
    """Return what is known of a hook: that it is code; one that did nothing to speak of gets a bound."""
    if here and production and hook.duration_ms < FEWEST_MS and not (hook.rows_affected or hook.locks):
        longest_ms = load_shipped().catalog.compute_bound_ms(hook.duration_ms) * _find_bound_factor(
            here, production
        )
        return _build_bound(longest_ms, _estimate_bound(longest_ms, 0.0, reason="did nothing that was seen"))
    return Prediction(
        Estimate(
            known=False,
            reason=f"{hook.hook} is code, and what it does on other data is not known",
            advice="rehearse on a copy of production",
        )
    )


def sum_predictions(predictions: Sequence[Prediction]) -> Estimate:
    """Return what one after the other takes; errors are taken to go together, which is the wider sum."""
    unknown = [prediction.estimate for prediction in predictions if not prediction.estimate.known]
    waits = [prediction.estimate.lock_wait_ms for prediction in predictions]
    wait_ms = None if None in waits else sum(wait for wait in waits if wait is not None)
    if unknown:
        return Estimate(
            known=False, reason=_describe_first(unknown), advice=unknown[0].advice, lock_wait_ms=wait_ms
        )
    summed = tuple(map(sum, zip(*(prediction.quantiles_ms for prediction in predictions), strict=True)))
    if all(prediction.is_bound for prediction in predictions):
        return _estimate_bound(summed[-1] if summed else 0.0, wait_ms, reason=_describe_bounds(predictions))
    scales = dict.fromkeys(
        prediction.estimate.scales_with for prediction in predictions if prediction.estimate.scales_with
    )
    return _build_estimate(summed, ", ".join(scales), wait_ms)


def _describe_bounds(bounds: Sequence[Prediction]) -> str:
    said = {(bound.estimate.reason or "").partition(":")[0] for bound in bounds}
    return said.pop() if len(said) == 1 else "does not grow with production's tables"


def _describe_first(unknown: Sequence[Estimate]) -> str:
    more = len(unknown) - 1
    return f"{unknown[0].reason}" + (f", and {more} more of its parts are not known" if more else "")


def _find_driving_relation(
    statement_class: StatementClass, largest: RehearsedStatement, production: Statistics
) -> str | None:
    """Return the relation whose size decides; ``None`` where nothing that there was before does."""
    known = [
        _find_root(name, largest.here) for name in statement_class.relations if name in largest.here.relations
    ]
    rows = {
        name: (production.count_rows(name) or 0.0, largest.here.count_rows(name) or 0.0) for name in known
    }
    return max(known, key=lambda name: rows[name], default=None)


def _find_root(name: str, here: Statistics) -> str:
    """Return the partitioned table that a partition belongs to, itself where it is none."""
    parent = here.relations[name].parent
    return name if parent is None else _find_root(parent, here)


def _find_empty(largest: RehearsedStatement, production: Statistics) -> UnknownEstimate | None:
    """Name a table that it locked: empty here, where nothing was to be read, and not so in production."""
    for name in (lock.relation for lock in largest.runs[0].locks):
        here, there = largest.here.count_rows(name), production.count_rows(name)
        full = there is None or there > 0
        if name in production.relations and name in largest.here.relations and not here and full:
            return explain_too_far(name, 0, there or 0, max(FEWEST_ROWS, (there or 0) / FARTHEST_TIMES))
    return None


def _find_obstacle(
    statement_class: StatementClass, name: str, largest: RehearsedStatement, production: Statistics
) -> UnknownEstimate | None:
    """Return the first reason not to answer."""
    if name not in production.relations:
        return UnknownEstimate(
            f"{name} is not in production's statistics",
            "export them anew once what creates it is applied there: confiture stats export",
        )
    here, there = largest.here.count_rows(name), production.count_rows(name)
    if there is None:
        return UnknownEstimate(
            f"production has no statistics of {name}: it was never analysed",
            f"ANALYZE {name} there, and export again: confiture stats export",
        )
    if here is None:
        return UnknownEstimate(f"{name} was never analysed here", f"ANALYZE {name} before rehearsing")
    return find_difference(statement_class, name, largest.here, production) or _check_rows(
        name, here, there, largest.median_ms
    )


def _check_rows(name: str, here: float, there: float, ms: float) -> UnknownEstimate | None:
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
        Point(rows, each.median_ms) for each in ordered[-_MOST_SIZES:] if (rows := each.here.count_rows(name))
    ]
    if not points or there == 0:
        return _predict_bound(largest, production, prior, statement_class)
    points.sort(key=lambda point: point.rows)
    basis = _build_basis(statement_class, name, points, ordered, production)
    law = _find_law(basis, largest.here, production, prior)
    if law is None or law.width > WIDEST_FACTOR:
        return _build_unknown(_explain_too_wide(name, law, here), largest, production)
    expected_ms = fit_curve(points).predict_ms(there) * _compare_speed(largest.here, production)
    quantiles = tuple(expected_ms * math.exp(value) for value in law.quantiles)
    estimate = _build_estimate(quantiles, f"the rows of {name}", _estimate_lock_wait_ms(largest, production))
    return Prediction(estimate, quantiles, basis=basis)


def _build_basis(
    statement_class: StatementClass,
    name: str,
    points: Sequence[Point],
    ordered: Sequence[RehearsedStatement],
    production: Statistics,
) -> Basis:
    crosses = fits_in_buffers(name, ordered[-1].here) and not fits_in_buffers(name, production)
    runs = _REPEATED_RUNS if min(len(each.runs) for each in ordered) >= _REPEATED_RUNS else 1
    sizes = len({point.rows for point in points})
    rows = production.count_rows(name) or 1.0
    return Basis(
        str(statement_class.work_class), name, rows, rows / points[-1].rows, Regime(runs, sizes, crosses)
    )


def _find_law(basis: Basis, here: Statistics, production: Statistics, prior: Prior) -> ErrorLaw | None:
    law = prior.find_law(basis.kind, basis.regime, basis.times)
    return law if law is None or is_same_server(here, production) else law.widen(_HOST_SPREAD)


def _explain_too_wide(name: str, law: ErrorLaw | None, here: float) -> UnknownEstimate:
    why = (
        "no timings are known that are like it" if law is None else f"it is known to ×/÷{law.width:.1f} only"
    )
    return UnknownEstimate(
        why, f"rehearse on more than the {here:,.0f} rows of {name} here, on production's settings"
    )


def _compare_speed(here: Statistics, production: Statistics) -> float:
    """Return how much longer production computes, by the probe; a small difference is none."""
    if is_same_server(here, production):
        return 1.0
    both = production.probe.ns_per_row, here.probe.ns_per_row
    return both[0] / both[1] if all(both) else 1.0


def _predict_bound(
    largest: RehearsedStatement, production: Statistics, prior: Prior, statement_class: StatementClass
) -> Prediction:
    """Return at most how long what does not grow with production's tables takes."""
    longest_ms = prior.catalog.compute_bound_ms(largest.median_ms) * _find_bound_factor(
        largest.here, production
    )
    what = (
        "changes the catalog only"
        if statement_class.work_class == "catalog"
        else "does not grow with production's tables"
    )
    return _build_bound(
        longest_ms, _estimate_bound(longest_ms, _estimate_lock_wait_ms(largest, production), reason=what)
    )


def _find_bound_factor(here: Statistics, production: Statistics) -> float:
    """Return how much longer a bound is where production is another server."""
    return 1.0 if is_same_server(here, production) else math.exp(1.645 * _HOST_SPREAD)


def _build_bound(longest_ms: float, estimate: Estimate) -> Prediction:
    return Prediction(estimate, tuple(share * longest_ms / SHARES[-1] for share in SHARES), is_bound=True)


def _estimate_bound(
    longest_ms: float, wait_ms: float | None, *, reason: str = "changes the catalog only"
) -> Estimate:
    return Estimate(
        known=True,
        reason=f"{reason}: at most {longest_ms:.3g} ms, beside waiting for locks",
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
    """Return a rough bound for waiting: twice the median age of production's transactions."""
    if not largest.runs[0].locks:
        return 0.0
    seen = production.transactions
    if not seen.ages_s:
        return None if seen.hidden else 0.0
    return 2000 * median(seen.ages_s)
