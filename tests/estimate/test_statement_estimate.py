"""Predictions: an interval, a bound, or the right reason why it is not known."""

from typing import Any

import pytest
from attrs import evolve

from confiture.estimate.statement_estimate import RehearsedStatement, predict, predict_hook, sum_predictions
from confiture.estimate.statistics import ColumnStatistics, Probe, Statistics
from confiture.models.report import HookReport
from tests.estimate.production import (
    LOCKED,
    ORDERS,
    build_index,
    build_index_statement,
    build_rehearsal,
    build_statement,
    build_statistics,
    build_table,
    build_trigger,
)

UPDATE = build_statement("UPDATE orders SET id = id", scans=(ORDERS,))


def estimate_production(rehearsals: list[RehearsedStatement], production: Statistics) -> Any:
    """Return what the report says of a statement."""
    return predict(rehearsals, production).estimate


def read_unknown(ran: RehearsedStatement, production) -> tuple[str, str]:
    """Return reason and advice of what is not to be known."""
    estimate = estimate_production([ran], production)
    assert not estimate.known
    assert (estimate.p50_ms, estimate.confidence_percent, estimate.interval90_ms) == (None, None, None)
    return str(estimate.reason), str(estimate.advice)


def test_ten_times_the_rows_take_more_than_ten_times_as_long():
    estimate = estimate_production([build_rehearsal()], build_statistics(build_table(1_000_000)))

    assert estimate.known
    low, high = estimate.interval90_ms
    inner_low, inner_high = estimate.interval50_ms
    assert 3_000 < low < inner_low < estimate.p50_ms < inner_high < high < 15_000
    assert 0 < estimate.confidence_percent < 100
    assert estimate.scales_with == f"the rows of {ORDERS}"


def test_the_same_size_is_predicted_to_take_about_the_same():
    estimate = estimate_production([build_rehearsal()], build_statistics(build_table(100_000)))

    assert estimate.p50_ms == pytest.approx(500, rel=0.1)


def test_more_runs_narrow_the_interval():
    production = build_statistics(build_table(1_000_000))
    once = estimate_production([build_rehearsal()], production)
    repeated = RehearsedStatement(build_statistics(build_table(100_000)), (build_statement(ms=500.0),) * 3)

    often = estimate_production([repeated], production)

    def width(estimate):
        return estimate.interval90_ms[1] / estimate.interval90_ms[0]

    assert width(often) < width(once)


def test_another_configuration_widens_the_interval():
    alike = estimate_production([build_rehearsal()], build_statistics(build_table(1_000_000)))
    other = estimate_production([build_rehearsal()], build_statistics(build_table(1_000_000), work_mem=1))

    assert other.interval90_ms[1] > alike.interval90_ms[1]
    assert other.confidence_percent < alike.confidence_percent


def test_a_slower_machine_takes_longer():
    slow = evolve(build_statistics(build_table(1_000_000)), probe=Probe(800.0, 0.1))

    estimate = estimate_production([build_rehearsal()], slow)

    assert (
        estimate.p50_ms
        > 1.9 * estimate_production([build_rehearsal()], build_statistics(build_table(1_000_000))).p50_ms
    )


def test_a_catalog_change_gets_a_bound_and_no_percentage():
    ran = build_rehearsal(ran=build_statement("ALTER TABLE orders ADD x int", ms=0.4, locks=(LOCKED,)))

    estimate = estimate_production([ran], build_statistics(build_table(90_000_000)))

    assert estimate.known
    assert (estimate.p50_ms, estimate.confidence_percent, estimate.scales_with) == (None, None, None)
    assert estimate.interval90_ms[0] == 0
    assert 0.4 < estimate.interval90_ms[1] < 20
    assert "at most" in estimate.reason


def test_thin_data_asks_for_the_rows_that_would_do():
    reason, advice = read_unknown(build_rehearsal(800), build_statistics(build_table(10_000_000)))

    assert "12,500 times" in reason
    assert advice == f"rehearse on at least 100,000 rows of {ORDERS}; this database has 800"


def test_a_database_a_million_times_smaller_is_told_so():
    reason, advice = read_unknown(build_rehearsal(100), build_statistics(build_table(100_000_000)))

    assert "1,000,000 times" in reason
    assert "at least 1,000,000 rows" in advice


def test_what_was_too_quick_to_measure_asks_for_more_rows():
    ran = build_rehearsal(20_000, build_statement(ms=0.2, scans=(ORDERS,), locks=(LOCKED,)))

    reason, advice = read_unknown(ran, build_statistics(build_table(1_000_000)))

    assert "took 0.2 ms" in reason
    assert "at least 150,000 rows" in advice


def test_production_that_was_never_analysed_is_to_be_analysed():
    reason, advice = read_unknown(build_rehearsal(), build_statistics(build_table(None)))

    assert "no statistics" in reason
    assert "ANALYZE public.orders" in advice


def test_a_table_that_production_lacks():
    reason, advice = read_unknown(build_rehearsal(), build_statistics())

    assert "is not in production's statistics" in reason
    assert "rehearse with its new statistics" in advice


