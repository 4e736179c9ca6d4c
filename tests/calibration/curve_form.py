"""Learn the form of curves from timings: how far a fixed part is believed, and what parallel workers gain."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cache
from statistics import fmean, median

from attrs import frozen

from confiture.estimate.curve import CurveForm, Point, fit_curve
from confiture.estimate.work_classes import LINEAR_CLASSES
from tests.calibration.fit import FAR_TIMES
from tests.calibration.timings import (
    CATALOG,
    DESIGNS,
    FEWEST_MS,
    FEWEST_ROWS,
    Case,
    Cases,
    predict_all,
)

_SHARES = tuple(twentieth / 20 for twentieth in range(20))
# The fixed part of all classes together counts as this many cases of a class.
_POOLED_CASES = 2.0


@frozen
class _Parts:
    """What all sizes of a case say of its small ones: mean squares, relative to the measured time."""

    error: float
    fixed: float


def learn_form(cases: Cases) -> CurveForm:
    """Return the form of curves that these cases teach."""
    timed = [case for case in cases if case.kind != CATALOG]
    # The first of equals: without parallel builds there is nothing to learn, and no gain.
    share = min(_SHARES, key=lambda share: _compute_mean_error(timed, share))
    return _learn_doubts(timed, share)


def _compute_mean_error(cases: Cases, share: float) -> float:
    errors = (_compute_case_error(case, share if any(case.workers.values()) else 0.0) for case in cases)
    return fmean(error for error in errors if error is not None)


# Each fold of a calibration asks again.
@cache
def _compute_case_error(case: Case, share: float) -> float | None:
    far = [
        abs(prediction.residual.value)
        for prediction in predict_all([case], DESIGNS[0], CurveForm(parallel_share=share))
        if prediction.residual.times >= FAR_TIMES
    ]
    return fmean(far) if far else None


def _learn_doubts(cases: Cases, share: float) -> CurveForm:
    parts: dict[str, list[_Parts]] = defaultdict(list)
    for case in cases:
        parts[case.kind] += _measure_parts(case, share)
    everything = [part for kind_parts in parts.values() for part in kind_parts]
    error, fixed = (fmean(part.error for part in everything), fmean(part.fixed for part in everything))
    return CurveForm(
        {kind: error / _draw(kind_parts, fixed) for kind, kind_parts in parts.items()}, error / fixed, share
    )


def _draw(parts: list[_Parts], pooled: float) -> float:
    return (_POOLED_CASES * pooled + sum(part.fixed for part in parts)) / (_POOLED_CASES + len(parts))


@cache
def _measure_parts(case: Case, share: float) -> tuple[_Parts, ...]:
    """Return the parts of a case at the sizes that far predictions are made from; none if it has none."""
    form = CurveForm(parallel_share=share)
    points = [Point(rows, median(case.ms[rows]), case.workers[rows]) for rows in case.sizes]
    curve = fit_curve(points, case.kind, linear=case.kind in LINEAR_CLASSES, form=form)
    small = [
        point
        for point in points
        if point.rows >= FEWEST_ROWS and point.ms >= FEWEST_MS and FAR_TIMES * point.rows <= case.sizes[-1]
    ]
    if not small:
        return ()
    error = fmean(math.log(point.ms / curve.predict_ms(point.rows, point.workers)) ** 2 for point in small)
    fixed = fmean((curve.fixed_ms / (point.ms * form.compute_gain(point.workers))) ** 2 for point in small)
    return (_Parts(error, fixed),)
