"""Laws: intervals, the probability of being near, and what widens them."""

import math
from statistics import NormalDist

import pytest

from confiture.estimate.error_law import SHARES, ErrorLaw
from tests.calibration.quantiles import compute_weighted_quantiles


def build_normal_law(spread: float, middle: float = 0.0) -> ErrorLaw:
    """Return a law with normal errors."""
    return ErrorLaw(tuple(NormalDist(middle, spread).inv_cdf(share) for share in SHARES))


def test_the_middle_half_is_between_the_quartiles():
    law = build_normal_law(0.2)

    assert law.find_quantile(0.75) == pytest.approx(0.2 * 0.6745, abs=1e-3)


def test_the_probability_of_being_near_is_that_of_the_law():
    law = build_normal_law(0.1, middle=0.3)
    expected = NormalDist(0, 0.1).cdf(math.log(1.15)) - NormalDist(0, 0.1).cdf(math.log(0.85))

    assert law.compute_near_percent() == pytest.approx(100 * expected, abs=1.0)


def test_one_is_never_quite_sure():
    assert build_normal_law(0.001).compute_near_percent() < 100


def test_another_host_widens_the_interval_and_keeps_the_middle():
    law = build_normal_law(0.1, middle=0.05)

    wider = law.widen(0.28)

    assert wider.median == law.median
    assert wider.width == pytest.approx(math.exp(1.645 * math.hypot(0.1, 0.28)), rel=0.01)
    assert wider.compute_near_percent() < law.compute_near_percent()


def test_quantiles_count_weights():
    few, many = (0.0, 1.0), (1.0, 9.0)

    (middle,) = compute_weighted_quantiles([few, many], (0.5,))

    assert middle > 0.8


def test_a_law_is_made_no_surer_than_a_repetition_and_keeps_its_middle():
    sure, repeated = build_normal_law(0.05, middle=0.3), build_normal_law(0.1)

    law = sure.widen_to(repeated)

    assert law.median == sure.median
    assert law.compute_near_percent() == pytest.approx(repeated.compute_near_percent(), abs=0.5)
    assert build_normal_law(0.2).widen_to(repeated) == build_normal_law(0.2)
