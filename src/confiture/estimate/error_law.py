"""The distribution of an estimate's error, as quantiles of ``ln(true time / predicted time)``.

Logarithms because errors are factors: twice as long and half as long are equally wrong.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import NormalDist

from attrs import frozen

SHARES = tuple(percent / 100 for percent in range(1, 100))
"""The probabilities whose quantiles an error law stores: 0.01 to 0.99."""
_NORMAL_QUANTILES = tuple(NormalDist().inv_cdf(share) for share in SHARES)
NEAR_FACTORS = (0.85, 1.15)
"""A prediction counts as right if true / predicted is between these: within 15 %."""


@frozen
class ErrorLaw:
    """The distribution of ``ln(true / predicted)``; 0 means exact, 0.1 about 10 % too low an estimate.

    Attributes:
        quantiles: One for each of ``SHARES``, ascending.
    """

    quantiles: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of ``ln(true / predicted)``."""
        return self.quantiles[len(SHARES) // 2]

    @property
    def width(self) -> float:
        """Half the 90 % interval as a factor: 1.5 if it reaches from median / 1.5 to median · 1.5."""
        return math.exp((self.find_quantile(0.95) - self.find_quantile(0.05)) / 2)

    def find_quantile(self, share: float) -> float:
        """Return the value of ``ln(true / predicted)`` that is not exceeded with this probability."""
        return interpolate(SHARES, self.quantiles, share)

    def find_probability_below(self, value: float) -> float:
        """Return the probability that ``ln(true / predicted)`` is below ``value``."""
        # Beyond the stored quantiles nothing is known but that 1 % is left: half of it is assumed.
        if value <= self.quantiles[0]:
            return SHARES[0] / 2
        if value >= self.quantiles[-1]:
            return 1 - SHARES[0] / 2
        return interpolate(self.quantiles, SHARES, value)

    def compute_near_percent(self) -> float:
        """Return the probability that the true time is within 15 % of the median estimate, in percent.

        Reports show it as ``confidence_percent``.
        """
        low, high = (self.find_probability_below(self.median + math.log(factor)) for factor in NEAR_FACTORS)
        return 100 * max(0.0, high - low)

    def widen(self, spread: float) -> ErrorLaw:
        """Return the law with an independent normal error of this standard deviation added.

        The median stays. The distances of a quantile from it add up as ``√(a² + b²)``, which is exact if
        both errors are normal.
        """
        middle = self.median
        return ErrorLaw(
            tuple(
                middle + math.copysign(math.hypot(value - middle, normal * spread), normal)
                for normal, value in zip(_NORMAL_QUANTILES, self.quantiles, strict=True)
            )
        )

    def widen_to(self, other: ErrorLaw) -> ErrorLaw:
        """Return the law, widened if needed so that it is nowhere narrower than ``other``.

        The median stays; each quantile keeps the larger distance from its median.
        """
        middle, other_middle = self.median, other.median
        return ErrorLaw(
            tuple(
                middle + max(value - middle, other_value - other_middle, key=abs)
                for value, other_value in zip(self.quantiles, other.quantiles, strict=True)
            )
        )


def interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Return ``y`` at ``x`` by linear interpolation; ``xs`` ascend, and beyond them the end value holds."""
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    above = bisect_left(xs, x)
    x0, x1 = xs[above - 1], xs[above]
    return ys[above - 1] + (ys[above] - ys[above - 1]) * (x - x0) / (x1 - x0)
