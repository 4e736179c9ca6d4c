"""The quantiles of weighted residuals, from which a law is learned."""

from __future__ import annotations

from collections.abc import Sequence

from confiture.estimate.error_law import SHARES, interpolate


def compute_weighted_quantiles(
    values: Sequence[tuple[float, float]], shares: Sequence[float] = SHARES
) -> tuple[float, ...]:
    """Return the quantiles of ``(value, weight)`` pairs.

    Each value sits in the middle of its weight: of two equal weights, at 0.25 and 0.75.
    """
    ordered = sorted(values)
    total = sum(weight for _, weight in ordered)
    middles, weight_before = [], 0.0
    for _, weight in ordered:
        middles.append((weight_before + weight / 2) / total)
        weight_before += weight
    sorted_values = [value for value, _ in ordered]
    return tuple(interpolate(middles, sorted_values, share) for share in shares)
