"""The judge is judged: what is wrong is counted as wrong, what is right as right."""

from __future__ import annotations

import pytest
from attrs import evolve

from tests.accuracy.cases import Case, Facts, read_cases, spell_name
from tests.accuracy.compare import Outcome, compare
from tests.accuracy.digests import find_differences
from tests.accuracy.figures import compute_figures
from tests.accuracy.live import Waiting
from tests.accuracy.rehearse_case import Answer

JAM = frozenset({"public.jam"})
TRUTH = Facts(
    locks={"public.jam": "ShareLock"},
    builds=frozenset({"new@public.jam"}),
    scans=JAM,
    writes=JAM,
    long=True,
)
CASE = Case("X1", "tx", "", "CREATE INDEX ON jam(fruit)", {})
REAL = Waiting(reads=frozenset(), writes=JAM)


def judged(facts: Facts = TRUTH, truth: Facts = TRUTH, **more) -> Outcome:
    return compare(CASE, truth, Answer("transaction", facts, **more), REAL)


def test_the_truth_is_not_wrong():
    outcome = judged()

    assert outcome.wrong == ()
    assert (outcome.true_locks, outcome.found_locks, outcome.said_locks) == (1, 1, 1)
    assert all(figure.good for figure in compute_figures([outcome]))


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"locks": {}}, "locks"),
        ({"locks": {"public.jam": "ExclusiveLock"}}, "locks"),
        ({"locks": {"public.jam": "ShareLock", "public.tea": "ShareLock"}}, "locks"),
        ({"rewrites": JAM}, "rewrites"),
        ({"builds": frozenset()}, "builds"),
        ({"scans": frozenset()}, "scans"),
        ({"reads": JAM}, "blocks reads"),
        ({"writes": frozenset()}, "blocks writes"),
        ({"long": False}, "long block"),
        ({"error": "42601 syntax error"}, "error"),
    ],
)
def test_one_wrong_answer_spoils_its_figure(change, figure):
    outcome = judged(evolve(TRUTH, **change))

    assert figure in {wrong.figure for wrong in outcome.wrong}
    assert not all(item.good for item in compute_figures([outcome]))


def test_the_third_session_is_believed_over_the_table():
    outcome = judged(evolve(TRUTH, writes=frozenset()), evolve(TRUTH, writes=frozenset()))

    assert [wrong.figure for wrong in outcome.wrong] == ["really blocks writes"]


def test_what_is_declared_not_seen_is_not_missed_but_counted():
    outcome = judged(evolve(TRUTH, locks={}), not_seen=(("public.jam", "lock"),))

    assert (outcome.true_locks, outcome.wrong, outcome.declared) == (0, (), True)
    assert [figure.name for figure in compute_figures([outcome]) if not figure.good] == [
        "locks: cases with some not seen"
    ]


def test_a_part_of_the_cases_may_have_one_with_locks_that_are_not_seen():
    outcome = judged(evolve(TRUTH, locks={}), not_seen=(("public.jam", "lock"),))

    assert all(figure.good for figure in compute_figures([outcome], part=True))
    assert not all(figure.good for figure in compute_figures([outcome, outcome], part=True))


def test_scans_declared_not_seen_are_no_declared_lock():
    outcome = judged(evolve(TRUTH, scans=frozenset()), not_seen=((None, "scans"),))

    assert (outcome.wrong, outcome.declared) == ((), False)


def test_what_was_locked_for_a_moment_is_not_asked_of_a_look_at_the_end():
    brief = evolve(TRUTH, writes=frozenset(), transient=JAM)

    outcome = judged(evolve(TRUTH, transient=JAM), brief)

    assert outcome.wrong == ()


def test_a_refusal_is_wrong_where_the_migration_is_right():
    outcome = judged(refused="no")

    assert [wrong.figure for wrong in outcome.wrong] == ["refused"]


def test_a_refusal_is_right_where_the_migration_is_faulty():
    outcome = judged(truth=evolve(TRUTH, error="25001 not in a transaction"), refused="no")

    assert outcome.wrong == ()


def test_what_is_left_behind_is_wrong():
    outcome = judged(
        unequal=find_differences({"pg_class": "a", "jam": "b"}, {"pg_class": "a", "jam": "c", "tea": "d"})
    )

    assert [str(wrong) for wrong in outcome.wrong] == ["X1: afterwards: expected all as before, got jam, tea"]


def test_names_are_spelled_as_a_report_spells_them():
    names = [spell_name(name) for name in ("jam", "app.jam", "Odd Table")]

    assert names == ["public.jam", "app.jam", 'public."Odd Table"']


def test_a_version_that_differs_has_its_own_truth():
    (case,) = (item for item in read_cases("locks.tsv") if item.id == "C107")

    old, new = case.truth(14), case.truth(18)

    assert old == Facts(error='42601 syntax error at or near "ACCESS"')
    assert new is not None
    assert new.locks == {"public.ledger": "AccessExclusiveLock"}


def test_nothing_is_known_of_a_version_that_nobody_looked_at():
    (case,) = (item for item in read_cases("locks.tsv") if item.id == "C001")

    assert case.truth(99) is None


def test_every_row_can_be_read_for_every_version():
    cases = read_cases()

    unread = [case.id for case in cases if None in [case.truth(major) for major in (14, 15, 16, 17, 18)]]

    assert cases
    assert unread == []