def test_a_table_that_is_empty_here_and_full_there():
    reason, _ = read_unknown(
        build_rehearsal(0, build_index_statement()), build_statistics(build_table(1_000_000))
    )

    assert "it is empty here" in reason


def test_what_found_nothing_to_scan_in_an_empty_table_is_no_catalog_change():
    ran = build_rehearsal(
        0, build_statement("ALTER TABLE orders ALTER id SET NOT NULL", ms=0.3, locks=(LOCKED,))
    )

    reason, _ = read_unknown(ran, build_statistics(build_table(1_000_000)))

    assert "it is empty here" in reason


def test_a_table_that_is_empty_there_gets_a_bound():
    estimate = estimate_production([build_rehearsal()], build_statistics(build_table(0)))

    assert estimate.known
    assert estimate.p50_ms is None


def test_an_index_of_a_table_that_the_migration_makes_gets_a_bound():
    estimate = estimate_production(
        [RehearsedStatement(build_statistics(), (build_index_statement(),))], build_statistics()
    )

    assert estimate.known
    assert estimate.confidence_percent is None


def test_another_schema_names_what_differs():
    other = build_table(1_000_000, columns=(ColumnStatistics("id", "bigint", 8, -1.0, 0.0),))

    reason, _ = read_unknown(build_rehearsal(), build_statistics(other))

    assert "different columns in production: id" in reason


def test_other_indexes_make_a_rewrite_unknown_and_an_index_build_not():
    production = build_statistics(
        build_table(1_000_000, indexes=(build_index("orders_pkey"), build_index("more")))
    )

    reason, advice = read_unknown(build_rehearsal(), production)

    assert "different indexes in production: more" in reason
    assert "the same indexes" in advice
    assert estimate_production([build_rehearsal(ran=build_index_statement())], production).known


def test_long_values_beside_the_table_make_it_unknown():
    reason, _ = read_unknown(
        build_rehearsal(), build_statistics(build_table(1_000_000, toast_bytes=5_000_000_000))
    )

    assert "5,000 bytes per row in TOAST in production, 0 here" in reason


def test_wider_rows_make_it_unknown():
    reason, _ = read_unknown(build_rehearsal(), build_statistics(build_table(1_000_000, pages=100_000)))

    assert "4.0 times the pages" in reason


@pytest.mark.parametrize("side", ["here", "there"])
def test_a_trigger_for_each_row_makes_an_update_unknown(side):
    triggers: dict[str, Any] = {side: {"triggers": (build_trigger(),)}}
    ran = build_rehearsal(ran=UPDATE, **triggers.get("here", {}))

    reason, _ = read_unknown(ran, build_statistics(build_table(1_000_000, **triggers.get("there", {}))))

    assert "trigger each_order" in reason


SCAN = {"Node Type": "Seq Scan", "Relation Name": "orders"}
BY_DAY = {"Node Type": "Index Scan", "Index Name": "by_day", "Relation Name": "orders"}
BY_ID = {**BY_DAY, "Index Name": "by_id"}
GATHER = {"Node Type": "Gather", "Plans": [SCAN]}


@pytest.mark.parametrize(
    ("here", "there", "change"),
    [
        (SCAN, BY_ID, "Index Scan using by_id on orders instead of Seq Scan on orders"),
        (BY_DAY, BY_ID, "Index Scan using by_id on orders instead of Index Scan using by_day on orders"),
        (SCAN, GATHER, "with Gather"),
        (GATHER, SCAN, "without Gather"),
    ],
)
def test_a_changed_plan_is_unknown_and_says_what_changes(here, there, change):
    ran = evolve(UPDATE, plan=[{"Plan": here}], production_plan=[{"Plan": there}])

    reason, _ = read_unknown(build_rehearsal(ran=ran), build_statistics(build_table(1_000_000)))

    assert reason == f"production will use another plan: {change}"


@pytest.mark.parametrize("harmless", [build_trigger(per_row=False), build_trigger(enabled=False)])
def test_a_trigger_that_does_not_run_for_each_row_is_no_reason(harmless):
    production = build_statistics(build_table(1_000_000, triggers=(harmless,)))

    assert estimate_production([build_rehearsal(ran=UPDATE)], production).known


def test_partitions_count_together():
    here = build_statistics(
        build_table(None, kind="partitioned", pages=0),
        build_table(50_000, "public.p1", parent=ORDERS),
        build_table(50_000, "public.p2", parent=ORDERS),
    )
    there = build_statistics(
        build_table(None, kind="partitioned", pages=0),
        *(build_table(100_000, f"public.p{number}", parent=ORDERS) for number in range(10)),
    )
    ran = build_statement("UPDATE orders SET id = id", scans=("public.p1", "public.p2"))

    estimate = estimate_production([RehearsedStatement(here, (ran,))], there)

    assert estimate.scales_with == f"the rows of {ORDERS}"
    assert 4_000 < estimate.p50_ms < 9_000


