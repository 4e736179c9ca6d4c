"""Learn from residuals how far off predictions are: a shift and a spread for each class, and quantiles.

Classes have few cases each, so what one says counts by how many it has against how much cases differ
within classes; residuals are always those of a case that its own shift was not learned from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, variance
from typing import TypeVar

from attrs import evolve, frozen

from confiture.estimate.error_law import compute_weighted_quantiles
from confiture.estimate.prior import Regime, RegimeGroup, WorkClassShift, compute_distance, compute_stretch

_Key = TypeVar("_Key")

FEWEST_CASES = 3
"""With fewer a regime teaches nothing about migrations not seen before."""
FAR_TIMES = 9.0
"""From this many times the rows on a prediction is an extrapolation, which shifts and quantiles are
learned from; nearer ones only tell how errors grow with the distance."""
_GROWTHS = tuple(tenth / 10 for tenth in range(31))
# How many cases' worth the spread of all classes counts against a class's own.
_POOLED_CASES = 2.0
# What another regime's residual counts for the quantiles: each has too few cases for ends of its own.
_OTHER_REGIME = 0.5
_SMALLEST_SPREAD = 0.02


@frozen
class Residual:
    """How far off one prediction was.

    Attributes:
        case: Of which migration.
        kind: Its class.
        regime: How it was predicted.
        times: The predicted rows over the largest rehearsed ones.
        value: The logarithm of true over predicted time.
        weight: How much it counts; all of one prediction together count as one.
    """

    case: str
    kind: str
    regime: Regime
    times: float
    value: float
    weight: float = 1.0


LeftOver = tuple[Residual, float]
"""A residual with what the shifts leave of it."""


@frozen
class _Shifts:
    regimes: Mapping[Regime, float]
    kinds: Mapping[str, float]

    def find_shift(self, residual: Residual) -> float:
        shift = self.regimes[residual.regime] + self.kinds.get(residual.kind, 0.0)
        return compute_distance(residual.times) * shift


def fit(residuals: Iterable[Residual]) -> dict[Regime, RegimeGroup]:
    """Return what these residuals say about each regime that has cases enough."""
    designs: dict[tuple[int, int], list[Residual]] = defaultdict(list)
    for residual in residuals:
        designs[residual.regime.runs, residual.regime.sizes].append(residual)
    groups: dict[Regime, RegimeGroup] = {}
    for several in designs.values():
        groups |= _fit_design(several)
    return groups


def _fit_design(residuals: Sequence[Residual]) -> dict[Regime, RegimeGroup]:
    """Return the groups of one way to rehearse; its regimes share what classes and growth do."""
    far = [residual for residual in residuals if residual.times >= FAR_TIMES]
    cases = {regime: {each.case for each in its} for regime, its in _group_by(far, _get_regime).items()}
    regimes = {regime for regime, its in cases.items() if len(its) >= FEWEST_CASES}
    enough = [residual for residual in residuals if residual.regime in regimes]
    if not enough:
        return {}
    left = _subtract_shifts(enough)
    growth, shifts, near = _learn_growth(left), _learn_shifts(enough), _compute_near_quantiles(enough)
    groups = {
        regime: _build_group(_select_far(left, regime), growth, shifts, near) for regime in sorted(regimes)
    }
    scaled = {regime: _scale(_select_far(left, regime), group) for regime, group in groups.items()}
    return {
        regime: evolve(group, quantiles=_compute_quantiles(scaled, regime))
        for regime, group in groups.items()
    }


def _compute_near_quantiles(residuals: Sequence[Residual]) -> tuple[float, ...]:
    """Return the quantiles of what a repetition at the same size is off; nothing where none was timed."""
    same = [(residual.value, residual.weight) for residual in residuals if residual.times == 1]
    return compute_weighted_quantiles(same) if same else ()


def _get_regime(residual: Residual) -> Regime:
    return residual.regime


def _select_far(left: Sequence[LeftOver], regime: Regime) -> list[LeftOver]:
    return [(each, value) for each, value in left if each.regime == regime and each.times >= FAR_TIMES]


def _subtract_shifts(residuals: Sequence[Residual]) -> list[LeftOver]:
    """Return each residual with what of it the other cases' shifts do not explain."""
    left = []
    for case, several in _group_by(residuals, lambda each: each.case).items():
        others = _learn_shifts([residual for residual in residuals if residual.case != case])
        left += [
            (each, each.value - others.find_shift(each)) for each in several if each.regime in others.regimes
        ]
    return left


