"""The parallel workers of an index build: none for a small table, more for a larger one, within the settings."""

import psycopg
import pytest
from attrs import evolve

from confiture.estimate.curve import CurveForm
from confiture.estimate.index_workers import count_index_workers, count_workers
from confiture.estimate.prior import load_shipped
from confiture.estimate.statement_estimate import RehearsedStatement, predict
from confiture.estimate.statistics import Statistics
from tests.estimate.production import (
    ORDERS,
    build_index_statement,
    build_statistics,
    build_table,
    grow,
)

MB = 1024**2
GENEROUS = {"max_parallel_maintenance_workers": 8, "maintenance_work_mem": 1024 * MB}


@pytest.mark.parametrize(
    ("table_bytes", "workers"), [(0, 0), (8 * MB - 1, 0), (8 * MB, 1), (24 * MB, 2), (72 * MB, 3)]
)
def test_three_times_the_table_takes_one_worker_more(table_bytes, workers):
    assert count_workers(table_bytes, GENEROUS) == workers


@pytest.mark.parametrize(
    ("changed", "workers"),
    [
        ({"max_parallel_maintenance_workers": 0}, 0),
        ({"max_parallel_maintenance_workers": 2}, 2),
        ({"maintenance_work_mem": 64 * MB}, 1),
        ({"maintenance_work_mem": 16 * MB}, 0),
        ({"min_parallel_table_scan_size": 1000 * MB}, 0),
    ],
)
def test_settings_limit_the_workers(changed, workers):
    assert count_workers(900 * MB, {**GENEROUS, **changed}) == workers


def test_without_settings_postgresqls_defaults_count():
    assert count_workers(900 * MB, {}) == 1


@pytest.mark.parametrize(("method", "workers"), [("btree", 1), ("brin", 1), ("gin", 1), ("hash", 0)])
def test_not_every_access_method_builds_in_parallel(method, workers):
    side = build_statistics(build_table(1_000_000))

    assert count_index_workers(ORDERS, side, method) == workers


def test_a_table_that_is_not_known_has_no_worker():
    assert count_index_workers("public.gone", build_statistics(), "btree") == 0


def test_postgresql_takes_as_many_workers_as_are_counted(database: psycopg.Connection):
    """The build says on its own how many workers it plans with."""
    database.execute("CREATE TABLE seeds AS SELECT i FROM generate_series(1, 300000) i")
    database.execute("ANALYZE seeds")
    ((size,),) = database.execute("SELECT pg_relation_size('seeds')").fetchall()
    heard: list[str] = []
    database.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))

    database.execute("SET client_min_messages = debug1")
    database.execute("CREATE INDEX ON seeds (i)")
    database.execute("RESET client_min_messages")

    assert size > 8 * MB
    assert any("with request for 1 parallel worker" in message for message in heard), heard


def test_an_index_is_predicted_to_gain_from_workers_that_the_rehearsal_lacked():
    here = build_statistics(build_table(100_000, pages=900))
    rehearsed = [RehearsedStatement(here, (build_index_statement(),))]
    parallel, serial = (_predict_p50_ms(rehearsed, grow(here, 10.0), workers) for workers in (2, 0))

    assert parallel == pytest.approx(serial / _read_gain(), rel=1e-3)


def _predict_p50_ms(rehearsed: list[RehearsedStatement], production: Statistics, most_workers: int) -> float:
    settings = {**production.settings, "max_parallel_maintenance_workers": most_workers}
    here = evolve(rehearsed[0].here, settings=settings)
    same = [RehearsedStatement(here, rehearsed[0].runs)]
    p50_ms = predict(same, evolve(production, settings=settings)).estimate.p50_ms
    assert p50_ms
    return p50_ms


def _read_gain() -> float:
    return load_shipped().form.compute_gain(1)


def test_the_gain_grows_with_the_workers_and_ends_at_the_serial_share():
    form = CurveForm(parallel_share=0.5)

    assert form.compute_gain(0) == 1.0
    assert form.compute_gain(1) == pytest.approx(4 / 3)
    assert 1.9 < form.compute_gain(1000) < 2.0