def test_a_statement_on_one_partition_does_not_grow_with_the_others():
    parent = build_table(None, kind="partitioned", pages=0)
    partitions = [build_table(50_000, f"public.p{number}", parent=ORDERS) for number in range(10)]
    here, there = build_statistics(parent, *partitions[:2]), build_statistics(parent, *partitions)
    ran = build_statement("UPDATE orders SET id = id WHERE at < 1", scans=("public.p1",))

    estimate = estimate_production([RehearsedStatement(here, (ran,))], there)

    assert estimate.scales_with == "the rows of public.p1"
    assert 400 < estimate.p50_ms < 600


def test_what_is_partitioned_on_one_side_only_is_unknown():
    there = build_statistics(
        build_table(None, kind="partitioned", pages=0), build_table(1_000_000, "public.p1", parent=ORDERS)
    )

    reason, _ = read_unknown(build_rehearsal(), there)

    assert "partitioned in production only" in reason


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DO $$ BEGIN UPDATE orders SET id = 1; END $$", "DO runs code"),
        ("-- so be it\nCALL tidy()", "CALL runs code"),
        ("CREATE INDEX CONCURRENTLY i ON orders (id)", "transactions of other sessions"),
        ("TRUNCATE orders", "TRUNCATE was never timed"),
        ("UPDATE orders SET id = 1 WHERE id = 2", "scanned no table"),
        ("INSERT INTO orders SELECT * FROM nothing", "scanned no table"),
    ],
)
def test_statements_of_no_class_say_why(sql, words):
    reason, advice = read_unknown(
        build_rehearsal(ran=build_statement(sql, locks=(LOCKED,))), build_statistics(build_table(1_000_000))
    )

    assert words in reason
    assert advice


def test_words_in_quotes_are_not_the_statements():
    ran = build_statement("COMMENT ON TABLE orders IS 'not CONCURRENTLY'", ms=0.2, locks=(LOCKED,))

    assert estimate_production([build_rehearsal(ran=ran)], build_statistics(build_table(1_000_000))).known


def test_what_was_not_rehearsed_is_unknown():
    ran = evolve(build_statement(), not_rehearsed="it waits for an earlier migration's commit")

    reason, _ = read_unknown(build_rehearsal(ran=ran), build_statistics(build_table(1_000_000)))

    assert "waits for an earlier migration's commit" in reason


def test_waiting_for_locks_is_kept_apart():
    ages = build_statistics(build_table(1_000_000), ages_s=(0.1, 2.0, 30.0))

    estimate = estimate_production([build_rehearsal()], ages)

    assert estimate.lock_wait_ms == 4000
    assert (
        estimate.p50_ms
        == estimate_production([build_rehearsal()], build_statistics(build_table(1_000_000))).p50_ms
    )


def test_transactions_that_may_not_be_seen_leave_the_waiting_unknown():
    assert (
        estimate_production(
            [build_rehearsal()], build_statistics(build_table(1_000_000), hidden=3)
        ).lock_wait_ms
        is None
    )


def test_waiting_for_locks_in_the_rehearsal_is_no_work():
    waited = evolve(build_statement(ms=5500.0), lock_wait_ms=5000.0)

    estimate = estimate_production([build_rehearsal(ran=waited)], build_statistics(build_table(100_000)))

    assert estimate.p50_ms == pytest.approx(500, rel=0.1)


def test_a_migration_takes_what_its_statements_take():
    production = build_statistics(build_table(1_000_000))
    single: Any = predict([build_rehearsal()], production)

    both: Any = sum_predictions([single, single])

    assert both.p50_ms == pytest.approx(2 * single.estimate.p50_ms)
    assert both.interval90_ms[1] == pytest.approx(2 * single.estimate.interval90_ms[1])
    assert both.confidence_percent == pytest.approx(single.estimate.confidence_percent)


def test_a_migration_with_an_unknown_part_is_unknown():
    known = predict([build_rehearsal()], build_statistics(build_table(1_000_000)))
    hook = predict_hook(HookReport("before_ddl", "jam", "jam", "kept", 3.0))

    assert not hook.estimate.known
    assert sum_predictions([known, hook]) == evolve(hook.estimate, lock_wait_ms=None)


@pytest.mark.parametrize(("wal_bytes", "known"), [(None, True), (8_192, True), (200_000, False)])
def test_a_quick_hook_that_wrote_much_and_reported_no_rows_is_unknown(wal_bytes, known):
    here, there = build_statistics(build_table(10_000)), build_statistics(build_table(1_000_000))
    hook = HookReport("after_ddl", "jam", "jam", "kept", 3.0, wal_bytes=wal_bytes)

    assert predict_hook(hook, here, there).estimate.known is known


def test_bounds_add_up_to_a_bound():
    ran = build_rehearsal(ran=build_statement("ALTER TABLE orders ADD x int", ms=0.4, locks=(LOCKED,)))
    single: Any = predict([ran], build_statistics(build_table(1_000_000)))

    both: Any = sum_predictions([single, single])

    assert both.interval90_ms[1] == pytest.approx(2 * single.estimate.interval90_ms[1])
    assert both.confidence_percent is None
