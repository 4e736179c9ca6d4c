"""Where statements, hooks and locks stand on a migration's timeline."""

from __future__ import annotations

from itertools import pairwise

import pytest

from confiture.models.report import HookReport, MigrationReport, StatementReport
from confiture.output.timeline import Timeline, build_timeline
from tests.page.samples import exclusive, index, share, wide


def drawn(**facts) -> Timeline:
    found = build_timeline(MigrationReport("1", "jam", "rehearsed", **{"duration_ms": 100.0, **facts}))
    assert found is not None
    return found


def statement(duration_ms: float, *locks) -> StatementReport:
    return StatementReport(1, "SELECT 1", duration_ms, locks=locks)


def test_hooks_stand_before_and_after_the_statements_by_their_phase():
    hooks = tuple(
        HookReport(phase, "p", "h", "kept", 10.0) for phase in ("before_ddl", "after_ddl", "cleanup")
    )

    found = drawn(hooks=hooks, statements=(statement(20.0), statement(30.0)))

    assert [(hook.number, hook.x) for hook in found.hooks] == [("h1", 0), ("h2", 60), ("h3", 70)]
    assert [(segment.number, segment.x, segment.width) for segment in found.statements] == [
        ("1", 10, 20),
        ("2", 30, 30),
    ]


def test_a_lock_stands_from_its_acquisition_to_the_end():
    (lane,) = drawn(statements=(statement(10.0), statement(50.0, exclusive("public.t", 75.0)))).lanes

    assert [(bar.x, bar.width, bar.tone, bar.vague) for bar in lane.bars] == [(25, 75, "both", False)]
    assert lane.description == "blocks reads and writes for 75 ms"


def test_a_transient_lock_stands_in_its_statement():
    (lane,) = drawn(
        statements=(statement(10.0), statement(50.0, share("public.t", 5.0, transient=True)))
    ).lanes

    assert [(bar.x, bar.width, bar.tone) for bar in lane.bars] == [(10, 5, "writes")]


def test_a_lock_of_no_known_time_says_so():
    (lane,) = drawn(locks=(exclusive("public.t", None),)).lanes

    assert lane.bars[0].vague
    assert lane.bars[0].title.endswith("start not measured")


def test_a_lock_that_is_strengthened_is_two_bars_in_one_lane_the_strongest_on_top():
    (lane,) = drawn(
        statements=(statement(10.0, exclusive("public.t", 40.0)), statement(10.0, share("public.t", 90.0)))
    ).lanes

    assert [bar.tone for bar in lane.bars] == ["writes", "both"]
    assert lane.tone == "both"


def test_long_blocks_come_first_then_what_blocks_most_for_longest():
    locks = (
        index("public.i", 99.0),
        share("public.w", 80.0),
        exclusive("public.b", 10.0),
        share("public.long", 5.0),
        exclusive("public.a", 20.0),
    )

    found = drawn(statements=(statement(100.0, *locks),), long_blocks=("public.long",))

    assert [lane.relation.removeprefix("public.") for lane in found.lanes] == ["long", "a", "b", "w", "i"]


def test_numbers_never_touch_and_stay_inside_the_track():
    found = drawn(duration_ms=None, statements=tuple(statement(0.5 + n % 7) for n in range(300)))

    half = 50 * (3 * 8 + 2) / 290
    labels = sorted(segment.label_x for segment in found.statements if segment.label_x is not None)
    assert len(labels) > 5
    assert labels[0] >= 50 * 10 / 290
    assert labels[-1] <= 100 - half + 0.01
    assert all(after - before > 50 * 10 / 290 for before, after in pairwise(labels))


@pytest.mark.parametrize("total_ms", [0.05, 0.3, 1.0, 4.99, 7.0, 99.0, 1000.0, 61_000.0, 7_200_000.0])
def test_the_axis_has_few_labels_clear_of_each_other(total_ms):
    marks = drawn(duration_ms=total_ms, locks=(exclusive("public.t", total_ms),)).marks

    assert 2 <= len(marks) <= 4
    assert (marks[0].x, marks[-1].x) == (0, 100)
    assert all(after.x - before.x >= 25 for before, after in pairwise(marks))


def test_everything_stays_between_begin_and_end():
    found = drawn(
        statements=(statement(400.0, exclusive("public.t", 5_000.0)),),
        hooks=(HookReport("on_error", None, "h", "kept", 0.0),),
    )

    spans = [(segment.x, segment.width) for segment in (*found.statements, *found.hooks)]
    spans += [(bar.x, bar.width) for bar in found.lanes[0].bars]
    assert all(0 <= x < x + width <= 100.01 for x, width in spans)


def test_very_many_statements_are_drawn_up_to_a_limit():
    assert len(drawn(statements=tuple(statement(1.0) for _ in range(5_000))).statements) == 400


@pytest.mark.parametrize(
    "facts",
    [{}, {"duration_ms": 0.0}, {"duration_ms": None, "statements": (statement(0.0),)}, {"duration_ms": 5.0}],
)
def test_where_there_is_nothing_to_draw_nothing_is(facts):
    assert build_timeline(MigrationReport("1", "jam", "rehearsed", **facts)) is None


def test_one_lane_a_relation():
    (migration,) = wide(30).migrations
    found = build_timeline(migration)

    assert found is not None
    assert len(found.lanes) == 30
