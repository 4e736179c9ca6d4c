"""A statement that could not be rehearsed is judged by its text, so that no advice leads out of the gate."""

from __future__ import annotations

import pytest

from tests.project import Project

ORDERS = (
    "CREATE TABLE orders (id bigint, note text, qty int);"
    "INSERT INTO orders SELECT g, 'n', g FROM generate_series(1, 300) g;"
    "CREATE DOMAIN tag AS text CHECK (VALUE <> '');"
    "CREATE TABLE part (at date) PARTITION BY RANGE (at); CREATE TABLE part_a (at date);"
)
OUTSIDE = "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY orders_note ON orders (note);\n"
DANGEROUS = {
    "index-not-concurrent": "CREATE INDEX orders_qty ON orders (qty);",
    "change-type-rewrite": "ALTER TABLE orders ALTER COLUMN qty TYPE bigint;",
    "set-not-null-scan": "ALTER TABLE orders ALTER COLUMN qty SET NOT NULL;",
    "add-check-validated": "ALTER TABLE orders ADD CHECK (qty > 0);",
    "add-pk-builds-index": "ALTER TABLE orders ADD PRIMARY KEY (id);",
    "add-column-constrained-domain": "ALTER TABLE orders ADD COLUMN label tag;",
    "attach-partition-scan": (
        "ALTER TABLE part ATTACH PARTITION part_a FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');"
    ),
    "unbounded-dml": "UPDATE orders SET qty = qty + 1;",
}
SAFE = (
    "ALTER TABLE orders ADD COLUMN code text;",
    "ALTER TABLE orders ALTER COLUMN note TYPE varchar;",
    "ALTER TABLE orders VALIDATE CONSTRAINT filled;\nALTER TABLE orders ALTER COLUMN qty SET NOT NULL;",
    "UPDATE orders SET qty = 1 WHERE id = 7;",
)


@pytest.fixture
def orders(project: Project, database) -> Project:
    database.execute(ORDERS)
    return project


def counted(answer) -> list[tuple[str, int]]:
    return [
        (finding["rule"], finding["line"])
        for finding in answer.json["findings"]
        if finding["severity"] != "info" and not finding["rule"].startswith("limit-")
    ]


@pytest.mark.parametrize("rule", DANGEROUS)
def test_a_statement_beside_one_that_cannot_be_rehearsed_is_judged_by_its_text(orders, rule):
    orders.write("1_step.sql", OUTSIDE + DANGEROUS[rule])

    answer = orders("dry-run", "--output", "json")

    assert answer.json["migrations"][0]["outcome"] == "not_rehearsed"
    assert counted(answer) == [(rule, 3)]
    assert answer.code == (0 if rule == "unbounded-dml" else 1)


@pytest.mark.parametrize("sql", SAFE)
def test_what_its_text_shows_to_be_brief_passes(orders, sql):
    orders.write("1_step.sql", OUTSIDE + sql)

    answer = orders("dry-run", "--output", "json")

    assert (answer.code, counted(answer)) == (0, [])


def test_a_migration_that_depends_on_one_that_was_not_rehearsed_is_judged_too(orders):
    orders.write(
        "1_part.sql", "-- confiture: no-transaction\nVACUUM orders;\nALTER TABLE orders ADD COLUMN a int;\n"
    )
    orders.write(
        "2_part.sql", "UPDATE orders SET a = 1 WHERE id = 1;\nCREATE INDEX orders_a ON orders (a);\n"
    )

    answer = orders("dry-run", "--output", "json")

    assert [migration["outcome"] for migration in answer.json["migrations"]] == ["not_rehearsed"] * 2
    assert (answer.code, counted(answer)) == (1, [("index-not-concurrent", 2)])


def test_a_python_migration_that_was_not_rehearsed_is_judged_by_its_text(orders):
    orders.write(
        "1_step.py",
        """\
        from confiture.models.migration import Migration


        class Step(Migration):
            transactional = False

            def up(self):
                self.execute("VACUUM orders")
                self.execute("CREATE INDEX orders_qty ON orders (qty)")
        """,
    )

    answer = orders("dry-run", "--output", "json")

    assert answer.json["migrations"][0]["outcome"] == "not_rehearsed"
    assert (answer.code, counted(answer)) == (1, [("index-not-concurrent", 9)])


@pytest.mark.slow
def test_under_a_limit_the_next_step_names_the_copies_that_can_measure(orders, database):
    database.close()
    orders.configure('[gate]\nmax_block = "10s"\n')
    orders.write("1_step.sql", OUTSIDE)

    here = orders("dry-run")
    clone = orders("dry-run", "--in", "clone")

    assert here.code == 1
    assert "--in clone, or --in embedded" in here.out
    assert "--in clone" not in clone.out
