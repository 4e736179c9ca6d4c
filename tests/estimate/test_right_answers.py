"""The right *unknown* or the right interval, through the command: thin, stale, odd and hostile statistics."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve

from confiture.estimate.statistics import ColumnStatistics, RelationStatistics, Statistics, to_json
from tests.estimate.production import export_quickly, grow

pytestmark = pytest.mark.slow

ORDERS = "public.orders"
REWRITE = "ALTER TABLE orders ALTER customer TYPE bigint;"
Ask = Callable[..., tuple[dict[str, Any], list[str]]]


@pytest.fixture
def ask(project: Any, settings: Any, orders: Any) -> Ask:
    """Rehearse SQL on the database as it is now; return the estimate of it, and what was noted."""

    def asked(sql: str, change: Callable[[Statistics], Statistics], *before: str) -> Any:
        for sql_before in before:
            orders.execute(sql_before)
        (project.folder / "p.json").write_text(json.dumps(to_json(change(export_quickly(settings)))))
        project.write("1_it.sql", sql)
        done = project("dry-run", "--no-gate", "--production", "p.json", "--output", "json=r.json")
        assert done.code == 0, done.err
        (migration,) = json.loads((project.folder / "r.json").read_text())["migrations"]
        return migration["estimate"], done.out

    return asked


def grow_ten_times(here: Statistics) -> Statistics:
    return grow(here, 10)


def change_orders(**changes: Any) -> Callable[[Statistics], Statistics]:
    """Return what makes a production whose orders differ, ten times as many else."""

    def changed(here: Statistics) -> Statistics:
        there = grow(here, 10)
        return evolve(
            there, relations={**there.relations, ORDERS: evolve(there.relations[ORDERS], **changes)}
        )

    return changed


def drop_orders(here: Statistics) -> Statistics:
    return evolve(
        here, relations={name: relation for name, relation in here.relations.items() if name != ORDERS}
    )


def move_orders(here: Statistics) -> Statistics:
    """The same table in another schema."""
    moved = evolve(here.relations[ORDERS], name="shop.orders")
    return evolve(here, relations={moved.name: moved})


def add_column(here: Statistics) -> Statistics:
    column = ColumnStatistics("more", "text", 8, -1.0, 0.0)
    return change_orders(columns=(*here.relations[ORDERS].columns, column))(here)


def partition_orders(here: Statistics) -> Statistics:
    part = evolve(grow(here, 10).relations[ORDERS], name="public.orders_1", parent=ORDERS)
    parent: RelationStatistics = evolve(here.relations[ORDERS], kind="partitioned", pages=0)
    return evolve(here, relations={ORDERS: parent, part.name: part})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda here: grow(here, 1_000_000), "1,000,000 times"),
        (change_orders(rows=None), "never analyzed"),
        (drop_orders, "not in production's statistics"),
        (move_orders, "not in production's statistics"),
        (add_column, "different columns"),
        (partition_orders, "partitioned in production only"),
        (change_orders(toast_bytes=10**10), "in TOAST in production"),
        (change_orders(indexes=()), "different indexes"),
    ],
    ids=["million", "never-analysed", "missing", "schema", "columns", "partitions", "toast", "indexes"],
)
def test_a_production_that_was_not_rehearsed_is_unknown_with_a_way_on(ask, change, words):
    estimate, output = ask(REWRITE, change)

    assert estimate["known"] is False
    assert words in estimate["reason"]
    assert estimate["advice"]
    assert (estimate["p50_ms"], estimate["confidence_percent"]) == (None, None)
    assert "unknown" in output


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DO $$ BEGIN UPDATE orders SET customer = 1; END $$;", "DO runs code"),
        ("SELECT count(*) FROM orders;", "SELECT may call functions"),
    ],
)
def test_code_is_unknown(ask, sql, words):
    estimate, _ = ask(sql, grow_ten_times)

    assert estimate["known"] is False
    assert words in estimate["reason"]


def test_what_works_on_a_table_that_the_plan_makes_and_fills_is_unknown(ask, project):
    ask("CREATE TABLE big AS SELECT * FROM orders; CREATE INDEX i ON big (id);", grow_ten_times)

    (migration,) = json.loads((project.folder / "r.json").read_text())["migrations"]

    assert "created by this plan" in migration["statements"][1]["estimate"]["reason"]


def test_a_trigger_for_each_row_makes_an_update_unknown(ask):
    estimate, _ = ask(
        "UPDATE orders SET customer = 1;",
        grow_ten_times,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER each_one BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION f()",
    )

    assert "the trigger each_one" in estimate["reason"]


def test_a_table_that_is_empty_here_and_full_there_is_unknown(ask):
    def full_there(here: Statistics) -> Statistics:
        full = evolve(here.relations["public.jam"], rows=1e6, pages=10_000)
        return evolve(here, relations={**here.relations, full.name: full})

    estimate, _ = ask(
        "ALTER TABLE jam ALTER id TYPE bigint;", full_there, "CREATE TABLE jam (id int)", "ANALYZE jam"
    )

    assert estimate["known"] is False
    assert "public.jam" in estimate["reason"]


def test_a_table_never_analysed_here_is_counted(ask):
    estimate, _ = ask(
        "ALTER TABLE jam ALTER id TYPE bigint;",
        lambda here: change_orders()(
            evolve(
                here,
                relations={name: evolve(relation, rows=1e5) for name, relation in here.relations.items()},
            )
        ),
        "ALTER TABLE orders SET (autovacuum_enabled = off)",
        "CREATE TABLE jam (id int) WITH (autovacuum_enabled = off)",
        "INSERT INTO jam SELECT generate_series(1, 30000)",
    )

    assert "never analyzed" not in str(estimate["reason"])


def test_rows_that_came_since_the_last_analyze_count(ask, settings):
    """PostgreSQL's own estimate goes by the size of the file, and so do we."""
    estimate, _ = ask(
        REWRITE,
        lambda here: here,
        "ALTER TABLE orders SET (autovacuum_enabled = off)",
        "INSERT INTO orders SELECT i, 1, repeat('x', 100) FROM generate_series(100001, 220000) i",
    )

    assert estimate["known"] is True
    assert export_quickly(settings).count_rows(ORDERS) == pytest.approx(180_000, rel=0.1)


