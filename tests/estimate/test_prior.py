"""The prior: learned from the timings, shipped with the package, wider the farther one looks."""

import pytest

from confiture.estimate.error_law import SHARES, ErrorLaw
from confiture.estimate.prior import CatalogBound, OwnHistory, Prior, Regime, load_shipped
from tests.calibration.fit import FEWEST_CASES, Residual, fit
from tests.calibration.judge import judge_by_folds
from tests.calibration.learn import PRIOR, learn_all, render_prior
from tests.calibration.timings import DESIGNS, FILE, read_cases

pytestmark = pytest.mark.slow

WITHIN, CROSSING = Regime(3, 2, False), Regime(3, 2, True)
KINDS = ("scan", "rewrite", "index", "dml", "matview")


def build_residuals(kind: str, values: list[float], regime: Regime = WITHIN) -> list[Residual]:
    """Return one residual of each of several cases."""
    return [
        Residual(f"{kind}{number}", kind, regime, 10.0, 100.0, value) for number, value in enumerate(values)
    ]


def test_what_is_shipped_is_what_the_timings_teach():
    assert PRIOR.read_text() == render_prior(learn_all())


def test_every_way_to_rehearse_is_known():
    known = load_shipped().groups

    assert set(known) == {Regime(*design, crosses) for design in DESIGNS for crosses in (False, True)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_farther_one_looks_the_wider_the_interval(kind):
    prior = load_shipped()

    near, far = (prior.find_law(kind, WITHIN, times, 50.0) for times in (10, 100))

    assert near
    assert far
    assert near.width < far.width


@pytest.mark.parametrize("kind", KINDS)
def test_the_shorter_a_rehearsal_took_the_wider_the_interval(kind):
    prior = load_shipped()

    short, long = (prior.find_law(kind, WITHIN, 10, ms) for ms in (2.0, 200.0))

    assert short
    assert long
    assert short.width > long.width


def test_the_spread_between_machines_shrinks_with_the_users_own_runs():
    law = ErrorLaw(tuple(0.0 for _ in SHARES))

    none, some, many = (OwnHistory(cases=cases).correct(law, 0.1).width for cases in (0, 10, 1000))

    assert none > some > many > 1.0


def test_leaving_memory_widens_the_interval():
    prior = load_shipped()

    widths = [law.width for regime in (WITHIN, CROSSING) if (law := prior.find_law("dml", regime, 30, 50.0))]

    assert widths[0] < widths[1]


def test_at_the_same_size_the_class_does_not_matter():
    prior = load_shipped()

    assert prior.find_law("dml", WITHIN, 1.0, 50.0) == prior.find_law("scan", WITHIN, 1.0, 50.0)


def test_too_few_cases_teach_nothing():
    assert fit(build_residuals("index", [0.1] * (FEWEST_CASES - 1))) == {}
    assert Prior({}, CatalogBound(2.0, 1.0)).find_law("index", WITHIN, 10, 50.0) is None


def test_errors_of_one_sign_shift_no_estimate():
    learned = fit(build_residuals("dml", [0.4, 0.3, 0.35, 0.2]))

    law = learned[WITHIN].find_law("dml", 10, 100.0)

    assert law.median == 0.0
    assert law.find_quantile(0.05) == pytest.approx(-law.find_quantile(0.95))


def test_a_class_with_larger_errors_has_a_larger_spread():
    learned = fit(
        [
            *build_residuals("dml", [0.5, -0.52, 0.48, -0.5]),
            *build_residuals("index", [0.1, 0.12, -0.12, -0.1]),
        ]
    )

    spreads = learned[WITHIN].spreads

    # The errors are five times as large. Four cases that agree are no proof, so the class with the smaller
    # ones is drawn towards the other.
    assert 2 * spreads["index"] < spreads["dml"] < 5 * spreads["index"]


def test_a_class_that_was_never_timed_has_the_spread_of_all():
    learned = fit(build_residuals("dml", [0.4, -0.4, 0.3, -0.2]))

    assert learned[WITHIN].find_law("matview", 10, 100.0).width == pytest.approx(
        learned[WITHIN].find_law("dml", 10, 100.0).width, rel=0.2
    )


def test_a_catalog_change_has_a_bound_and_never_less_than_the_least():
    catalog = CatalogBound(times=3.0, least_ms=2.0)

    assert (catalog.compute_bound_ms(0.1), catalog.compute_bound_ms(4.0)) == (2.0, 12.0)


def test_no_case_is_judged_by_what_it_taught():
    """Without a case's own residuals its law is another than with them."""
    cases = read_cases(FILE)[::3]
    judged = judge_by_folds(cases, (3, 2))
    regimes = {judgement.prediction.residual.regime for judgement in judged}

    assert regimes == {WITHIN, CROSSING}
    assert all(
        judgement.law
        != load_shipped().find_law(
            judgement.prediction.residual.kind,
            judgement.prediction.residual.regime,
            judgement.prediction.residual.times,
            judgement.prediction.residual.ms,
        )
        for judgement in judged
        if judgement.prediction.residual.times > 1
    )
