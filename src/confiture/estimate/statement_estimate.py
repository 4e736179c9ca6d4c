"""From what a rehearsal took to what production will take: an interval, a bound, or why it is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from attrs import field, frozen

from confiture.estimate.comparability import (
    Unknown,
    difference,
    pages_fit,
    same_server,
    too_far,
    too_few,
    too_quick,
)
from confiture.estimate.curve import Point, through
from confiture.estimate.error_law import SHARES, Law
from confiture.estimate.prior import Prior, Regime, shipped
from confiture.estimate.statistics import Statistics
from confiture.estimate.work_classes import Classed, classed
from confiture.models.report import Estimate, HookReport, StatementReport

FEWEST_ROWS = 10_000
FEWEST_MS = 10.0
FARTHEST = 100.0
WIDEST = 3.0
_HOST_SPREAD = 0.28
"""The standard deviation that another host or configuration adds, as measured."""
_MOST_SIZES = 3
_RUNS = 3


@frozen
class Rehearsed:
    """One statement on a database of one size.

    Attributes:
        here: That database's statistics, taken before it ran.
        runs: Of the statement, each from the same state.
    """

    here: Statistics = field(repr=False)
    runs: tuple[StatementReport, ...]

    @property
    def ms(self) -> float:
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
        bound: Only the upper end means something.
        basis: Of an interval; ``None`` where there is none.
    """

    estimate: Estimate
    quantiles_ms: tuple[float, ...] = field(default=(), repr=False)
    bound: bool = False
    basis: Basis | None = None


def predict(rehearsed: Sequence[Rehearsed], production: Statistics, prior: Prior | None = None) -> Prediction:
    """Return what is known of a statement that was rehearsed on databases of one or more sizes."""
    ordered = sorted(rehearsed, key=lambda each: sum(r.rows or 0 for r in each.here.relations.values()))
    prior = prior or shipped()
    largest = ordered[-1]
    its = classed(largest.runs[0])
    if its.work is None:
        return _unknown(Unknown(its.why_not, its.advice), largest, production)
    driving = _driving(its, largest, production)
    if driving is None:
        if empty := _empty_here(largest, production):
            return _unknown(empty, largest, production)
        return _bounded(largest, production, prior, its)
    unknown = _fault(its, driving, largest, production)
    if unknown:
        return _unknown(unknown, largest, production)
    return _extrapolated(its, driving, ordered, production, prior)


def predict_hook(
    hook: HookReport, here: Statistics | None = None, production: Statistics | None = None
) -> Prediction:
    """Return what is known of a hook: that it is code; one that did nothing to speak of gets a bound."""
    if here and production and hook.duration_ms < FEWEST_MS and not (hook.rows_affected or hook.locks):
        longest_ms = shipped().catalog.bound_ms(hook.duration_ms) * _slower(here, production)
        return _at_most(longest_ms, _bound(longest_ms, 0.0, what="did nothing that was seen"))
    return Prediction(
        Estimate(
            known=False,
            reason=f"{hook.hook} is code, and what it does on other data is not known",
            advice="rehearse on a copy of production",
        )
    )


def total(predictions: Sequence[Prediction]) -> Estimate:
    """Return what one after the other takes; errors are taken to go together, which is the wider sum."""
    unknown = [each.estimate for each in predictions if not each.estimate.known]
    waits = [each.estimate.lock_wait_ms for each in predictions]
    wait_ms = None if None in waits else sum(wait for wait in waits if wait is not None)
    if unknown:
        return Estimate(
            known=False, reason=_first_of(unknown), advice=unknown[0].advice, lock_wait_ms=wait_ms
        )
    summed = tuple(map(sum, zip(*(each.quantiles_ms for each in predictions), strict=True)))
    if all(each.bound for each in predictions):
        return _bound(summed[-1] if summed else 0.0, wait_ms, what=_what(predictions))
    scales = dict.fromkeys(each.estimate.scales_with for each in predictions if each.estimate.scales_with)
    return _estimate(summed, ", ".join(scales), wait_ms)


def _what(bounds: Sequence[Prediction]) -> str:
    said = {(each.estimate.reason or "").partition(":")[0] for each in bounds}
    return said.pop() if len(said) == 1 else "does not grow with production's tables"


def _first_of(unknown: Sequence[Estimate]) -> str:
    more = len(unknown) - 1
    return f"{unknown[0].reason}" + (f", and {more} more of its parts are not known" if more else "")


def _driving(its: Classed, largest: Rehearsed, production: Statistics) -> str | None:
    """Return the relation whose size decides; ``None`` where nothing that there was before does."""
    known = [_root(name, largest.here) for name in its.relations if name in largest.here.relations]
    rows = {name: (production.rows(name) or 0.0, largest.here.rows(name) or 0.0) for name in known}
    return max(known, key=lambda name: rows[name], default=None)


def _root(name: str, here: Statistics) -> str:
    """Return the partitioned table that a partition belongs to, itself where it is none."""
    parent = here.relations[name].parent
    return name if parent is None else _root(parent, here)


def _empty_here(largest: Rehearsed, production: Statistics) -> Unknown | None:
    """Name a table that it locked: empty here, where nothing was to be read, and not so in production."""
    for name in (lock.relation for lock in largest.runs[0].locks):
        here, there = largest.here.rows(name), production.rows(name)
        full = there is None or there > 0
        if name in production.relations and name in largest.here.relations and not here and full:
            return too_far(name, 0, there or 0, max(FEWEST_ROWS, (there or 0) / FARTHEST))
    return None


