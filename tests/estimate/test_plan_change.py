"""A statement whose plan is another in production is unknown: its time here says nothing."""

import pytest
from attrs import evolve
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from confiture.api.operations import run
from confiture.estimate.rehearse_sizes import Production
from confiture.output import html
from confiture.output.json import render
from confiture.rehearsal.trace.plan_comparison import PlanPair, ProductionPlanner
from tests.estimate.production import export_quickly, grow
from tests.project import Project

pytestmark = pytest.mark.slow

JOIN = "UPDATE lines SET price = parts.price FROM parts WHERE parts.id = lines.part AND lines.state = 'new'"


@pytest.fixture
def workshop(database):
    """A few new lines of many, and parts: here the parts are read through their key."""
    database.execute("""
        CREATE TABLE parts (id int PRIMARY KEY, price int);
        CREATE TABLE lines (id int, part int, price int, state text);
        INSERT INTO parts SELECT i, i FROM generate_series(1, 20000) i;
        INSERT INTO lines SELECT i, 1 + i % 20000, 0, CASE WHEN i % 2000 = 0 THEN 'new' ELSE 'old' END
            FROM generate_series(1, 20000) i;
    """)
    database.execute("VACUUM ANALYZE")
    return database


def list_nodes(plan) -> str:
    """Return the types of a plan's nodes."""
    return str(plan)


def test_the_plan_under_more_rows_is_another(workshop):
    planner = ProductionPlanner({"public.lines": 20_000_000.0, "public.parts": 20_000.0})

    with workshop.transaction():
        pair = planner.compare(workshop, JOIN)
        again = workshop.execute("SELECT reltuples FROM pg_class WHERE relname = 'lines'").fetchone()

    assert isinstance(pair, PlanPair)
    assert pair.differs
    assert "Nested Loop" in list_nodes(pair.here)
    assert "Hash Join" in list_nodes(pair.there)
    assert again == (20_000,)


def test_the_plan_of_a_simple_update_stays(workshop):
    planner = ProductionPlanner({"public.lines": 20_000_000.0})

    with workshop.transaction():
        pair = planner.compare(workshop, "UPDATE lines SET price = 1")

    assert pair is not None
    assert not pair.differs


@pytest.mark.parametrize("sql", ["UPDATE lines SET price = %s", "UPDATE nowhere SET price = 1"])
def test_what_cannot_be_explained_is_not_compared(workshop, sql):
    planner = ProductionPlanner({"public.lines": 20_000_000.0})

    with workshop.transaction():
        pair = planner.compare(workshop, sql)
        alive = workshop.execute("SELECT 1").fetchone()

    assert (pair, alive) == (None, (1,))


@pytest.mark.parametrize(
    "value",
    ["1)::text, true); COMMIT; CREATE TABLE jam (); BEGIN; SELECT set_config('x.y', (1", "64MB", None],
)
def test_a_setting_that_is_no_number_reaches_no_statement(workshop, value):
    settings = {"seq_page_cost": value, "work_mem": value, "max_parallel_workers_per_gather": value}
    planner = ProductionPlanner({"public.lines": 20_000_000.0, "public.parts": 20_000.0}, settings)

    with workshop.transaction():
        pair = planner.compare(workshop, JOIN)

    assert pair is not None
    assert workshop.execute("SELECT to_regclass('jam')").fetchone() == (None,)


@pytest.mark.parametrize(
    "sql",
    [
        "REFRESH MATERIALIZED VIEW cheap",
        "CREATE TABLE IF NOT EXISTS parts AS SELECT * FROM lines",
        "INSERT INTO sink SELECT id FROM lines",
    ],
)
def test_a_statement_that_has_no_plan_is_not_compared_and_goes_on(workshop, settings, sql):
    workshop.execute("CREATE MATERIALIZED VIEW cheap AS SELECT * FROM parts WHERE price < 10")
    workshop.execute("CREATE TABLE sink (n int)")
    workshop.execute("CREATE RULE nothing AS ON INSERT TO sink DO INSTEAD NOTHING")
    Project(settings.root, settings.url).write("1_one.sql", sql)

    report = run(settings, dry_run=True, production=Production(grow(export_quickly(settings), 1000)))

    assert report.outcome == "ok", report.migrations[0].error
    assert report.migrations[0].statements[0].production_plan is None


def test_a_rule_makes_two_plans_of_a_statement(workshop):
    workshop.execute("CREATE RULE too AS ON UPDATE TO lines DO ALSO DELETE FROM parts WHERE id = OLD.part")
    planner = ProductionPlanner({"public.lines": 20_000_000.0, "public.parts": 20_000.0})

    pair = planner.compare(workshop, JOIN)

    assert isinstance(pair, PlanPair)
    assert len(pair.here) == len(pair.there) == 2


@pytest.mark.parametrize(("owned", "refused"), [(False, True), (True, False)])
def test_a_role_that_may_not_compare_plans_is_told_so(workshop, settings, owned, refused):
    workshop.execute("DO $$ BEGIN CREATE ROLE planless LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    workshop.execute(f'GRANT CREATE ON DATABASE "{workshop.info.dbname}" TO planless')
    workshop.execute("GRANT SELECT, UPDATE ON lines, parts TO planless")
    if owned:
        workshop.execute("ALTER TABLE lines OWNER TO planless; ALTER TABLE parts OWNER TO planless")
    Project(settings.root, settings.url).write("1_one.sql", JOIN)
    production = Production(grow(export_quickly(settings), 1000))
    theirs = evolve(settings, url=make_conninfo(settings.url, user="planless"))

    report = run(theirs, dry_run=True, production=production)

    assert report.outcome == "ok", report.migrations[0].error
    said = any("query plans were not compared" in note for note in report.notes)
    # Before 18 owning the tables is not enough.
    assert said == (refused or workshop.info.server_version < 180000)


def test_outside_of_a_transaction_it_leaves_nothing_either(workshop):
    planner = ProductionPlanner({"public.lines": 20_000_000.0, "public.parts": 20_000.0})

    pair = planner.compare(workshop, JOIN)

    assert pair is not None
    assert workshop.info.transaction_status == TransactionStatus.IDLE
    assert workshop.execute("SELECT reltuples FROM pg_class WHERE relname = 'lines'").fetchone() == (20_000,)


def test_several_statements_in_one_text_are_run_once_and_not_explained(workshop, settings):
    Project(settings.root, settings.url).write(
        "1_one.py",
        """
        from confiture.models.migration import Migration


        class Two(Migration):
            def up(self):
                self.execute("UPDATE lines SET price = 1; UPDATE parts SET price = price + 1; SELECT 1, 2")
                self.execute(
                    "DO $$ BEGIN IF (SELECT min(price) FROM parts) <> 2 THEN RAISE 'twice'; END IF; END $$"
                )
        """,
    )

    report = run(settings, dry_run=True, production=Production(grow(export_quickly(settings), 1000)))

    assert report.outcome == "ok", report.migrations[0].error


def test_a_changed_plan_makes_the_estimate_unknown_and_shows_both(workshop, settings):
    Project(settings.root, settings.url).write("1_one.sql", JOIN)
    here = export_quickly(settings)
    production = grow(here, 1000)

    report = run(settings, dry_run=True, production=Production(production))

    (statement,) = report.migrations[0].statements
    assert statement.estimate is not None
    assert not statement.estimate.known
    assert statement.estimate.reason is not None
    assert statement.estimate.reason.startswith("production will use another plan: ")
    assert '"production_plan"' in render(report)
    page = html.render(report)
    assert "plan here" in page
    assert "plan in production" in page
    assert statement.plan != statement.production_plan
