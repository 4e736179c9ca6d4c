"""A finding is worth a person's minute: what costs nobody anything is not reported."""

from __future__ import annotations

import pytest

from confiture.api import operations
from confiture.models.report import Finding, Report
from confiture.rules.evaluate import select_rules
from confiture.rules.judge_rehearsal import make_judge
from confiture.rules.lint import lint
from confiture.rules.registry import collect_rules
from tests.project import Project, plugin
from tests.rules.examples import linted, write

pytestmark = pytest.mark.slow

ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int)"
ROWS = "INSERT INTO orders SELECT g, 'n', g FROM generate_series(1, 500) g"
AFTER = "statement-after-dangerous-lock"
EMPTY = "holds no rows here"


@pytest.fixture
def orders(database):
    """A table with rows."""
    database.execute(ORDERS)
    database.execute(ROWS)
    return database


def judged(project: Project, *plugins, **more) -> Report:
    """Rehearse what is pending, judged by the rules as they are by default."""
    judge = make_judge(project.settings(), select_rules(collect_rules()))
    return operations.run(project.settings(), plugins=plugins, dry_run=True, judge=judge, **more)


def of(report: Report, rule: str = AFTER) -> list[Finding]:
    return [finding for finding in report.findings if finding.rule == rule]


@pytest.mark.parametrize(
    "after",
    [
        "COMMENT ON COLUMN orders.a IS 'the first letter';",
        "CREATE TABLE item (id int); CREATE INDEX ON item (id);",
        "INSERT INTO orders (id) VALUES (-1);",
        "GRANT SELECT ON orders TO PUBLIC;",
        "CREATE VIEW noted AS SELECT note FROM orders;",
        "ALTER TABLE orders ALTER COLUMN a SET DEFAULT 3;",
        "UPDATE orders SET a = 1 WHERE id = 3;",
        "SET LOCAL lock_timeout = '1s';",
    ],
)
def test_what_follows_a_lock_and_is_quick_is_not_reported(project, orders, after):
    orders.execute("ANALYZE orders")
    write(project, f"ALTER TABLE orders ADD COLUMN a int;\n{after}")

    assert of(judged(project)) == []


def test_what_follows_a_lock_and_takes_long_is_reported_once_a_lock(project, orders):
    orders.execute("CREATE TABLE item (id int)")
    write(
        project,
        "ALTER TABLE orders ADD COLUMN a int;\nSELECT pg_sleep(0.2);\nSELECT pg_sleep(0.2);\n"
        "ALTER TABLE item ADD COLUMN a int;\nSELECT pg_sleep(0.2);\nSELECT pg_sleep(0.2);",
    )

    found = of(judged(project))

    assert [(finding.line, finding.relation, finding.severity) for finding in found] == [
        (2, "public.orders", "warning"),
        (5, "public.item", "warning"),
    ]


def test_work_on_another_table_that_was_there_is_reported(project, orders):
    orders.execute("CREATE TABLE item (id int); INSERT INTO item SELECT generate_series(1, 50)")
    write(project, "ALTER TABLE orders ADD COLUMN a int;\nUPDATE item SET id = id + 1;")

    (found,) = of(judged(project))

    assert (found.line, found.relation) == (2, "public.orders")
    assert found.message == "scans all of public.item while line 1 blocks reads and writes of public.orders"
    assert found.recipe is None


def test_two_scans_under_one_lock_are_one_error(project, orders):
    write(
        project,
        "ALTER TABLE orders ADD COLUMN a int;\nUPDATE orders SET a = qty;\nUPDATE orders SET a = qty + 1;",
    )

    assert [(finding.line, finding.severity) for finding in of(judged(project))] == [(2, "error")]


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        (
            "ALTER TABLE orders ADD CONSTRAINT c CHECK (qty > 0) NOT VALID;\n"
            "ALTER TABLE orders VALIDATE CONSTRAINT c;",
            "validate-in-same-transaction",
        ),
        ("ALTER TABLE orders ADD COLUMN a int;\nCREATE INDEX ON orders (qty);", "index-not-concurrent"),
        (
            "ALTER TABLE orders ALTER COLUMN qty TYPE bigint;\nSELECT pg_sleep(0.2);",
            "change-type-rewrite",
        ),
    ],
)
def test_what_repeats_an_error_is_dropped(project, orders, sql, rule):
    write(project, sql)

    report = judged(project)

    assert [finding.rule for finding in report.findings if finding.severity == "error"] == [rule]
    assert of(report) == []


