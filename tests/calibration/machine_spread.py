"""Learn how much machines differ: from each machine's timings, predicted by what the others teach."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from statistics import fmean

from attrs import evolve

from confiture.estimate.prior import Prior
from tests.calibration.judge import Judged, compute_coverage, judge_predictions, learn_from_others
from tests.calibration.timings import DESIGNS, Cases, Prediction, predict_all

_SHARE = 0.9
_SPREADS = tuple(hundredth / 100 for hundredth in range(51))


def learn_machine_spread(machines: Mapping[str, Cases]) -> float:
    """Return the smallest spread with which nine tenths of a machine's times are inside, in the mean of all."""
    foretold = [_foretell(machines, name) for name in machines]
    place = bisect_left(_SPREADS, _SHARE, key=lambda spread: _compute_mean_coverage(foretold, spread))
    return _SPREADS[min(place, len(_SPREADS) - 1)]


def _foretell(machines: Mapping[str, Cases], name: str) -> tuple[list[Prediction], Prior]:
    """Return the predictions for a machine, and what the others teach of their errors."""
    others = [case for other, cases in machines.items() if other != name for case in cases]
    prior = learn_from_others(others, DESIGNS[0])
    predictions = predict_all(machines[name], DESIGNS[0], prior.form)
    return [prediction for prediction in predictions if prediction.nominal], prior


def _compute_mean_coverage(foretold: Sequence[tuple[list[Prediction], Prior]], spread: float) -> float:
    return fmean(
        _compute_coverage(judge_predictions(predictions, evolve(prior, machine_spread=spread)))
        for predictions, prior in foretold
    )


def _compute_coverage(judged: Sequence[Judged]) -> float:
    return compute_coverage([judgement for judgement in judged if judgement.answered], _SHARE)