def _learn_shifts(residuals: Sequence[Residual]) -> _Shifts:
    """Return the mean of each regime, and by how much each class differs, drawn towards nothing."""
    far = [residual for residual in residuals if residual.times >= FAR_TIMES]
    means = {key: _compute_mean(several) for key, several in _group_by(far, _get_cell).items()}
    regimes = {
        regime: fmean(mean for (its, _, _), mean in means.items() if its == regime)
        for regime in {regime for regime, _, _ in means}
    }
    kinds: dict[str, list[float]] = defaultdict(list)
    for (regime, kind, _), mean in means.items():
        kinds[kind].append(mean - regimes[regime])
    drawn = _count_cases_to_draw(list(kinds.values()))
    return _Shifts(regimes, {kind: sum(each) / (len(each) + drawn) for kind, each in kinds.items()})


def _get_cell(residual: Residual) -> tuple[Regime, str, str]:
    return residual.regime, residual.kind, residual.case


def _count_cases_to_draw(kinds: Sequence[Sequence[float]]) -> float:
    """Return how many cases' worth zero counts: the variance within classes over that between them."""
    several = [kind for kind in kinds if len(kind) > 1]
    total = sum(map(len, kinds))
    if not several or len(kinds) < 2:
        return float(total)
    freedom = sum(len(each) - 1 for each in several)
    within = sum(variance(each) * (len(each) - 1) for each in several) / freedom
    middle = sum(map(sum, kinds)) / total
    between = sum(len(kind) * (fmean(kind) - middle) ** 2 for kind in kinds) - (len(kinds) - 1) * within
    between /= total - sum(len(kind) ** 2 for kind in kinds) / total
    return within / between if between > within / total else float(total)


def _learn_growth(left: Sequence[LeftOver]) -> float:
    """Return how errors grow with the extrapolation: the likeliest, if they are Laplace's."""
    weight = sum(each.weight for each, _ in left)

    def unlikely(growth: float) -> float:
        scales = [compute_stretch(growth, each.times) for each, _ in left]
        errors = sum(each.weight * abs(value) / s for (each, value), s in zip(left, scales, strict=True))
        logs = sum(each.weight * math.log(s) for (each, _), s in zip(left, scales, strict=True))
        return logs / weight + math.log(max(errors / weight, 1e-9))

    return min(_GROWTHS, key=unlikely)


def _build_group(
    left: Sequence[LeftOver], growth: float, shifts: _Shifts, near: tuple[float, ...]
) -> RegimeGroup:
    errors: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for each, value in left:
        size = abs(value) / compute_stretch(growth, each.times)
        errors[each.kind][each.case].append((size, each.weight))
    by_kind = {
        kind: [_compute_weighted_mean(sizes) for sizes in cases.values()] for kind, cases in errors.items()
    }
    spreads = _learn_spreads(by_kind, shifts.kinds)
    shift = shifts.regimes[left[0][0].regime]
    kinds = {kind: WorkClassShift(shift + shifts.kinds[kind], spreads[kind]) for kind in shifts.kinds}
    other = WorkClassShift(shift, _pool_sizes(by_kind))
    return RegimeGroup(sum(map(len, by_kind.values())), kinds, other, growth, near=near)


def _scale(left: Sequence[LeftOver], group: RegimeGroup) -> list[tuple[float, float]]:
    """Return the residuals with the differences between classes, regimes and distances taken out."""
    return [
        (value / (group.kinds[each.kind].spread * compute_stretch(group.growth, each.times)), each.weight)
        for each, value in left
    ]


def _compute_quantiles(
    scaled: Mapping[Regime, Sequence[tuple[float, float]]], regime: Regime
) -> tuple[float, ...]:
    return compute_weighted_quantiles(
        [
            (value, weight if its == regime else weight * _OTHER_REGIME)
            for its, several in scaled.items()
            for value, weight in several
        ]
    )


def _pool_sizes(sizes: Mapping[str, Sequence[float]]) -> float:
    """Return the mean size of all cases' errors."""
    return max(fmean(size for several in sizes.values() for size in several), _SMALLEST_SPREAD)


def _learn_spreads(sizes: Mapping[str, Sequence[float]], kinds: Iterable[str]) -> dict[str, float]:
    """Return the mean size of each class's errors, drawn towards that of all."""
    drawn = _POOLED_CASES * _pool_sizes(sizes)
    return {
        kind: (drawn + sum(sizes.get(kind, ()))) / (_POOLED_CASES + len(sizes.get(kind, ())))
        for kind in kinds
    }


def _compute_mean(residuals: Sequence[Residual]) -> float:
    return _compute_weighted_mean([(residual.value, residual.weight) for residual in residuals])


def _compute_weighted_mean(values: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def _group_by(residuals: Iterable[Residual], key: Callable[[Residual], _Key]) -> dict[_Key, list[Residual]]:
    found: dict[_Key, list[Residual]] = defaultdict(list)
    for residual in residuals:
        found[key(residual)].append(residual)
    return found
