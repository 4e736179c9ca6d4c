"""Learns the error of predictions from residuals: quantiles, a spread for each class, and how they grow.

Each class has few cases, so its spread is drawn towards that of all classes, but only to be wider. Nothing is
shifted, and each residual counts with both signs: a mean that was learned from some migrations or machines did
harm on others, the more so the wider the class. What the quantiles are made of is divided by a spread that was
learned without it, as it will be for a migration that nothing was learned from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from attrs import evolve, frozen

from confiture.estimate.prior import (
    Regime,
    RegimeGroup,
    Stretch,
)
from tests.calibration.quantiles import compute_weighted_quantiles

_Key = TypeVar("_Key")
# The error of each case, by class.
_Sizes = Mapping[str, Mapping[str, float]]

FEWEST_CASES = 3
"""A regime with fewer cases is dropped: it says nothing about migrations not seen before."""
FAR_TIMES = 9.0
"""Spreads and quantiles are learned from residuals at this many times the rehearsed rows or more.

Nearer residuals only show how errors grow with the distance.
"""
_GROWTHS = tuple(fifth / 5 for fifth in range(16))
_BREVITIES = tuple(twentieth / 20 for twentieth in range(11))
# The spread of all classes together counts as this many cases of a class.
_POOLED_CASES = 2.0
# The weight of a residual from the other regime: one regime has too few cases for the tails.
_OTHER_REGIME = 0.5
# Standardized residuals are divided by the spread: it must not become zero.
_SMALLEST_SPREAD = 0.02


@frozen
class Residual:
    """The error of one prediction.

    Attributes:
        case: Name of the migration.
        kind: Class of the statement.
        regime: The regime of the prediction.
        times: Predicted rows divided by the largest rehearsed rows.
        ms: The rehearsed time at the largest size, in milliseconds.
        value: ``ln(true / predicted)``.
        weight: Its weight; those of one case, rehearsed size and predicted size add up to 1, so that
            repeated runs do not count more.
    """

    case: str
    kind: str
    regime: Regime
    times: float
    ms: float
    value: float
    weight: float = 1.0


def fit(residuals: Iterable[Residual]) -> dict[Regime, RegimeGroup]:
    """Return the errors of each regime that has at least ``FEWEST_CASES`` cases."""
    designs: dict[tuple[int, int], list[Residual]] = defaultdict(list)
    for residual in residuals:
        designs[residual.regime.runs, residual.regime.sizes].append(residual)
    groups: dict[Regime, RegimeGroup] = {}
    for design_residuals in designs.values():
        groups |= _fit_design(design_residuals)
    return groups


def _fit_design(residuals: Sequence[Residual]) -> dict[Regime, RegimeGroup]:
    """Return the errors for one number of runs and sizes.

    Its two regimes, within memory and crossing its limit, share the stretch:
    alone each has too few cases.
    """
    far = [residual for residual in residuals if residual.times >= FAR_TIMES]
    cases = {
        regime: {residual.case for residual in regime_residuals}
        for regime, regime_residuals in _group_by(far, _get_regime).items()
    }
    regimes = {regime for regime, names in cases.items() if len(names) >= FEWEST_CASES}
    usable = [residual for residual in residuals if residual.regime in regimes]
    if not usable:
        return {}
    stretch = _learn_stretch(usable)
    near = _compute_near_quantiles(usable, stretch)
    far_by_regime = {regime: _select_far(usable, regime) for regime in sorted(regimes)}
    scaled = {regime: _scale(far, stretch) for regime, far in far_by_regime.items()}
    return {
        regime: _build_group(far, stretch, _compute_quantiles(scaled, regime), near)
        for regime, far in far_by_regime.items()
    }


def _compute_near_quantiles(residuals: Sequence[Residual], stretch: Stretch) -> tuple[float, ...]:
    """Return the error quantiles of repetitions at the same size; empty if none was timed."""
    same = [
        (residual.value / stretch.compute(residual.times, residual.ms), residual.weight)
        for residual in residuals
        if residual.times == 1
    ]
    return compute_weighted_quantiles(_mirror(same)) if same else ()


def _mirror(values: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return each value with both signs: the quantiles become symmetric, and their median zero."""
    return [(sign * value, weight) for value, weight in values for sign in (1, -1)]


def _get_regime(residual: Residual) -> Regime:
    return residual.regime


def _select_far(residuals: Sequence[Residual], regime: Regime) -> list[Residual]:
    return [residual for residual in residuals if residual.regime == regime and residual.times >= FAR_TIMES]