def test_a_slow_hook_after_a_lock_is_reported_and_a_quick_one_is_not(project, orders):
    def after_ddl(conn):
        conn.execute("SELECT pg_sleep(0.2)")

    def quick(conn):
        conn.execute("SELECT 1")

    write(project, "ALTER TABLE orders ADD COLUMN a int;")

    slow = judged(project, plugin(after_ddl=after_ddl))

    (found,) = of(slow)
    assert found.message.endswith("after_ddl runs while line 1 blocks reads and writes of public.orders")
    assert of(judged(project, plugin(after_ddl=quick))) == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE orders SET qty = qty + 1;",
        "DELETE FROM orders;",
        "DELETE FROM orders WHERE qty > 7;",
        "TRUNCATE orders;\nCOPY orders (id, note, qty) FROM STDIN;\n1\tn\t2\n\\.\n",
        "DELETE FROM orders;\nALTER TABLE orders ADD CHECK (qty > 0);",
    ],
)
@pytest.mark.parametrize("analyzed", [False, True])
def test_a_table_with_rows_is_never_called_empty(project, orders, sql, analyzed):
    if analyzed:
        orders.execute("ANALYZE orders")
    write(project, sql)

    report = judged(project)

    assert report.outcome == "ok", report
    assert [finding.message for finding in report.findings if EMPTY in finding.message] == []


def test_an_index_concurrently_in_a_clone_is_not_blamed_for_a_lock_that_was_committed(project, orders):
    orders.close()
    write(
        project,
        "-- confiture: no-transaction\nALTER TABLE orders ALTER COLUMN qty TYPE bigint;\n"
        "CREATE INDEX CONCURRENTLY orders_qty ON orders (qty);",
    )

    report = judged(project, place="clone")

    errors = [(finding.rule, finding.line) for finding in report.findings if finding.severity == "error"]
    assert errors == [("change-type-rewrite", 2)]


@pytest.mark.parametrize("place", ["transaction", "clone"])
def test_a_table_that_the_plan_creates_and_seeds_is_not_in_use(project, place):
    write(
        project,
        "CREATE TABLE plans (id int, name text);\nINSERT INTO plans VALUES (1, 'free');",
        "CREATE INDEX plans_name ON plans (name);\nALTER TABLE plans ALTER COLUMN id TYPE bigint;\n"
        "ALTER TABLE plans ALTER COLUMN name SET NOT NULL;\nUPDATE plans SET name = 'Free';\n"
        "ALTER TABLE plans ADD PRIMARY KEY (id);\nDO $$ BEGIN ALTER TABLE plans ADD CHECK (id > 0); END $$;",
    )

    report = judged(project, place=place)

    assert [(finding.rule, finding.line) for finding in report.findings] == []


IN_TEXT = (
    "-- ALTER TABLE orders ALTER COLUMN qty TYPE bigint;\nSELECT 1;",
    "/* CREATE INDEX orders_qty ON orders (qty); */ SELECT 1;",
    "SELECT 'DROP TABLE orders; UPDATE orders SET qty = 1';",
    "COMMENT ON TABLE orders IS 'VACUUM FULL orders; COMMIT;';",
    "DO $$ BEGIN\n  -- ALTER TABLE orders ALTER COLUMN qty TYPE bigint;\n  /* TRUNCATE orders; */\n  PERFORM 1;\nEND $$;",
    "DO $$ BEGIN RAISE NOTICE 'UPDATE orders SET qty = 1; CREATE INDEX ON orders (qty)'; END $$;",
    "SELECT $x$BEGIN; LOCK TABLE orders; COMMIT;$x$;",
    "INSERT INTO orders (id, note) VALUES (-1, 'DELETE FROM orders');",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN UPDATE orders SET qty = 1; END $$;",
)


@pytest.mark.parametrize("sql", IN_TEXT)
def test_sql_in_comments_and_strings_is_not_judged(project, orders, sql):
    write(project, sql)

    assert [finding.rule for finding in judged(project).findings] == []
    assert [finding.rule for finding in lint(project.settings()).findings] == []


