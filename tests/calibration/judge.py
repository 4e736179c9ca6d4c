"""Judge predictions by cases that nothing was learned from."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean, median

from attrs import evolve, frozen

from confiture.estimate.error_law import NEAR_FACTORS, ErrorLaw
from confiture.estimate.prior import CatalogBound, OwnHistory, Prior
from tests.calibration.curve_form import learn_form
from tests.calibration.fit import fit
from tests.calibration.timings import Cases, Prediction, predict_all

WIDEST = 3.0
# Catalog-only statements are judged elsewhere.
_UNUSED_BOUND = CatalogBound(1.0, 1.0)
_RESAMPLED = 500
_FOLDS = 10


@frozen
class Judged:
    """One prediction against what came true; the law is ``None`` where the estimate is *unknown*."""

    prediction: Prediction
    law: ErrorLaw | None

    @property
    def case(self) -> str:
        """Of which migration."""
        return self.prediction.residual.case

    @property
    def answered(self) -> bool:
        """Whether there was an interval, and one narrow enough to be said."""
        return self.law is not None and self.law.width <= WIDEST

    @property
    def error(self) -> float:
        """By how much the truth was off the point estimate, relative to it."""
        return abs(math.expm1(self._off))

    @property
    def hit(self) -> bool:
        """Whether the truth was within 15 %."""
        return math.log(NEAR_FACTORS[0]) < self._off < math.log(NEAR_FACTORS[1])

    def covers(self, share: float) -> bool:
        """Whether the truth was inside the interval of this probability."""
        low, high = (
            self.sure.find_quantile(share_below) for share_below in (0.5 - share / 2, 0.5 + share / 2)
        )
        return low <= self.prediction.residual.value <= high

    @property
    def sure(self) -> ErrorLaw:
        """The law, of one that was answered."""
        assert self.law
        return self.law

    @property
    def _off(self) -> float:
        return self.prediction.residual.value - self.sure.median


def judge_by_folds(
    cases: Cases, design: tuple[int, int], machine_spread: float = 0.0, own_runs: int = 0
) -> list[Judged]:
    """Judge each tenth of the cases by what the other nine teach, of all machines.

    Args:
        cases: The cases.
        design: How they are rehearsed: runs, and sizes.
        machine_spread: The spread between machines.
        own_runs: So many runs of the user's own make it smaller.
    """
    names = sorted({case.name for case in cases})
    judged = []
    for first in range(_FOLDS):
        fold = set(names[first::_FOLDS])
        own, others = ([case for case in cases if (case.name in fold) == inside] for inside in (True, False))
        judged += judge_by_others(own, others, design, machine_spread, own_runs)
    return judged


def judge_by_others(
    cases: Cases, others: Cases, design: tuple[int, int], machine_spread: float, own_runs: int = 0
) -> list[Judged]:
    """Judge cases by what others teach."""
    prior = learn_from_others(others, design)
    own = OwnHistory(cases=own_runs)
    return judge_by_prior(cases, design, evolve(prior, own=own, machine_spread=machine_spread))


def learn_from_others(others: Cases, design: tuple[int, int]) -> Prior:
    """Return what these cases teach for one way to rehearse, without a spread between machines."""
    form = learn_form(others)
    groups = fit(prediction.residual for prediction in predict_all(others, design, form))
    return Prior(groups, _UNUSED_BOUND, form=form)


def judge_by_prior(cases: Cases, design: tuple[int, int], prior: Prior) -> list[Judged]:
    """Judge cases by a prior that was learned from others."""
    return judge_predictions(predict_all(cases, design, prior.form), prior)


def judge_predictions(predictions: Sequence[Prediction], prior: Prior) -> list[Judged]:
    """Judge predictions by a prior that their cases did not teach."""
    return [Judged(prediction, _find_law(prediction, prior)) for prediction in predictions]


def _find_law(prediction: Prediction, prior: Prior) -> ErrorLaw | None:
    residual = prediction.residual
    if prediction.replanned:
        return None
    return prior.find_law(residual.kind, residual.regime, residual.times, residual.ms)


def resample_range(
    judged: Sequence[Judged], measure: Callable[[Sequence[Judged]], float]
) -> tuple[float, float]:
    """Return the 90 % range of a measure when whole cases are drawn again and again."""
    by_case = defaultdict(list)
    for judgement in judged:
        by_case[judgement.case].append(judgement)
    draw = random.Random(6)
    names = sorted(by_case)
    found = sorted(
        measure([judgement for name in draw.choices(names, k=len(names)) for judgement in by_case[name]])
        for _ in range(_RESAMPLED)
    )
    return found[len(found) // 20], found[-len(found) // 20]


def compute_coverage(judged: Sequence[Judged], share: float) -> float:
    """Return how often the truth was inside the interval of this probability."""
    return fmean(judgement.covers(share) for judgement in judged)


def compute_median_error(judged: Sequence[Judged]) -> float:
    """Return the median absolute error, relative to the estimate."""
    return median(judgement.error for judgement in judged)


def compute_median_width(judged: Sequence[Judged]) -> float:
    """Return the median width of the 90 % interval, as a factor."""
    return median(judgement.sure.width for judgement in judged)
