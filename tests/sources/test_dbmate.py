"""dbmate's folder and ledger are taken over as they are."""

from __future__ import annotations

import pytest

from tests.project import applied, tables

ORDERS = """\
    -- migrate:up
    CREATE TABLE orders (id int);

    -- migrate:down
    DROP TABLE orders;
    """
INDEX = """\
    -- migrate:up transaction:false
    CREATE INDEX CONCURRENTLY orders_id ON orders (id);

    -- migrate:down
    DROP INDEX orders_id;
    """


@pytest.fixture
def adopted(project, database):
    """A project whose first migration dbmate has applied."""
    project.write("20260101000000_orders.sql", ORDERS)
    project.write("20260102000000_index.sql", INDEX)
    database.execute("CREATE TABLE orders (id int)")
    database.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    database.execute("INSERT INTO schema_migrations VALUES ('20260101000000')")
    return project


def test_adopt_records_what_dbmate_applied_and_run_goes_on(adopted, database):
    answer = adopted("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of dbmate, as 20260101000000_orders.sql shows; ledger public.schema_migrations" in (
        answer.out
    )
    assert adopted("run").code == 0
    assert applied(database) == ["20260101000000", "20260102000000"]
    assert adopted("down", "--steps", "2").code == 0
    assert "public.orders" not in tables(database)


def test_without_mirror_the_ledger_of_dbmate_stays_as_it_is(adopted, database):
    adopted("adopt")
    adopted("run")

    assert database.execute("SELECT version FROM schema_migrations").fetchall() == [("20260101000000",)]


def test_with_mirror_the_ledger_of_dbmate_follows(adopted, database):
    adopted("adopt", "--mirror")
    adopted("run")
    after_run = database.execute("SELECT version FROM schema_migrations ORDER BY 1").fetchall()
    adopted("down")

    assert after_run == [("20260101000000",), ("20260102000000",)]
    assert database.execute("SELECT version FROM schema_migrations").fetchall() == [("20260101000000",)]


def test_a_dry_run_of_adopt_writes_nothing(adopted, database):
    before = tables(database)

    answer = adopted("adopt", "--dry-run", "--output", "json")

    assert [step["outcome"] for step in answer.json["migrations"]] == ["would-record", "pending"]
    assert tables(database) == before


def test_a_version_without_its_file_is_refused_before_anything_is_recorded(adopted, database):
    database.execute("INSERT INTO schema_migrations VALUES ('20250101000000')")

    answer = adopted("adopt")

    assert answer.code == 7
    assert "applied, but its file is missing: 20250101000000" in answer.err
    assert "confiture.ledger" not in tables(database)
