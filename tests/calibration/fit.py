"""Learns the error of predictions from residuals: a shift and a spread for each class, and quantiles.

Each class has few cases, so its shift and spread are shrunk towards those of all classes; the fewer
cases it has and the more they differ among themselves, the more. Spreads and quantiles come from
leave-one-out residuals: a case is never judged by a shift that it helped to learn, which would make
the intervals too narrow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, variance
from typing import TypeVar

from attrs import evolve, frozen

from confiture.estimate.error_law import compute_weighted_quantiles
from confiture.estimate.prior import (
    Regime,
    RegimeGroup,
    Stretch,
    WorkClassShift,
    compute_distance,
)

_Key = TypeVar("_Key")

FEWEST_CASES = 3
"""A regime with fewer cases is dropped: it says nothing about migrations not seen before."""
FAR_TIMES = 9.0
"""Shifts and quantiles are learned from residuals at this many times the rehearsed rows or more.

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


LeftOver = tuple[Residual, float]
"""A residual, and its value minus the shift learned from the other cases."""


@frozen
class _Shifts:
    """Mean errors: of each regime, and the deviation of each class from it."""

    regimes: Mapping[Regime, float]
    kinds: Mapping[str, float]

    def find_shift(self, residual: Residual) -> float:
        shift = self.regimes[residual.regime] + self.kinds.get(residual.kind, 0.0)
        # At the rehearsed size there is no extrapolation, so nothing to shift.
        return compute_distance(residual.times) * shift


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

    Its two regimes, within memory and crossing its limit, share the shifts of classes and the growth:
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
    left_over = _subtract_shifts(usable)
    stretch, shifts = _learn_stretch(left_over), _learn_shifts(usable)
    near = _compute_near_quantiles(usable, stretch)
    groups = {
        regime: _build_group(_select_far(left_over, regime), stretch, shifts, near)
        for regime in sorted(regimes)
    }
    scaled = {regime: _scale(_select_far(left_over, regime), group) for regime, group in groups.items()}
    return {
        regime: evolve(group, quantiles=_compute_quantiles(scaled, regime))
        for regime, group in groups.items()
    }


def _compute_near_quantiles(residuals: Sequence[Residual], stretch: Stretch) -> tuple[float, ...]:
    """Return the error quantiles of repetitions at the same size; empty if none was timed."""
    same = [
        (residual.value / stretch.compute(residual.times, residual.ms), residual.weight)
        for residual in residuals
        if residual.times == 1
    ]
    return compute_weighted_quantiles(same) if same else ()


def _get_regime(residual: Residual) -> Regime:
    return residual.regime


def _select_far(left_over: Sequence[LeftOver], regime: Regime) -> list[LeftOver]:
    return [
        (residual, value)
        for residual, value in left_over
        if residual.regime == regime and residual.times >= FAR_TIMES
    ]


def _subtract_shifts(residuals: Sequence[Residual]) -> list[LeftOver]:
    """Return each residual minus the shift estimated from the other cases (leave-one-out)."""
    left_over = []
    for case, case_residuals in _group_by(residuals, lambda residual: residual.case).items():
        others = _learn_shifts([residual for residual in residuals if residual.case != case])
        left_over += [
            (residual, residual.value - others.find_shift(residual))
            for residual in case_residuals
            if residual.regime in others.regimes
        ]
    return left_over


def _learn_shifts(residuals: Sequence[Residual]) -> _Shifts:
    """Return the mean of each regime and the deviation of each class from it, shrunk towards zero.

    The deviation is ``sum / (cases + k)``, with ``k`` from ``_count_cases_to_draw``.
    """
    far = [residual for residual in residuals if residual.times >= FAR_TIMES]
    # First the mean of a case: otherwise one that was timed more often would count more.
    means = {
        cell: _compute_mean(cell_residuals) for cell, cell_residuals in _group_by(far, _get_cell).items()
    }
    regimes = {
        regime: fmean(mean for (cell_regime, _, _), mean in means.items() if cell_regime == regime)
        for regime in {regime for regime, _, _ in means}
    }
    deviations: dict[str, list[float]] = defaultdict(list)
    for (regime, kind, _), mean in means.items():
        deviations[kind].append(mean - regimes[regime])
    drawn = _count_cases_to_draw(list(deviations.values()))
    return _Shifts(regimes, {kind: sum(found) / (len(found) + drawn) for kind, found in deviations.items()})


def _get_cell(residual: Residual) -> tuple[Regime, str, str]:
    return residual.regime, residual.kind, residual.case


