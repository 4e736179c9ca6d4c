"""A long plan fills a screen with what matters, in every format that people read."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from confiture.models.report import Fault, Lock, MigrationReport, Report, StatementReport
from confiture.output import html
from confiture.output.fold_migrations import describe_folded, fold_migrations
from confiture.output.markdown import render as render_markdown
from confiture.output.reporters import RenderContext
from confiture.output.summary import render_summary
from confiture.output.text import render

_LOCK = Lock("public.orders", "table", "AccessExclusiveLock", ("reads", "writes"), 900.0)


def _quiet(number: int) -> MigrationReport:
    statement = StatementReport(1, f"CREATE TABLE t{number} (id int)", 2.0)
    return MigrationReport(
        f"{number:03}", f"quiet_{number}", "rehearsed", duration_ms=3.0, statements=(statement,)
    )


def _long(number: int) -> MigrationReport:
    statement = StatementReport(1, "ALTER TABLE orders ALTER id TYPE bigint", 900.0, locks=(_LOCK,))
    return MigrationReport(
        f"{number:03}",
        f"long_{number}",
        "rehearsed",
        duration_ms=950.0,
        statements=(statement,),
        locks=(_LOCK,),
        long_blocks=("public.orders",),
    )


def _left_out(number: int) -> MigrationReport:
    return MigrationReport(
        f"{number:03}", f"left_{number}", "not_rehearsed", "line 1 cannot run inside a transaction"
    )


def _report(*migrations: MigrationReport, **facts: Any) -> Report:
    return evolve(Report("dry-run", "ok", 0, "18.1", migrations=migrations), **facts)


_MIXED = [
    _long(number) if number % 10 == 0 else _left_out(number) if number % 7 == 0 else _quiet(number)
    for number in range(300)
]


def test_three_hundred_migrations_fit_on_a_screen():
    lines = render(_report(*_MIXED), max_width=110).splitlines()

    assert len(lines) <= 40
    assert sum("long_" in line for line in lines) >= 10
    assert any("more migrations" in line and "(-v shows all)" in line for line in lines)
    assert not any("quiet_" in line for line in lines)


def test_v_unfolds_every_migration():
    text = render(_report(*_MIXED), verbose=True)

    assert all(f"quiet_{number}" in text for number in range(300) if number % 10 and number % 7)


def test_the_failed_migration_of_a_long_plan_is_shown_with_its_whole_error():
    fault = Fault(
        message='relation "jam" does not exist',
        sqlstate="42P01",
        detail="a detail",
        hint="a hint",
        phase="up",
    )
    failed = MigrationReport("299", "broken", "failed", error=fault)

    text = render(_report(*map(_long, range(299)), failed, outcome="failed", exit_code=4))

    for words in (
        "broken",
        'relation "jam" does not exist',
        "detail: a detail",
        "hint: a hint",
        "SQLSTATE 42P01",
    ):
        assert words in text


def test_twenty_migrations_are_not_folded():
    assert not fold_migrations([_quiet(number) for number in range(20)]).folded
    assert len(fold_migrations([_quiet(number) for number in range(21)]).folded) == 21


def test_the_line_of_the_folded_counts_what_they_did():
    pending = MigrationReport("9", "later", "pending")

    line = describe_folded([_quiet(1), _quiet(2), _left_out(3), _long(4), pending])

    assert line == (
        "5 more migrations in 956 ms: 3 rehearsed, 1 not rehearsed, 1 not reached, 1 with a long block"
    )


def test_markdown_folds_them_into_details():
    text = render_markdown(_report(*_MIXED), RenderContext())

    before, _, folded = text.partition("<details><summary>")
    assert "long\\_10" in before
    assert "quiet\\_1 " not in before
    assert "quiet\\_1 " in folded
    assert folded.count("</details>") == 1


def test_the_page_folds_them_into_details_with_everything_inside():
    page = html.render(_report(*_MIXED))

    before, _, folded = page.partition('<details class="card folded">')
    assert "long_10" in before
    assert "quiet_1<" not in before
    assert "quiet_1<" in folded
    assert 'href="#m2"' in folded
    assert 'id="m2"' in folded


@pytest.mark.parametrize(("in_transaction", "way"), [(True, True), (False, False)])
def test_where_many_are_not_rehearsed_that_comes_first_with_the_way_on(in_transaction: bool, way: bool):
    migrations = [*map(_left_out, range(72)), *map(_quiet, range(72, 167))]

    line = render_summary(_report(*migrations, in_transaction=in_transaction))

    assert line.startswith("72 of 167 migrations were not rehearsed")
    assert ("--in clone" in line) is way
    assert "95 migrations rehearsed" in line


def test_where_few_are_not_rehearsed_the_others_come_first():
    line = render_summary(_report(_left_out(0), *map(_quiet, range(1, 30))))

    assert line.startswith("29 migrations rehearsed")
    assert line.endswith("1 not rehearsed; nothing kept")


def test_the_time_in_the_summary_is_the_time_that_passed():
    assert (
        render_summary(_report(_quiet(1), elapsed_ms=23_000.0))
        == "1 migration rehearsed in 23.0 s, nothing kept"
    )
