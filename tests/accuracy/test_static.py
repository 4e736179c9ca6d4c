"""The text alone tells long blocks as well as it is to."""

from tests.accuracy.cases import read_cases
from tests.accuracy.static import compare_all, compute_figures, is_visible_in_text


def test_the_static_rules_reach_their_figures():
    cases = [case for case in read_cases() if is_visible_in_text(case)]

    wrong, *counts = compare_all(cases)

    assert len(cases) > 60
    assert [figure.name for figure in compute_figures(*counts) if not figure.good] == [], wrong