def _learn_stretch(residuals: Sequence[Residual]) -> Stretch:
    """Return the stretch with the greatest likelihood if errors follow a Laplace distribution.

    The distribution's scale is the stretch times a constant; the constant's best value is the mean of the
    standardized errors, so only growth and brevity are searched for.
    """
    weight = sum(residual.weight for residual in residuals)
    # Computed once: the search looks at every residual some eighty times.
    points = [
        (
            residual.weight,
            abs(residual.value),
            math.log(max(residual.times, 1.0)),
            math.log(Stretch(0.0, 1.0).compute(1.0, residual.ms)),
        )
        for residual in residuals
    ]

    def compute_negative_likelihood(stretch: Stretch) -> float:
        growth, brevity = stretch.growth, stretch.brevity
        errors = logs = 0.0
        for share, size, log_times, log_shortness in points:
            log_scale = brevity * log_shortness + 0.5 * math.log1p((growth * log_times) ** 2)
            errors += share * size * math.exp(-log_scale)
            logs += share * log_scale
        # At least 1e-9: the logarithm of a perfect fit does not exist.
        return logs / weight + math.log(max(errors / weight, 1e-9))

    # Along one axis after the other: they hardly depend on each other, and all pairs would take five times
    # as long.
    stretch = Stretch(0.0, 0.0)
    for _ in range(2):
        brevities = (evolve(stretch, brevity=brevity) for brevity in _BREVITIES)
        stretch = min(brevities, key=compute_negative_likelihood)
        growths = (evolve(stretch, growth=growth) for growth in _GROWTHS)
        stretch = min(growths, key=compute_negative_likelihood)
    return stretch


def _build_group(
    residuals: Sequence[Residual], stretch: Stretch, quantiles: tuple[float, ...], near: tuple[float, ...]
) -> RegimeGroup:
    sizes = _measure_sizes(residuals, stretch)
    cases = sum(map(len, sizes.values()))
    return RegimeGroup(cases, _learn_spreads(sizes), _pool_sizes(sizes), stretch, quantiles, near)


def _measure_sizes(residuals: Sequence[Residual], stretch: Stretch) -> dict[str, dict[str, float]]:
    """Return the mean absolute error of each case, divided by the stretch, by class."""
    errors: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for residual in residuals:
        size = abs(residual.value) / stretch.compute(residual.times, residual.ms)
        errors[residual.kind][residual.case].append((size, residual.weight))
    # First the mean of a case: otherwise one that was timed more often would count more.
    return {
        kind: {name: _compute_weighted_mean(sizes) for name, sizes in cases.items()}
        for kind, cases in errors.items()
    }


def _scale(residuals: Sequence[Residual], stretch: Stretch) -> list[tuple[float, float]]:
    """Return the standardized errors with their weights: each divided by the stretch and by its spread.

    The spread is what the other cases teach: one that an error has widened itself would make it look small.
    """
    sizes = _measure_sizes(residuals, stretch)
    spreads = {name: _learn_spreads_without(name, sizes) for cases in sizes.values() for name in cases}
    return [
        (
            residual.value
            / (spreads[residual.case][residual.kind] * stretch.compute(residual.times, residual.ms)),
            residual.weight,
        )
        for residual in residuals
    ]


def _learn_spreads_without(case: str, sizes: _Sizes) -> dict[str, float]:
    others = {
        kind: {name: size for name, size in cases.items() if name != case} for kind, cases in sizes.items()
    }
    filled = {kind: cases for kind, cases in others.items() if cases}
    return dict.fromkeys(sizes, _pool_sizes(filled)) | _learn_spreads(filled)


def _compute_quantiles(
    scaled: Mapping[Regime, Sequence[tuple[float, float]]], regime: Regime
) -> tuple[float, ...]:
    return compute_weighted_quantiles(
        _mirror(
            (value, weight if value_regime == regime else weight * _OTHER_REGIME)
            for value_regime, values in scaled.items()
            for value, weight in values
        )
    )


def _pool_sizes(sizes: _Sizes) -> float:
    """Return the mean absolute error of all cases together."""
    return max(fmean(size for cases in sizes.values() for size in cases.values()), _SMALLEST_SPREAD)


def _learn_spreads(sizes: _Sizes) -> dict[str, float]:
    """Return the mean absolute error of each class: that of its cases, and at least the pooled one.

    A class with few cases is drawn towards all others, but only to be wider: two cases that agree by chance
    say little, and two that do not are a warning. The mean of ``n`` cases is itself uncertain by ``1 / √n``.
    """
    drawn = _POOLED_CASES * _pool_sizes(sizes)
    return {
        kind: max((drawn + sum(own)) / (_POOLED_CASES + len(own)), fmean(own)) * math.sqrt(1 + 1 / len(own))
        for kind, cases in sizes.items()
        for own in [cases.values()]
    }


def _compute_weighted_mean(values: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def _group_by(residuals: Iterable[Residual], key: Callable[[Residual], _Key]) -> dict[_Key, list[Residual]]:
    found: dict[_Key, list[Residual]] = defaultdict(list)
    for residual in residuals:
        found[key(residual)].append(residual)
    return found
