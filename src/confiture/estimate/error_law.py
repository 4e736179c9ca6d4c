"""How far the truth is from a prediction, as quantiles of the logarithm of their ratio."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import NormalDist

from attrs import frozen

SHARES = tuple(percent / 100 for percent in range(1, 100))
"""The shares of which a law keeps the quantiles."""
NEAR_FACTORS = (0.85, 1.15)
"""What counts as right: the truth is within 15 % of the prediction."""


@frozen
class ErrorLaw:
    """The logarithm of true over predicted time.

    Attributes:
        quantiles: One for each of ``SHARES``, ascending.
    """

    quantiles: tuple[float, ...]

    @property
    def median(self) -> float:
        """As often above as below."""
        return self.quantiles[len(SHARES) // 2]

    @property
    def width(self) -> float:
        """The 90 % interval as a factor: ×/÷ this."""
        return math.exp((self.find_quantile(0.95) - self.find_quantile(0.05)) / 2)

    def find_quantile(self, share: float) -> float:
        """Return the value below which the truth is with this probability."""
        return interpolate(SHARES, self.quantiles, share)

    def find_probability_below(self, value: float) -> float:
        """Return the probability that the truth is below; beyond the last quantile it is nearly sure."""
        if value <= self.quantiles[0]:
            return SHARES[0] / 2
        if value >= self.quantiles[-1]:
            return 1 - SHARES[0] / 2
        return interpolate(self.quantiles, SHARES, value)

    def compute_near_percent(self) -> float:
        """Return the probability that the truth is within 15 % of the median, in percent."""
        low, high = (self.find_probability_below(self.median + math.log(factor)) for factor in NEAR_FACTORS)
        return 100 * max(0.0, high - low)

    def widen(self, spread: float) -> ErrorLaw:
        """Return the law with an independent error of this standard deviation added."""
        middle = self.median
        return ErrorLaw(
            tuple(
                middle
                + math.copysign(math.hypot(value - middle, NormalDist().inv_cdf(share) * spread), share - 0.5)
                for share, value in zip(SHARES, self.quantiles, strict=True)
            )
        )

    def widen_to(self, other: ErrorLaw) -> ErrorLaw:
        """Return the law, nowhere nearer to its median than the other is to its own."""
        return ErrorLaw(
            tuple(
                self.median + max(mine - self.median, its - other.median, key=abs)
                for mine, its in zip(self.quantiles, other.quantiles, strict=True)
            )
        )


def interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Return ``y`` at ``x`` on the line through ascending points; beyond the ends, that of the end."""
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    above = bisect_left(xs, x)
    x0, x1 = xs[above - 1], xs[above]
    return ys[above - 1] + (ys[above] - ys[above - 1]) * (x - x0) / (x1 - x0)


def compute_weighted_quantiles(
    values: Sequence[tuple[float, float]], shares: Sequence[float] = SHARES
) -> tuple[float, ...]:
    """Return the quantiles of ``(value, weight)`` pairs, each weight spread about its value."""
    ordered = sorted(values)
    total = sum(weight for _, weight in ordered)
    middles, so_far = [], 0.0
    for _, weight in ordered:
        middles.append((so_far + weight / 2) / total)
        so_far += weight
    found = [value for value, _ in ordered]
    return tuple(interpolate(middles, found, share) for share in shares)
