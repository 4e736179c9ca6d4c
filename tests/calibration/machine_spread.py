"""Learn how much machines differ: from each machine's timings, predicted by what the others teach."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from statistics import fmean

from tests.calibration.judging import compute_coverage, judge_by_others
from tests.calibration.timings import DESIGNS, Cases

_SHARE = 0.9
_SPREADS = tuple(hundredth / 100 for hundredth in range(51))


def learn_machine_spread(machines: Mapping[str, Cases]) -> float:
    """Return the smallest spread with which nine tenths of a machine's times are inside, in the mean of all."""
    place = bisect_left(_SPREADS, _SHARE, key=lambda spread: _compute_mean_coverage(machines, spread))
    return _SPREADS[min(place, len(_SPREADS) - 1)]


def _compute_mean_coverage(machines: Mapping[str, Cases], spread: float) -> float:
    coverages = []
    for name, cases in machines.items():
        others = [case for other, other_cases in machines.items() if other != name for case in other_cases]
        judged = judge_by_others(cases, others, DESIGNS[0], spread)
        coverages.append(
            compute_coverage([one for one in judged if one.prediction.nominal and one.answered], _SHARE)
        )
    return fmean(coverages)