def _count_cases_to_draw(kinds: Sequence[Sequence[float]]) -> float:
    """Return how many cases the prior mean zero counts as: variance within classes / variance between.

    The empirical Bayes weight of a one-way random effects model, with its variances by the ANOVA (moment)
    estimator. If classes do not differ noticeably, zero counts as all cases together.
    """
    repeated = [kind for kind in kinds if len(kind) > 1]
    total = sum(map(len, kinds))
    if not repeated or len(kinds) < 2:
        return float(total)
    freedom = sum(len(kind) - 1 for kind in repeated)
    within = sum(variance(kind) * (len(kind) - 1) for kind in repeated) / freedom
    middle = sum(map(sum, kinds)) / total
    between = sum(len(kind) * (fmean(kind) - middle) ** 2 for kind in kinds) - (len(kinds) - 1) * within
    between /= total - sum(len(kind) ** 2 for kind in kinds) / total
    return within / between if between > within / total else float(total)


def _learn_stretch(left_over: Sequence[LeftOver]) -> Stretch:
    """Return the stretch with the greatest likelihood if errors follow a Laplace distribution.

    The distribution's scale is the stretch times a constant; the constant's best value is the mean of the
    standardized errors, so only growth and brevity are searched for.
    """
    weight = sum(residual.weight for residual, _ in left_over)
    # Computed once: the search looks at every residual some eighty times.
    points = [
        (
            residual.weight,
            abs(value),
            math.log(max(residual.times, 1.0)),
            math.log(Stretch(0.0, 1.0).compute(1.0, residual.ms)),
        )
        for residual, value in left_over
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
    left_over: Sequence[LeftOver], stretch: Stretch, shifts: _Shifts, near: tuple[float, ...]
) -> RegimeGroup:
    errors: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for residual, value in left_over:
        size = abs(value) / stretch.compute(residual.times, residual.ms)
        errors[residual.kind][residual.case].append((size, residual.weight))
    by_kind = {
        kind: [_compute_weighted_mean(sizes) for sizes in cases.values()] for kind, cases in errors.items()
    }
    spreads = _learn_spreads(by_kind, shifts.kinds)
    shift = shifts.regimes[left_over[0][0].regime]
    kinds = {kind: WorkClassShift(shift + shifts.kinds[kind], spreads[kind]) for kind in shifts.kinds}
    other = WorkClassShift(shift, _pool_sizes(by_kind))
    return RegimeGroup(sum(map(len, by_kind.values())), kinds, other, stretch, near=near)


def _scale(left_over: Sequence[LeftOver], group: RegimeGroup) -> list[tuple[float, float]]:
    """Return the standardized errors, divided by spread and stretch, with their weights."""
    return [
        (
            value / (group.kinds[residual.kind].spread * group.stretch.compute(residual.times, residual.ms)),
            residual.weight,
        )
        for residual, value in left_over
    ]


def _compute_quantiles(
    scaled: Mapping[Regime, Sequence[tuple[float, float]]], regime: Regime
) -> tuple[float, ...]:
    return compute_weighted_quantiles(
        [
            (value, weight if value_regime == regime else weight * _OTHER_REGIME)
            for value_regime, values in scaled.items()
            for value, weight in values
        ]
    )


def _pool_sizes(sizes: Mapping[str, Sequence[float]]) -> float:
    """Return the mean absolute error of all cases together."""
    return max(fmean(size for kind_sizes in sizes.values() for size in kind_sizes), _SMALLEST_SPREAD)


def _learn_spreads(sizes: Mapping[str, Sequence[float]], kinds: Iterable[str]) -> dict[str, float]:
    """Return the mean absolute error of each class: that of its cases, and at least the pooled one.

    A class with few cases is drawn towards all others, but only to be wider: two cases that agree by chance
    say little, and two that do not are a warning. The mean of ``n`` cases is itself uncertain by ``1 / √n``.
    """
    drawn = _POOLED_CASES * _pool_sizes(sizes)
    spreads = {}
    for kind in kinds:
        own = sizes.get(kind, ())
        pooled = (drawn + sum(own)) / (_POOLED_CASES + len(own))
        most = max(pooled, fmean(own)) if own else pooled
        spreads[kind] = most * math.sqrt(1 + 1 / max(len(own), 1))
    return spreads


def _compute_mean(residuals: Sequence[Residual]) -> float:
    return _compute_weighted_mean([(residual.value, residual.weight) for residual in residuals])


def _compute_weighted_mean(values: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def _group_by(residuals: Iterable[Residual], key: Callable[[Residual], _Key]) -> dict[_Key, list[Residual]]:
    found: dict[_Key, list[Residual]] = defaultdict(list)
    for residual in residuals:
        found[key(residual)].append(residual)
    return found
