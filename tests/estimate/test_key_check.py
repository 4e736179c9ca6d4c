"""The check of a foreign key has a plan too; if it is another in production, its time here says nothing."""

import json

import pytest
from attrs import evolve

from confiture.api.operations import run
from confiture.estimate.rehearse_sizes import Production
from confiture.output import html
from confiture.output.json import render
from confiture.rehearsal.trace.key_check import read_key_checks
from confiture.rehearsal.trace.plan_comparison import ProductionPlanner
from confiture.sql.statement_kind import classify_statement
from tests.estimate.production import export_quickly, grow
from tests.project import Project

pytestmark = pytest.mark.slow

ADD = "ALTER TABLE lines ADD FOREIGN KEY (part) REFERENCES parts"
GROWN = {"public.lines": 2_000_000.0, "public.parts": 2_000_000.0}


@pytest.fixture
def workshop(database):
    """Lines and parts of all shapes: here a hash of all parts fits into memory."""
    database.execute("""
        CREATE TABLE parts (id int PRIMARY KEY, maker int, no int, price int, UNIQUE (maker, no));
        CREATE TABLE lines (id int, part int, big bigint, maker int, no int, state text);
        INSERT INTO parts SELECT i, i % 9, i, i FROM generate_series(1, 20000) i;
        INSERT INTO lines SELECT i, 1 + i % 20000, 1 + i % 20000, (1 + i % 20000) % 9, 1 + i % 20000, 'new'
            FROM generate_series(1, 20000) i;
        CREATE INDEX ON lines (part);
        CREATE TABLE days (day int, part int) PARTITION BY RANGE (day);
        CREATE TABLE early PARTITION OF days FOR VALUES FROM (0) TO (10000);
        CREATE TABLE "Late" PARTITION OF days FOR VALUES FROM (10000) TO (30000);
        CREATE INDEX ON days (part);
        INSERT INTO days SELECT i, i FROM generate_series(1, 20000) i;
        CREATE TABLE halves (id int PRIMARY KEY) PARTITION BY HASH (id);
        CREATE TABLE half0 PARTITION OF halves FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE half1 PARTITION OF halves FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO halves SELECT i FROM generate_series(1, 20000) i;
    """)
    database.execute("VACUUM ANALYZE")
    return database


def explain(database, sql):
    """Return the nodes of the plan of a query under the settings of a check."""
    database.execute(
        "SET LOCAL work_mem = '64MB'; SET LOCAL hash_mem_multiplier = 1;"
        " SET LOCAL max_parallel_workers_per_gather = 0"
    )
    ((plan,),) = database.execute(f"EXPLAIN (FORMAT JSON, VERBOSE) {sql}").fetchall()
    return list_nodes(plan[0]["Plan"])


def list_nodes(node):
    """Return what a plan reads and joins, from its top."""
    keys = ("Node Type", "Join Type", "Relation Name", "Index Name", "Hash Cond", "Filter", "Total Cost")
    found = [tuple(node.get(key) for key in keys)]
    for inner in node.get("Plans", ()):
        found += list_nodes(inner)
    return found


