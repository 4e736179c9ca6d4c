"""What was measured is held against the limits; what is not known counts as too much."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confiture.gate.judge import judge_report
from confiture.models.report import (
    Blocks,
    Estimate,
    Finding,
    HookReport,
    MigrationReport,
    NotSeen,
    StatementReport,
)
from tests.gate.reports import ORDERS, lock, migration, policy, rehearsal, statement

ALL = ("max_block", "max_duration", "max_hook_duration", "max_rewritten", "max_wal")
GENEROUS = {"max_rewritten": "1TB", "max_wal": "1TB"}


def over(*migrations: MigrationReport, **limits: Any) -> list[Finding]:
    return list(judge_report(rehearsal(*migrations), policy(**limits)).findings)


def hook(duration_ms: float = 1.0, **more: Any) -> HookReport:
    return HookReport("after_ddl", "backfill", "fill", "kept", duration_ms, **more)


class TestBlocking:
    """``max_block`` and ``max_block_of``."""

    def test_a_table_blocked_for_too_long_is_named_with_its_line(self):
        (found,) = over(migration(statement(4), statement(7, locks=(lock(2_500.0),))), max_block="2s")

        assert (found.rule, found.severity, found.basis) == ("limit-block", "error", "measured")
        assert (found.file, found.line, found.relation) == ("migrations/1_jam.sql", 7, ORDERS)
        assert found.message == "writes of public.orders blocked for 2.5 s, limit 2s"

    def test_as_long_as_the_limit_is_not_too_long(self):
        assert over(migration(statement(locks=(lock(2_000.0),))), max_block="2s") == []

    def test_a_table_may_have_a_limit_of_its_own_stricter_or_not(self):
        taken = (lock(600.0), lock(2_500.0, "public.archive"), lock(600.0, "public.jam"))
        own = {ORDERS: "500ms", "public.archive": "1h"}

        found = over(migration(statement(locks=taken)), max_block="2s", max_block_of=own)

        assert [finding.relation for finding in found] == [ORDERS]

    def test_only_the_tables_named_are_limited_where_there_is_no_limit_for_all(self):
        taken = (lock(600.0), lock(600.0, "public.jam"))

        found = over(migration(statement(locks=taken)), max_block_of={"public.jam": "500ms"})

        assert [finding.relation for finding in found] == ["public.jam"]

    def test_a_lock_of_a_hook_counts_and_has_no_line(self):
        (found,) = over(migration(hooks=(hook(locks=(lock(3_000.0),)),)), max_block="2s")

        assert (found.relation, found.line) == (ORDERS, None)

    def test_a_lock_that_was_gone_before_the_end_counts(self):
        assert over(migration(statement(locks=(lock(3_000.0, transient=True),))), max_block="2s")

    def test_a_lock_that_blocks_neither_reads_nor_writes_does_not_count(self):
        index = lock(3_000.0, "public.orders_pkey")

        assert over(migration(locks=(_blocking_nothing(index),)), max_block="2s") == []

    @pytest.mark.parametrize(("held_ms", "count"), [(1_000.0, 0), (3_000.0, 1)])
    def test_blocked_by_another_relations_lock_is_as_long_as_the_longest(self, held_ms, count):
        index = _blocking_nothing(lock(held_ms, "public.orders_pkey"))

        found = over(migration(locks=(index,), blocks=Blocks(reads=(ORDERS,))), max_block="2s")

        assert [finding.relation for finding in found] == [ORDERS] * count

    def test_a_time_that_was_not_measured_is_too_long(self):
        (found,) = over(migration(statement(2, locks=(lock(None),))), max_block="24d")

        assert (found.line, found.basis) == (2, "static")
        assert found.message == (
            "cannot check max_block = 24d (unknown counts as exceeded): "
            "how long public.orders was blocked was not measured"
        )


def _blocking_nothing(each: Any) -> Any:
    from attrs import evolve

    return evolve(each, kind="index", blocks=())


class TestTogether:
    """Limits of the whole plan."""

    def test_durations_are_added_up(self):
        found = over(migration(version="1"), migration(version="2", duration_ms=15.0), max_duration="20ms")

        assert [(finding.rule, finding.migration) for finding in found] == [("limit-duration", "2")]
        assert found[0].message == "the migrations took 25 ms, limit 20ms"

    def test_bytes_rewritten_are_added_up_and_the_largest_is_named(self):
        small = statement(1, rewrites=(ORDERS,), rewritten_bytes=400_000)
        large = statement(9, rewrites=("public.jam",), rewritten_bytes=700_000)

        (found,) = over(migration(small, large), max_rewritten="1MB")

        assert (found.rule, found.line) == ("limit-rewritten", 9)
        assert found.message == "rewritten tables and indexes total 1.1 MB, limit 1MB"

    def test_wal_of_statements_and_hooks_is_added_up(self):
        made = migration(statement(wal_bytes=600), hooks=(hook(wal_bytes=600),))

        assert [finding.rule for finding in over(made, max_wal="1kB")] == ["limit-wal"]
        assert over(made, max_wal="1.2kB") == []

    def test_no_rewrite_is_nothing_rewritten(self):
        assert over(migration(statement()), max_rewritten="0B") == []

    @pytest.mark.parametrize(
        ("made", "limit", "why"),
        [
            (
                migration(statement(rewrites=(ORDERS,))),
                "max_rewritten",
                "the size of the rewritten public.orders",
            ),
            (migration(rewrites=(ORDERS,)), "max_rewritten", "the size of the rewritten public.orders"),
            (migration(statement()), "max_wal", "the WAL of a statement or hook was not measured"),
            (migration(hooks=(hook(),)), "max_wal", "the WAL of a statement or hook was not measured"),
            (migration(duration_ms=None), "max_duration", "its duration was not measured"),
        ],
    )
    def test_what_was_not_measured_is_too_much(self, made, limit, why):
        (found,) = over(made, **({"max_duration": "24d"} if limit == "max_duration" else {limit: "1TB"}))

        assert why in found.message
        assert found.severity == "error"


class TestHooksAndEstimates:
    """Limits of one hook, and of production."""

    def test_a_slow_hook_is_named(self):
        (found,) = over(migration(hooks=(hook(80.0), hook(5.0))), max_hook_duration="50ms")

        assert found.message == "hook backfill after_ddl fill took 80 ms, limit 50ms"

    @pytest.mark.parametrize(("upper_ms", "count"), [(9_000.0, 0), (11_000.0, 1)])
    def test_the_upper_end_of_the_interval_is_limited(self, upper_ms, count):
        estimate = Estimate(known=True, interval90_ms=(1.0, upper_ms))

        assert len(over(migration(estimate=estimate), max_estimated="10s")) == count

    @pytest.mark.parametrize("estimate", [None, Estimate(known=False, reason="no rows to rehearse on")])
    def test_an_unknown_estimate_is_too_long(self, estimate):
        (found,) = over(migration(estimate=estimate), max_estimated="24d")

        assert "cannot check" in found.message
        assert ("no rows" if estimate else "no estimate") in found.message


class TestUnknown:
    """A limit that could not be evaluated fails closed."""

    @pytest.mark.parametrize("limit", ALL)
    @pytest.mark.parametrize(
        "made",
        [
            migration(statement(5, not_rehearsed="it needs the commit", wal_bytes=0)),
            migration(outcome="not_rehearsed", reason="it needs the commit"),
        ],
        ids=["statement", "migration"],
    )
    def test_what_was_not_rehearsed_fails_every_limit(self, limit, made):
        (found,) = over(made, **{limit: GENEROUS.get(limit, "24d")})

        assert found.message.endswith("it needs the commit")
        assert found.line == (5 if made.statements else None)

    @pytest.mark.parametrize(
        ("what", "failing"),
        [
            ("scans", []),
            ("locks", ["max_block"]),
            ("AccessExclusiveLock", ["max_block"]),
            ("long blocks", [*ALL]),
        ],
    )
    def test_what_was_not_seen_fails_the_limits_that_it_matters_to(self, what, failing):
        made = migration(statement(wal_bytes=0), not_seen=(NotSeen(ORDERS, what, "it is hidden"),))

        found = [limit for limit in ALL if over(made, **{limit: GENEROUS.get(limit, "24d")})]

        assert found == failing

    def test_nothing_fails_where_no_limit_is_set(self):
        made = migration(statement(not_rehearsed="why"), not_seen=(NotSeen(None, "locks", "why"),))

        assert over(made) == []


TIMES = st.integers(0, 5_000)
STATEMENTS = st.lists(
    st.builds(
        lambda held, wal, bytes_: statement(
            locks=(lock(held),), wal_bytes=wal, rewrites=(ORDERS,), rewritten_bytes=bytes_
        ),
        st.one_of(st.none(), TIMES.map(float)),
        st.one_of(st.none(), TIMES),
        st.one_of(st.none(), TIMES),
    ),
    max_size=4,
)


@given(STATEMENTS, TIMES, st.integers(0, 1_000))
def test_raising_a_limit_never_fails_more(statements: list[StatementReport], limit: int, more: int):
    made = migration(*statements, duration_ms=100.0)

    def failing(most: int) -> set[tuple[str, str | None]]:
        times = dict.fromkeys(("max_block", "max_duration", "max_hook_duration"), f"{most}ms")
        sizes = dict.fromkeys(("max_rewritten", "max_wal"), f"{most}B")
        return {(finding.rule, finding.relation) for finding in over(made, **times, **sizes)}

    assert failing(limit + more) <= failing(limit)


@given(STATEMENTS.filter(bool))
def test_with_anything_unknown_no_limit_is_high_enough(statements: list[StatementReport]):
    unknown_block = any(statement.locks[0].held_ms is None for statement in statements)
    unknown_wal = any(statement.wal_bytes is None for statement in statements)
    unknown_size = any(statement.rewritten_bytes is None for statement in statements)

    found = {
        finding.rule
        for finding in over(migration(*statements), max_block="24d", max_wal="1TB", max_rewritten="1TB")
    }

    assert ("limit-block" in found) is unknown_block
    assert ("limit-wal" in found) is unknown_wal
    assert ("limit-rewritten" in found) is unknown_size
