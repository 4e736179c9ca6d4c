"""Extrapolate a time from rehearsed sizes: ``a + b·n·log2 n``, the form that held best when measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen


@frozen
class Point:
    """What one size took.

    Attributes:
        rows: Of the table.
        ms: Without waiting for locks or for a CPU, in milliseconds; of several runs, their median.
    """

    rows: float
    ms: float


@frozen
class Curve:
    """Milliseconds by rows.

    Attributes:
        fixed_ms: What it takes whatever the size.
        growing_ms: What each unit of ``n·log2 n`` adds.
    """

    fixed_ms: float
    growing_ms: float

    def predict_ms(self, rows: float) -> float:
        """Return the milliseconds that so many rows take."""
        return self.fixed_ms + self.growing_ms * compute_work(rows)


def compute_work(rows: float) -> float:
    """Return ``n·log2 n``, the work that rows make; a single row makes some too."""
    rows = max(rows, 1.0)
    return rows * math.log2(rows + 1)


def fit_curve(points: Sequence[Point]) -> Curve:
    """Return the curve through one or more sizes; errors count in proportion, and nothing is negative."""
    last = max(points, key=lambda point: point.rows)
    if len({point.rows for point in points}) == 1:
        return Curve(0.0, last.ms / compute_work(last.rows))
    weights = [1 / point.ms**2 for point in points]
    works = [compute_work(point.rows) for point in points]
    ones = sum(weights)
    once = sum(w * x for w, x in zip(weights, works, strict=True))
    twice = sum(w * x * x for w, x in zip(weights, works, strict=True))
    fixed = sum(w * point.ms for w, point in zip(weights, points, strict=True))
    growing = sum(w * x * point.ms for w, x, point in zip(weights, works, points, strict=True))
    both = ones * twice - once * once
    a, b = (fixed * twice - growing * once) / both, (ones * growing - once * fixed) / both
    if a < 0:
        return Curve(0.0, growing / twice)
    return Curve(fixed / ones, 0.0) if b < 0 else Curve(a, b)