@pytest.mark.parametrize(
    "sql",
    [
        ADD,
        "ALTER TABLE lines ADD CONSTRAINT made FOREIGN KEY (maker, no) REFERENCES parts (maker, no)",
        "ALTER TABLE lines ADD FOREIGN KEY (maker, no) REFERENCES parts (maker, no) MATCH FULL",
        "ALTER TABLE lines ADD FOREIGN KEY (big) REFERENCES parts",
        "ALTER TABLE lines ADD FOREIGN KEY (part) REFERENCES halves",
        "ALTER TABLE lines ADD COLUMN one int DEFAULT 1 REFERENCES parts",
        "ALTER TABLE lines ADD FOREIGN KEY (part) REFERENCES parts, ADD FOREIGN KEY (big) REFERENCES halves",
        "ALTER TABLE days ADD FOREIGN KEY (part) REFERENCES parts",
        "ALTER TABLE lines VALIDATE CONSTRAINT old",
    ],
)
def test_the_query_is_planned_as_the_check_that_postgresql_runs(workshop, sql):
    workshop.execute("ALTER TABLE lines ADD CONSTRAINT old FOREIGN KEY (part) REFERENCES parts NOT VALID")
    logged = []
    workshop.add_notice_handler(lambda notice: logged.append(notice.message_primary))

    with workshop.transaction(force_rollback=True):
        workshop.execute(
            "LOAD 'auto_explain'; SET LOCAL auto_explain.log_min_duration = 0;"
            " SET LOCAL auto_explain.log_nested_statements = on; SET LOCAL auto_explain.log_format = json;"
            " SET LOCAL auto_explain.log_verbose = on; SET LOCAL client_min_messages = log;"
            " SET LOCAL maintenance_work_mem = '64MB'"
        )
        workshop.execute(sql)
        workshop.execute("SET LOCAL auto_explain.log_min_duration = -1")
        checks = read_key_checks(workshop, classify_statement(sql).validated_keys)
        ours = [explain(workshop, check.sql) for check in checks]

    texts = [text[text.index("{") :] for text in logged if "LEFT OUTER JOIN" in text]
    theirs = [list_nodes(json.loads(text)["Plan"]) for text in texts]
    assert theirs
    assert sorted(ours, key=str) == sorted(theirs, key=str)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE lines ADD FOREIGN KEY (part) REFERENCES parts NOT VALID",
        "ALTER TABLE lines ADD COLUMN one int REFERENCES parts",
        "ALTER TABLE lines ADD CONSTRAINT positive CHECK (part > 0) NOT VALID",
        "ALTER TABLE lines ADD CHECK (part > 0)",
        "CREATE TABLE more (part int REFERENCES parts)",
    ],
)
def test_what_checks_no_row_for_a_key_has_no_query(workshop, sql):
    workshop.execute(sql)
    keys = classify_statement(sql).validated_keys

    checks = read_key_checks(workshop, keys) if keys else []

    assert checks == []


def test_the_validation_of_a_check_has_no_query(workshop):
    workshop.execute("ALTER TABLE lines ADD CONSTRAINT positive CHECK (part > 0) NOT VALID")

    checks = read_key_checks(
        workshop, classify_statement("ALTER TABLE lines VALIDATE CONSTRAINT positive").validated_keys
    )

    assert checks == []


def test_a_hash_that_outgrows_memory_in_production_makes_another_plan(workshop):
    workshop.execute(ADD)
    keys = classify_statement(ADD).validated_keys
    planner = ProductionPlanner(GROWN, {"maintenance_work_mem": 1 << 20})

    pair = planner.compare_key_checks(workshop, keys)
    again = workshop.execute("SELECT reltuples FROM pg_class WHERE relname = 'lines'").fetchone()

    assert pair is not None
    assert "Merge Join" in str(pair.there)
    assert "Hash Join" in str(pair.here)
    assert again == (20_000,)


def test_pages_that_are_all_visible_in_production_make_another_plan(workshop):
    workshop.execute("""
        CREATE TABLE wide (part int, words text);
        INSERT INTO wide SELECT 1 + i % 100, repeat('jam', 130) FROM generate_series(1, 20000) i;
        CREATE INDEX ON wide (part);
        ANALYZE wide;
    """)
    sql = "ALTER TABLE wide ADD FOREIGN KEY (part) REFERENCES parts"
    workshop.execute(sql)
    keys = classify_statement(sql).validated_keys
    rows = {"public.wide": 200_000.0, "public.parts": 20_000.0}

    unseen = ProductionPlanner(rows, visible={"public.wide": 0.0}).compare_key_checks(workshop, keys)
    seen = ProductionPlanner(rows, visible={"public.wide": 1.0}).compare_key_checks(workshop, keys)
    again = workshop.execute("SELECT relallvisible FROM pg_class WHERE relname = 'wide'").fetchone()

    assert unseen is None
    assert seen is not None
    assert "Index Only Scan" in str(seen.there)
    assert "Index Only Scan" not in str(seen.here)
    assert again == (0,)