def _fault(its: Classed, name: str, largest: Rehearsed, production: Statistics) -> Unknown | None:
    """Return the first reason not to answer."""
    if name not in production.relations:
        return Unknown(
            f"{name} is not in production's statistics",
            "export them anew once what creates it is applied there: confiture stats export",
        )
    here, there = largest.here.rows(name), production.rows(name)
    if there is None:
        return Unknown(
            f"production has no statistics of {name}: it was never analysed",
            f"ANALYZE {name} there, and export again: confiture stats export",
        )
    if here is None:
        return Unknown(f"{name} was never analysed here", f"ANALYZE {name} before rehearsing")
    return difference(its, name, largest.here, production) or _thin(name, here, there, largest.ms)


def _thin(name: str, here: float, there: float, ms: float) -> Unknown | None:
    if there <= here:
        return None
    if there > FARTHEST * here:
        return too_far(name, here, there, max(FEWEST_ROWS, there / FARTHEST))
    if here < FEWEST_ROWS:
        return too_few(name, here, FEWEST_ROWS)
    return too_quick(name, here, ms, FEWEST_MS) if ms < FEWEST_MS else None


def _extrapolated(
    its: Classed, name: str, ordered: Sequence[Rehearsed], production: Statistics, prior: Prior
) -> Prediction:
    largest = ordered[-1]
    there, here = production.rows(name) or 0.0, largest.here.rows(name) or 0.0
    points = [Point(rows, each.ms) for each in ordered[-_MOST_SIZES:] if (rows := each.here.rows(name))]
    if not points or there == 0:
        return _bounded(largest, production, prior, its)
    points.sort(key=lambda point: point.rows)
    basis = _basis(its, name, points, ordered, production)
    law = _law(basis, largest.here, production, prior)
    if law is None or law.width > WIDEST:
        return _unknown(_too_wide(name, law, here), largest, production)
    expected_ms = through(points).at(there) * _speed(largest.here, production)
    quantiles = tuple(expected_ms * math.exp(value) for value in law.quantiles)
    estimate = _estimate(quantiles, f"the rows of {name}", _lock_wait_ms(largest, production))
    return Prediction(estimate, quantiles, basis=basis)


def _basis(
    its: Classed, name: str, points: Sequence[Point], ordered: Sequence[Rehearsed], production: Statistics
) -> Basis:
    crosses = pages_fit(name, ordered[-1].here) and not pages_fit(name, production)
    runs = _RUNS if min(len(each.runs) for each in ordered) >= _RUNS else 1
    sizes = len({point.rows for point in points})
    rows = production.rows(name) or 1.0
    return Basis(str(its.work), name, rows, rows / points[-1].rows, Regime(runs, sizes, crosses))


def _law(basis: Basis, here: Statistics, production: Statistics, prior: Prior) -> Law | None:
    law = prior.law(basis.kind, basis.regime, basis.times)
    return law if law is None or same_server(here, production) else law.wider(_HOST_SPREAD)


def _too_wide(name: str, law: Law | None, here: float) -> Unknown:
    why = (
        "no timings are known that are like it" if law is None else f"it is known to ×/÷{law.width:.1f} only"
    )
    return Unknown(
        why, f"rehearse on more than the {here:,.0f} rows of {name} here, on production's settings"
    )


def _speed(here: Statistics, production: Statistics) -> float:
    """Return how much longer production computes, by the probe; a small difference is none."""
    if same_server(here, production):
        return 1.0
    both = production.probe.ns_per_row, here.probe.ns_per_row
    return both[0] / both[1] if all(both) else 1.0


def _bounded(largest: Rehearsed, production: Statistics, prior: Prior, its: Classed) -> Prediction:
    """Return at most how long what does not grow with production's tables takes."""
    longest_ms = prior.catalog.bound_ms(largest.ms) * _slower(largest.here, production)
    what = "changes the catalog only" if its.work == "catalog" else "does not grow with production's tables"
    return _at_most(longest_ms, _bound(longest_ms, _lock_wait_ms(largest, production), what=what))


def _slower(here: Statistics, production: Statistics) -> float:
    """Return how much longer a bound is where production is another server."""
    return 1.0 if same_server(here, production) else math.exp(1.645 * _HOST_SPREAD)


def _at_most(longest_ms: float, estimate: Estimate) -> Prediction:
    return Prediction(estimate, tuple(share * longest_ms / SHARES[-1] for share in SHARES), bound=True)


def _bound(longest_ms: float, wait_ms: float | None, *, what: str = "changes the catalog only") -> Estimate:
    return Estimate(
        known=True,
        reason=f"{what}: at most {longest_ms:.3g} ms, beside waiting for locks",
        interval90_ms=(0.0, longest_ms),
        lock_wait_ms=wait_ms,
    )


def _estimate(quantiles: tuple[float, ...], scales_with: str, wait_ms: float | None) -> Estimate:
    law = Law(tuple(map(math.log, quantiles)))
    return Estimate(
        known=True,
        p50_ms=math.exp(law.median),
        interval50_ms=(math.exp(law.at(0.25)), math.exp(law.at(0.75))),
        interval90_ms=(math.exp(law.at(0.05)), math.exp(law.at(0.95))),
        confidence_percent=law.near_percent(),
        scales_with=scales_with,
        lock_wait_ms=wait_ms,
    )


def _unknown(unknown: Unknown, largest: Rehearsed, production: Statistics) -> Prediction:
    wait_ms = _lock_wait_ms(largest, production)
    return Prediction(
        Estimate(known=False, reason=unknown.reason, advice=unknown.advice, lock_wait_ms=wait_ms)
    )


def _lock_wait_ms(largest: Rehearsed, production: Statistics) -> float | None:
    """Return a rough bound for waiting: twice the median age of production's transactions."""
    if not largest.runs[0].locks:
        return 0.0
    seen = production.transactions
    if not seen.ages_s:
        return None if seen.hidden else 0.0
    return 2000 * median(seen.ages_s)