def test_a_long_name_in_a_comment_is_not_too_long(files):
    write(files, f"-- {'long_' * 15}\nSELECT /* {'long_' * 15} */ 1 -- {'long_' * 15}\n;")

    report = lint(files.settings(), severity={"identifier-too-long": "error"})

    assert report.findings == ()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE item (id int, part_of bigint REFERENCES orders (id));",
        "CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();",
        "DROP TRIGGER old ON orders;",
    ],
)
def test_a_brief_lock_that_lock_timeout_bounds_is_no_warning(project, orders, sql):
    orders.execute("CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    orders.execute("CREATE TRIGGER old BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch()")
    write(project, sql)

    assert [finding.severity for finding in judged(project).findings] == ["info"]


def rules_of(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("place", ["transaction", "clone"])
def test_what_the_same_plan_has_made_is_used_by_nobody(project, place):
    """Its views, its indexes without a name of their own, its foreign keys and its row security."""
    project.write(
        "1_a.sql", f"{ORDERS}; CREATE INDEX ON orders (qty); CREATE TABLE jam (id int PRIMARY KEY);"
    )
    project.write("2_b.sql", "CREATE TABLE pot (jam int REFERENCES jam, of bigint REFERENCES orders);")
    project.write("3_c.sql", "CREATE OR REPLACE VIEW noted AS SELECT id FROM orders;")
    project.write("4_d.sql", "CREATE OR REPLACE VIEW noted AS SELECT id, note FROM orders;")
    project.write("5_e.sql", "DROP INDEX orders_qty_idx;\nALTER TABLE orders ENABLE ROW LEVEL SECURITY;")
    project.write("6_f.sql", "DROP TABLE pot;")

    assert rules_of(judged(project, place=place)) == set()


def test_a_new_table_that_a_do_block_renames_is_used_by_nobody(project, database):
    project.write("1_a.sql", f"{ORDERS};")
    project.write("2_b.sql", "DO $$ BEGIN ALTER TABLE orders RENAME TO bills; END $$;")
    project.write("3_c.sql", "CREATE INDEX ON bills (qty);")

    assert rules_of(judged(project)) == set()


def test_the_old_table_that_a_rebuilt_one_replaces_is_no_other_table(project, orders):
    rebuild = f"ALTER TABLE orders RENAME TO old; {ORDERS}; INSERT INTO orders SELECT * FROM old;"
    write(project, f"DO $$ BEGIN {rebuild} DROP TABLE old; END $$;")

    assert "drop-fk-locks-both" not in rules_of(judged(project))


def test_what_was_there_before_the_plan_is_used(project, orders):
    orders.execute("CREATE INDEX ON orders (qty); CREATE VIEW noted AS SELECT id FROM orders;")
    orders.execute("CREATE TABLE pot (of bigint REFERENCES orders)")
    project.write("3_c.sql", "CREATE OR REPLACE VIEW noted AS SELECT id, note FROM orders;")
    project.write("4_d.sql", "DROP INDEX orders_qty_idx;")
    project.write("5_e.sql", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY;")
    # First, because a lock that is held already is not seen again.
    project.write("1_a.sql", "DROP TABLE pot;")

    assert rules_of(judged(project)) >= {
        "replace-view",
        "drop-index-not-concurrent",
        "enable-rls-without-policy",
        "drop-fk-locks-both",
    }


def test_an_index_that_is_not_there_is_not_dropped(project, orders):
    write(project, "DROP INDEX IF EXISTS orders_by_moon;")

    assert rules_of(judged(project)) == set()


def test_an_index_is_found_although_an_earlier_statement_has_locked_its_table(project, orders):
    orders.execute("CREATE INDEX orders_qty ON orders (qty)")
    write(project, "LOCK TABLE orders;\nDROP INDEX orders_qty;")

    assert "drop-index-not-concurrent" in rules_of(judged(project))


def test_the_attributes_of_a_composite_type_are_in_no_table(project, database):
    database.execute("CREATE TYPE size AS (height int, width int)")
    attributes = ("height", "width")
    write(project, "\n".join(f"ALTER TYPE size ALTER ATTRIBUTE {each} TYPE bigint;" for each in attributes))

    assert rules_of(judged(project)) == set()


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(
            "ADD FOREIGN KEY (qty) REFERENCES orders", id="a foreign key is checked by a scan of its own"
        ),
        pytest.param("ADD CHECK (id > 0)", id="two errors, whose recipes are not to be combined"),
    ],
)
def test_what_is_not_to_be_combined_is_not_advised(files, second):
    write(files, f"ALTER TABLE orders ADD CHECK (qty > 0);\nALTER TABLE orders {second};")

    assert "combine-alter-statements" not in rules_of(linted(files))


def test_the_rows_of_a_foreign_table_are_not_here(files):
    write(files, "ALTER FOREIGN TABLE jars ADD COLUMN label text NOT NULL;")

    assert "add-column-not-null-no-default" not in rules_of(linted(files))


@pytest.mark.parametrize("filled", [False, True])
def test_a_view_that_nobody_can_read_yet_is_refreshed_without_a_finding(project, orders, filled):
    data = "" if filled else " WITH NO DATA"
    orders.execute(f"CREATE MATERIALIZED VIEW totals AS SELECT id FROM orders{data}".encode())
    orders.execute("CREATE UNIQUE INDEX ON totals (id)")
    write(project, "REFRESH MATERIALIZED VIEW totals;")

    assert rules_of(judged(project)) == ({"refresh-matview-not-concurrent"} if filled else set())
