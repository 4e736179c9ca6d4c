"""Rows are counted, not believed: dead rows make PostgreSQL's own figure wrong."""

from typing import Any

import psycopg
import pytest

from confiture.api.operations import run
from confiture.estimate.count_rows import CountedRows, count_rows
from confiture.estimate.rehearse_sizes import Production
from confiture.migrations.folder import read_folder
from confiture.migrations.prepare import prepare
from tests.estimate.production import export_quickly, grow
from tests.project import Project


def prepare_plan(project: Project, sql: str):
    """Return the plan of one migration."""
    project.write("1_one.sql", sql)
    return prepare(read_folder(project.folder / "migrations"), "forward")


@pytest.fixture
def plan(settings) -> Project:
    """A project to write the plan in."""
    return Project(settings.root, settings.url)


def test_every_named_table_is_counted_with_its_partitions(shop, plan):
    shop.execute("DELETE FROM orders WHERE id > 4000")
    works = prepare_plan(plan, "UPDATE orders SET note = 'x'; DELETE FROM events; CREATE TABLE fresh (a int)")

    counted = count_rows(shop, works)

    assert counted.rows == {
        "public.orders": 4000,
        "public.events_old": 100,
        "public.events_new": 100,
    }
    assert counted.sampled == ()


def test_a_table_beyond_the_budget_is_sampled(database, plan):
    database.execute("CREATE TABLE many AS SELECT i, repeat('x', 500) FROM generate_series(1, 100000) i")
    database.execute("ANALYZE many")
    works = prepare_plan(plan, "DELETE FROM many")

    counted = count_rows(database, works, budget_s=-1.0)

    # A fast machine may count it within the shortest limit.
    assert counted.sampled in ((), ("public.many",))
    assert counted.rows["public.many"] == pytest.approx(100_000, rel=0.05)


def test_a_table_that_the_role_may_not_read_keeps_its_estimate(shop, plan, database_url):
    shop.execute("DO $$ BEGIN CREATE ROLE unreading LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    works = prepare_plan(plan, "DELETE FROM orders; DELETE FROM customers")

    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("GRANT SELECT ON customers TO unreading")
        conn.execute("SET ROLE unreading")
        counted = count_rows(conn, works)

    assert counted.rows == {"public.customers": 100}


@pytest.mark.parametrize("budget_s", [10.0, -1.0])
def test_a_table_whose_rows_a_policy_hides_keeps_its_estimate(shop, plan, database_url, budget_s):
    shop.execute("DO $$ BEGIN CREATE ROLE uncounting LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    shop.execute(
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY; GRANT SELECT ON orders, customers TO uncounting"
    )
    works = prepare_plan(plan, "DELETE FROM orders; DELETE FROM customers")

    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SET ROLE uncounting")
        counted = count_rows(conn, works, budget_s)

    assert list(counted.rows) == ["public.orders"]


@pytest.mark.parametrize("budget_s", [10.0, -1.0])
def test_a_materialized_view_that_was_never_filled_is_not_counted(shop, plan, budget_s):
    shop.execute("CREATE MATERIALIZED VIEW empty AS SELECT 1 AS one WITH NO DATA")
    works = prepare_plan(plan, "REFRESH MATERIALIZED VIEW empty; REFRESH MATERIALIZED VIEW busy")

    assert count_rows(shop, works, budget_s).rows == {"public.busy": 1}


@pytest.mark.parametrize("budget_s", [10.0, -1.0])
def test_a_table_that_another_session_has_locked_is_not_waited_for(shop, second, plan, budget_s):
    works = prepare_plan(plan, "DELETE FROM orders; DELETE FROM customers")

    with second.transaction():
        second.execute("LOCK TABLE orders")
        # The sample of a table that could not be counted waits no longer either.
        counted = count_rows(shop, works, budget_s)

    assert counted.rows == {"public.customers": 100}


def test_a_count_replaces_the_estimate(statistics):
    counted = CountedRows({"public.orders": 4321.0, "public.elsewhere": 1.0})

    corrected = counted.correct(statistics)

    assert corrected.count_rows("public.orders") == 4321
    assert corrected.count_rows("public.customers") == statistics.count_rows("public.customers")
    assert "public.elsewhere" not in corrected.relations


@pytest.mark.slow
def test_rehearsing_again_and_again_predicts_the_same(database, settings):
    """Every rolled back UPDATE leaves as many dead rows as the table has."""
    database.execute("CREATE TABLE parts (id int, state text) WITH (autovacuum_enabled = off)")
    database.execute("INSERT INTO parts SELECT i, 'new' FROM generate_series(1, 20000) i")
    database.execute("VACUUM ANALYZE parts")
    production = Production(grow(export_quickly(settings), 10))
    Project(settings.root, settings.url).write("1_one.sql", "UPDATE parts SET state = 'old'")

    predicted = [run(settings, dry_run=True, production=production) for _ in range(3)]

    estimates: list[Any] = [report.migrations[0].statements[0].estimate for report in predicted]
    assert all(estimate.scales_with == "the rows of public.parts" for estimate in estimates)
    p50_ms = [estimate.p50_ms for estimate in estimates]
    assert min(p50_ms) > 0.4 * p50_ms[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text"),
    [
        # The index build writes the number of pages into the catalog, dead rows' pages included.
        ("1_one.sql", "UPDATE parts SET state = 'old'; CREATE INDEX ON parts (state)"),
        ("1_one.sql", "UPDATE parts SET label = label || 'x'"),
        (
            "1_one.py",
            "from confiture.models.migration import Migration\n"
            "class One(Migration):\n"
            "    def up(self):\n"
            "        self.execute(\"UPDATE parts SET state = 'old'\")\n",
        ),
        ("1_one.sql", "UPDATE seen SET state = 'old'"),
    ],
    ids=["index", "TOAST", "Python", "view"],
)
def test_what_a_rehearsal_leaves_does_not_change_the_next_estimate(database, settings, name, text):
    database.execute(
        "CREATE TABLE parts (id int, state text, label text STORAGE EXTERNAL)"
        " WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)"
    )
    database.execute(
        "INSERT INTO parts SELECT i, 'new', CASE WHEN i % 20 = 0 THEN repeat('x', 3000) END"
        " FROM generate_series(1, 20000) i"
    )
    database.execute("CREATE VIEW seen AS SELECT * FROM parts")
    database.execute("VACUUM ANALYZE parts")
    production = Production(grow(export_quickly(settings), 10))
    Project(settings.root, settings.url).write(name, text)

    predicted = [run(settings, dry_run=True, production=production) for _ in range(3)]

    estimates: list[Any] = [report.migrations[0].estimate for report in predicted]
    assert [estimate.reason for estimate in estimates] == [None] * 3
    p50_ms = [estimate.p50_ms for estimate in estimates]
    assert min(p50_ms) > 0.4 * p50_ms[0]


@pytest.mark.slow
def test_a_clone_does_not_keep_what_rehearsals_left_in_its_source(database, settings):
    database.execute(
        "CREATE TABLE parts WITH (autovacuum_enabled = off) AS"
        " SELECT i, 'new' AS state FROM generate_series(1, 20000) i"
    )
    database.execute("VACUUM ANALYZE parts")
    production = Production(grow(export_quickly(settings), 10), budget_s=0.0)
    project = Project(settings.root, settings.url)
    project.write("1_one.sql", "UPDATE parts SET state = 'old'; CREATE INDEX ON parts (state)")
    run(settings, dry_run=True)
    database.close()

    report = run(settings, dry_run=True, production=production, place="clone")

    estimate: Any = report.migrations[0].estimate
    assert estimate.reason is None
