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

from confiture.estimate.error_law import weighted_quantiles
from confiture.estimate.prior import Group, Kind, Regime, distance, stretch

_Key = TypeVar("_Key")

FEWEST_CASES = 3
"""With fewer a regime teaches nothing about migrations not seen before."""
FAR = 9.0
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


Left = tuple[Residual, float]
"""A residual with what the shifts leave of it."""


@frozen
class _Shifts:
    regimes: Mapping[Regime, float]
    kinds: Mapping[str, float]

    def of(self, residual: Residual) -> float:
        shift = self.regimes[residual.regime] + self.kinds.get(residual.kind, 0.0)
        return distance(residual.times) * shift


def fit(residuals: Iterable[Residual]) -> dict[Regime, Group]:
    """Return what these residuals say about each regime that has cases enough."""
    designs: dict[tuple[int, int], list[Residual]] = defaultdict(list)
    for each in residuals:
        designs[each.regime.runs, each.regime.sizes].append(each)
    groups: dict[Regime, Group] = {}
    for several in designs.values():
        groups |= _fit_design(several)
    return groups


def _fit_design(residuals: Sequence[Residual]) -> dict[Regime, Group]:
    """Return the groups of one way to rehearse; its regimes share what classes and growth do."""
    far = [each for each in residuals if each.times >= FAR]
    cases = {regime: {each.case for each in its} for regime, its in _grouped(far, _regime).items()}
    regimes = {regime for regime, its in cases.items() if len(its) >= FEWEST_CASES}
    enough = [each for each in residuals if each.regime in regimes]
    if not enough:
        return {}
    left = _left_over(enough)
    growth, shifts, near = _growth(left), _shifts(enough), _repeats(enough)
    groups = {regime: _group(_of(left, regime), growth, shifts, near) for regime in sorted(regimes)}
    scaled = {regime: _scaled(_of(left, regime), group) for regime, group in groups.items()}
    return {regime: evolve(group, quantiles=_quantiles(scaled, regime)) for regime, group in groups.items()}


def _repeats(residuals: Sequence[Residual]) -> tuple[float, ...]:
    """Return the quantiles of what a repetition at the same size is off; nothing where none was timed."""
    same = [(each.value, each.weight) for each in residuals if each.times == 1]
    return weighted_quantiles(same) if same else ()


def _regime(residual: Residual) -> Regime:
    return residual.regime


def _of(left: Sequence[Left], regime: Regime) -> list[Left]:
    return [(each, value) for each, value in left if each.regime == regime and each.times >= FAR]


def _left_over(residuals: Sequence[Residual]) -> list[Left]:
    """Return each residual with what of it the other cases' shifts do not explain."""
    left = []
    for case, several in _grouped(residuals, lambda each: each.case).items():
        others = _shifts([each for each in residuals if each.case != case])
        left += [(each, each.value - others.of(each)) for each in several if each.regime in others.regimes]
    return left


def _shifts(residuals: Sequence[Residual]) -> _Shifts:
    """Return the mean of each regime, and by how much each class differs, drawn towards nothing."""
    far = [each for each in residuals if each.times >= FAR]
    means = {key: _mean(several) for key, several in _grouped(far, _place).items()}
    regimes = {
        regime: fmean(mean for (its, _, _), mean in means.items() if its == regime)
        for regime in {regime for regime, _, _ in means}
    }
    kinds: dict[str, list[float]] = defaultdict(list)
    for (regime, kind, _), mean in means.items():
        kinds[kind].append(mean - regimes[regime])
    drawn = _cases_to_draw(list(kinds.values()))
    return _Shifts(regimes, {kind: sum(each) / (len(each) + drawn) for kind, each in kinds.items()})


def _place(residual: Residual) -> tuple[Regime, str, str]:
    return residual.regime, residual.kind, residual.case


def _cases_to_draw(kinds: Sequence[Sequence[float]]) -> float:
    """Return how many cases' worth zero counts: the variance within classes over that between them."""
    several = [each for each in kinds if len(each) > 1]
    total = sum(map(len, kinds))
    if not several or len(kinds) < 2:
        return float(total)
    freedom = sum(len(each) - 1 for each in several)
    within = sum(variance(each) * (len(each) - 1) for each in several) / freedom
    middle = sum(map(sum, kinds)) / total
    between = sum(len(each) * (fmean(each) - middle) ** 2 for each in kinds) - (len(kinds) - 1) * within
    between /= total - sum(len(each) ** 2 for each in kinds) / total
    return within / between if between > within / total else float(total)


def _growth(left: Sequence[Left]) -> float:
    """Return how errors grow with the extrapolation: the likeliest, if they are Laplace's."""
    weight = sum(each.weight for each, _ in left)

    def unlikely(growth: float) -> float:
        scales = [stretch(growth, each.times) for each, _ in left]
        errors = sum(each.weight * abs(value) / s for (each, value), s in zip(left, scales, strict=True))
        logs = sum(each.weight * math.log(s) for (each, _), s in zip(left, scales, strict=True))
        return logs / weight + math.log(max(errors / weight, 1e-9))

    return min(_GROWTHS, key=unlikely)


def _group(left: Sequence[Left], growth: float, shifts: _Shifts, near: tuple[float, ...]) -> Group:
    errors: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for each, value in left:
        size = abs(value) / stretch(growth, each.times)
        errors[each.kind][each.case].append((size, each.weight))
    by_kind = {kind: [_weighted(sizes) for sizes in cases.values()] for kind, cases in errors.items()}
    spreads = _spreads(by_kind, shifts.kinds)
    shift = shifts.regimes[left[0][0].regime]
    kinds = {kind: Kind(shift + shifts.kinds[kind], spreads[kind]) for kind in shifts.kinds}
    other = Kind(shift, _pooled(by_kind))
    return Group(sum(map(len, by_kind.values())), kinds, other, growth, near=near)


def _scaled(left: Sequence[Left], group: Group) -> list[tuple[float, float]]:
    """Return the residuals with the differences between classes, regimes and distances taken out."""
    return [
        (value / (group.kinds[each.kind].spread * stretch(group.growth, each.times)), each.weight)
        for each, value in left
    ]


def _quantiles(scaled: Mapping[Regime, Sequence[tuple[float, float]]], regime: Regime) -> tuple[float, ...]:
    return weighted_quantiles(
        [
            (value, weight if its == regime else weight * _OTHER_REGIME)
            for its, several in scaled.items()
            for value, weight in several
        ]
    )


def _pooled(sizes: Mapping[str, Sequence[float]]) -> float:
    """Return the mean size of all cases' errors."""
    return max(fmean(size for several in sizes.values() for size in several), _SMALLEST_SPREAD)


def _spreads(sizes: Mapping[str, Sequence[float]], kinds: Iterable[str]) -> dict[str, float]:
    """Return the mean size of each class's errors, drawn towards that of all."""
    drawn = _POOLED_CASES * _pooled(sizes)
    return {
        kind: (drawn + sum(sizes.get(kind, ()))) / (_POOLED_CASES + len(sizes.get(kind, ())))
        for kind in kinds
    }


def _mean(residuals: Sequence[Residual]) -> float:
    return _weighted([(each.value, each.weight) for each in residuals])


def _weighted(values: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def _grouped(residuals: Iterable[Residual], key: Callable[[Residual], _Key]) -> dict[_Key, list[Residual]]:
    found: dict[_Key, list[Residual]] = defaultdict(list)
    for each in residuals:
        found[key(each)].append(each)
    return found