def test_partitions_on_both_sides_are_known(ask):
    estimate, _ = ask(
        "ALTER TABLE events ALTER what TYPE bigint;",
        grow_ten_times,
        "CREATE TABLE events (at int, what int) PARTITION BY RANGE (at)",
        "CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (0) TO (50000)",
        "CREATE TABLE events_new PARTITION OF events FOR VALUES FROM (50000) TO (100000)",
        "INSERT INTO events SELECT i, i FROM generate_series(0, 99999) i",
        "ANALYZE events, events_old, events_new",
    )

    assert estimate["known"] is True, estimate["reason"]
    assert estimate["scales_with"] == "the rows of public.events"


def test_an_old_file_says_how_old_it_is(ask):
    month_ago = datetime.now(UTC) - timedelta(days=30)

    _, output = ask(REWRITE, lambda here: evolve(grow_ten_times(here), taken_at=month_ago))

    assert "p.json is 30 days old" in output


def test_another_server_is_said(ask):
    def large(here: Statistics) -> Statistics:
        return grow(here, 2, settings={**here.settings, "maintenance_work_mem": 2**40})

    _, output = ask(REWRITE, large)

    assert "intervals are wider" in output


@pytest.mark.parametrize("text", ["", "[]", '{"stats_version": 1}', '{"stats_version": 7}', "\0\1"])
def test_a_file_that_was_edited_by_hand_ends_in_code_2_before_anything_runs(project, text):
    (project.folder / "p.json").write_text(text)
    project.write("1_it.sql", "SELECT 1;")

    done = project("dry-run", "--no-gate", "--production", "p.json")

    assert done.code == 2
    assert "p.json" in done.err
    assert "Traceback" not in done.err


def test_a_file_that_is_not_there_ends_in_code_2(project):
    done = project("dry-run", "--no-gate", "--production", "nowhere.json")

    assert done.code == 2
    assert "nowhere.json: cannot be read" in done.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("run", "--production", "p.json"), "--production is for a rehearsal"),
        (("dry-run", "--estimate-budget", "5s"), "add --production"),
        (("dry-run", "--production", "p.json", "--estimate-budget", "soon"), "is not a time"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(project, flags, words):
    done = project(*flags)

    assert done.code == 2
    assert words in done.err