def test_production_has_the_memory_of_maintenance_for_it(workshop):
    workshop.execute(ADD)
    keys = classify_statement(ADD).validated_keys
    little = {"work_mem": 64 << 10, "max_parallel_workers_per_gather": 8}

    pair = ProductionPlanner(GROWN, {**little, "maintenance_work_mem": 16 << 30}).compare_key_checks(
        workshop, keys
    )

    assert pair is None


def test_of_a_partitioned_table_the_largest_partition_is_planned(workshop):
    sql = "ALTER TABLE days ADD FOREIGN KEY (part) REFERENCES parts"
    workshop.execute(sql)
    rows = {"public.early": 10.0, 'public."Late"': 2_000_000.0, "public.parts": 2_000_000.0}

    pair = ProductionPlanner(rows, {"maintenance_work_mem": 1 << 20}).compare_key_checks(
        workshop, classify_statement(sql).validated_keys
    )

    assert pair is not None
    assert "Late" in str(pair.there)
    assert "early" not in str(pair.there)


@pytest.mark.parametrize(
    "sql", [ADD, "ALTER TABLE lines VALIDATE CONSTRAINT old", f"{ADD} NOT DEFERRABLE, ADD spare int"]
)
def test_another_plan_of_the_check_makes_the_estimate_unknown_and_shows_both(workshop, settings, sql):
    workshop.execute("ALTER TABLE lines ADD CONSTRAINT old FOREIGN KEY (part) REFERENCES parts NOT VALID")
    Project(settings.root, settings.url).write("1_one.sql", sql)
    here = export_quickly(settings)
    there = grow(here, 100, settings={**here.settings, "maintenance_work_mem": 1 << 20})

    report = run(settings, dry_run=True, production=Production(there))

    (statement,) = report.migrations[0].statements
    assert statement.estimate is not None
    assert statement.estimate.reason is not None
    assert statement.estimate.reason.startswith("production will use another plan: ")
    assert '"production_plan"' in render(report)
    page = html.render(report)
    assert "plan here" in page
    assert "plan in production" in page


def test_the_same_plan_of_the_check_is_not_shown(workshop, settings):
    Project(settings.root, settings.url).write("1_one.sql", ADD)

    report = run(settings, dry_run=True, production=Production(grow(export_quickly(settings), 10)))

    (statement,) = report.migrations[0].statements
    assert statement.production_plan is None
    assert statement.estimate is not None
    assert statement.estimate.known


def test_a_copy_on_an_embedded_server_has_all_visible_pages_as_production_has(workshop, settings):
    workshop.execute("""
        CREATE TABLE wide (part int, words text);
        INSERT INTO wide SELECT 1 + i % 100, repeat('jam', 130) FROM generate_series(1, 20000) i;
        CREATE INDEX ON wide (part);
    """)
    workshop.execute("VACUUM (ANALYZE) wide")
    Project(settings.root, settings.url).write(
        "1_one.sql", "ALTER TABLE wide ADD FOREIGN KEY (part) REFERENCES parts"
    )
    here = export_quickly(settings)
    wide = here.relations["public.wide"]
    visible = evolve(wide, visible_pages=wide.pages)
    production = grow(evolve(here, relations={**here.relations, wide.name: visible}), 10)

    report = run(
        settings, dry_run=True, place="embedded", sample_rows=20_000, production=Production(production)
    )

    (statement,) = report.migrations[0].statements
    assert statement.production_plan is None
    assert statement.estimate is not None
    # It may be too short or too uncertain to be given, but not because the plan differs.
    assert "plan" not in str(statement.estimate.reason)
