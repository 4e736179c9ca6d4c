"""The text alone tells long blocks as well as it is to."""

from tests.accuracy.cases import read_cases
from tests.accuracy.static import figures, measured, told_by_text


def test_the_static_rules_reach_their_figures():
    cases = [case for case in read_cases() if told_by_text(case)]

    wrong, *counts = measured(cases)

    assert len(cases) > 60
    assert [figure.name for figure in figures(*counts) if not figure.good] == [], wrong
