"""Extrapolate a time from the rehearsed sizes with the curve ``t = a + b·n·log2 n`` or ``t = a + b·n``.

The first form is for work that compares texts or maintains indexes row by row, the second for work that
reads or writes each row once: a sort of numbers takes little of an index build's time. Both were chosen by
measurement; a free exponent was off by 53 to 76 %.

Parallel workers make a build faster from some size on, so a small rehearsal has fewer of them than
production. The curve is fitted to the time that one process would take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from attrs import field, frozen


@frozen
class Point:
    """The measured time of a statement at one table size.

    Attributes:
        rows: Rows of the table.
        ms: Time in milliseconds without waits for locks or a CPU; the median if there are several runs.
        workers: Parallel workers that helped to build an index.
    """

    rows: float
    ms: float
    workers: int = 0


@frozen
class CurveForm:
    """What the timings of all statements teach about their curves.

    Attributes:
        doubts: How much a fixed part is doubted, by class: the square of a measurement's error divided by
            that of a usual fixed part, both relative to the measured time. Two sizes that are close together
            show a fixed part that is not there if the smaller one was disturbed. 0 believes them.
        other_doubt: The same for every other class.
        parallel_share: The share of an index build that its workers take part in.
    """

    doubts: Mapping[str, float] = field(factory=dict)
    other_doubt: float = 0.0
    parallel_share: float = 0.0

    def find_doubt(self, kind: str) -> float:
        """Return how much a fixed part of this class is doubted."""
        return self.doubts.get(kind, self.other_doubt)

    def compute_gain(self, workers: int) -> float:
        """Return how many times as fast an index is built with these workers, by Amdahl's law."""
        return 1 / (1 - self.parallel_share + self.parallel_share / (1 + workers))


PLAIN_FORM = CurveForm()
"""Every fixed part is believed, and workers gain nothing."""


@frozen
class Curve:
    """The time of a statement as a function of the rows: ``fixed_ms + growing_ms · work``.

    Attributes:
        fixed_ms: The part that does not depend on the size, in milliseconds (``a``).
        growing_ms: Milliseconds per unit of work, see ``compute_work`` (``b``).
        linear: True if the work is the number of rows.
        form: The gain of workers.
    """

    fixed_ms: float
    growing_ms: float
    linear: bool = False
    form: CurveForm = PLAIN_FORM

    def predict_ms(self, rows: float, workers: int = 0) -> float:
        """Return the expected time for a table of this many rows, in milliseconds."""
        alone_ms = self.fixed_ms + self.growing_ms * compute_work(rows, linear=self.linear)
        return alone_ms / self.form.compute_gain(workers)


def compute_work(rows: float, *, linear: bool = False) -> float:
    """Return the work that ``n`` rows cause: ``n`` if it is linear, else ``n·log2(n + 1)``."""
    # n + 1, and at least one row: n·log2 n is zero for one row, and fit_curve divides by the work.
    rows = max(rows, 1.0)
    return rows if linear else rows * math.log2(rows + 1)


def fit_curve(
    points: Sequence[Point], kind: str = "", *, linear: bool = False, form: CurveForm = PLAIN_FORM
) -> Curve:
    """Return the curve through points of one or more sizes, by weighted least squares with ``a, b ≥ 0``.

    One size says nothing about the fixed part: all of its time is taken to grow.

    Args:
        points: The measured times.
        kind: The class of the statement, which decides how much a fixed part is doubted.
        linear: True if the time grows with the number of rows.
        form: What the timings of other statements teach.
    """
    alone = [Point(point.rows, point.ms * form.compute_gain(point.workers)) for point in points]
    fixed_ms, growing_ms = _solve(alone, linear, form.find_doubt(kind))
    return Curve(fixed_ms, growing_ms, linear, form)


def _solve(points: Sequence[Point], linear: bool, fixed_doubt: float) -> tuple[float, float]:
    largest = max(points, key=lambda point: point.rows)
    if len({point.rows for point in points}) == 1:
        return 0.0, largest.ms / compute_work(largest.rows, linear=linear)
    # 1/y² makes relative errors count alike; otherwise the largest size alone would decide.
    weights = [1 / point.ms**2 for point in points]
    works = [compute_work(point.rows, linear=linear) for point in points]
    # The normal equations of t = a + b·w, solved by Cramer's rule.
    sum_1 = sum(weights)
    sum_w = sum(weight * work for weight, work in zip(weights, works, strict=True))
    sum_ww = sum(weight * work * work for weight, work in zip(weights, works, strict=True))
    sum_t = sum(weight * point.ms for weight, point in zip(weights, points, strict=True))
    sum_wt = sum(weight * work * point.ms for weight, work, point in zip(weights, works, points, strict=True))
    # The doubt acts as one more measurement: that the fixed part is zero, as a share of the largest time.
    sum_1_doubted = sum_1 + fixed_doubt / largest.ms**2
    determinant = sum_1_doubted * sum_ww - sum_w * sum_w
    fixed_ms = (sum_t * sum_ww - sum_wt * sum_w) / determinant
    growing_ms = (sum_1_doubted * sum_wt - sum_w * sum_t) / determinant
    # With two unknowns, the best non-negative fit drops the negative one and fits the other alone.
    if fixed_ms < 0:
        return 0.0, sum_wt / sum_ww
    if growing_ms < 0:
        return sum_t / sum_1, 0.0
    return fixed_ms, growing_ms
