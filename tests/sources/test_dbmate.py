"""dbmate's folder and ledger are taken over as they are."""

from __future__ import annotations

import psycopg
import pytest

from tests.project import applied, exists, tables
from tests.tools import build_dbmate_url, find_tool, run_tool
from tests.tools.schema import describe_schema

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


def test_a_name_needs_no_underscore_and_the_whole_name_is_what_is_sorted(project, database):
    """As text, ``10_d`` is below ``1_a``, and ``1-b`` below both."""
    project.configure('source = "dbmate"\n')
    for name in ("1_a.sql", "2-c.sql", "10_d.sql", "003.sql"):
        project.write(name, "-- migrate:up\n-- migrate:down\n")
    project.write("notes.sql", "no SQL at all")

    assert project("run").code == 0
    order = [line.split()[1] for line in project("status").out.splitlines()[:4]]
    assert order == ["003", "10", "1", "2"]


def test_the_options_of_each_part_count_for_that_part(project, database):
    project.configure('source = "dbmate"\n')
    project.write("1_orders.sql", ORDERS)
    project.write(
        "2_index.sql",
        "-- migrate:up later:yes transaction:false\nCREATE INDEX CONCURRENTLY i ON orders (id);\n"
        "-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY i;\n",
    )

    assert project("run").code == 0
    assert exists(database, "i")
    assert project("down").code == 0
    assert not exists(database, "i")


def test_an_option_of_the_up_part_does_not_count_below_it(project):
    project.configure('source = "dbmate"\n')
    project.write("1_orders.sql", ORDERS)
    project.write(
        "2_index.sql",
        "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY i ON orders (id);\n"
        "-- migrate:down\nDROP INDEX CONCURRENTLY i;\n",
    )
    project("run")

    answer = project("down")

    assert answer.code == 4
    assert "2_index.sql:4:1" in answer.err


def test_an_error_names_the_line_of_the_file(project):
    project.configure('source = "dbmate"\n')
    project.write("1_a.sql", "-- a remark\n-- migrate:up\nSELECT 1;\n  SELEC 2;\n-- migrate:down\n")

    answer = project("run")

    assert answer.code == 4
    assert "1_a.sql:4:3" in answer.err


FAULTS = {
    "SELECT 1;\n": "there is no -- migrate:up in this file",
    "  -- migrate:up\nSELECT 1;\n": "there is no -- migrate:up in this file",
    "SELECT 0;\n-- migrate:up\nSELECT 1;\n-- migrate:down\n": "1_a.sql:1:1: there is text above -- migrate:up",
    "-- migrate:down\n-- migrate:up\nSELECT 1;\n": "1_a.sql:1:1: -- migrate:down is out of place",
    "-- migrate:up\n-- migrate:up\nSELECT 1;\n": "1_a.sql:2:1: -- migrate:up is out of place",
    "-- migrate:up\n-- migrate:down\n-- migrate:up\n-- migrate:down\n": "1_a.sql:3:1: this begins a second pair",
}


@pytest.mark.parametrize("text", FAULTS)
def test_what_dbmate_refuses_is_refused_with_its_line(project, database, text):
    project.configure('source = "dbmate"\n')
    project.write("1_a.sql", text)

    answer = project("run")

    assert answer.code == 4
    assert FAULTS[text] in answer.err
    assert tables(database) == []


def test_without_a_down_part_there_is_no_way_back(project, database):
    project.configure('source = "dbmate"\n')
    project.write("1_orders.sql", "-- migrate:up\nCREATE TABLE orders (id int);\n")

    assert project("run").code == 0
    assert project("down").code == 4
    assert exists(database, "orders")


def test_two_files_of_one_version_are_refused(project):
    project.configure('source = "dbmate"\n')
    project.write("1_a.sql", ORDERS)
    project.write("01_b.sql", ORDERS)

    answer = project("run")

    assert answer.code == 4
    assert "version 01 is used 2 times: 01_b.sql and 1_a.sql" in answer.err


@pytest.fixture
def tool():
    """The real dbmate."""
    return find_tool("dbmate")


def run_dbmate(tool, project, url: str, *arguments: str) -> str:
    return run_tool(
        tool,
        "--no-dump-schema",
        "-d",
        "migrations",
        *arguments,
        folder=project.folder,
        url=build_dbmate_url(url),
    )


def test_the_second_half_makes_what_dbmate_makes_and_dbmate_finds_nothing_to_do(
    project, database, database_url, alone, tool
):
    """The second pair of files is applied by us, and undone by either."""
    project.write("20260101000000_orders.sql", ORDERS)
    project.write("2025_old.sql", "-- migrate:up\nCREATE TABLE old ();\n-- migrate:down\nDROP TABLE old;\n")
    run_dbmate(tool, project, database_url, "up")
    project.write("20260102000000_index.sql", INDEX)
    project.write("20260103-nothing.sql", "-- migrate:up\n\n-- migrate:down\n")
    run_dbmate(tool, project, alone, "up")

    adopted = project("adopt", "--mirror")
    ran = project("run")

    assert (adopted.code, ran.code) == (0, 0), adopted.err + ran.err
    with psycopg.connect(alone) as conn:
        assert describe_schema(database) == describe_schema(conn)
    assert "Pending: 0" in run_dbmate(tool, project, database_url, "status")
    assert "Applying" not in run_dbmate(tool, project, database_url, "up")
    assert project("down").code == 0
    assert "Rolling back: 20260102000000_index.sql" in run_dbmate(tool, project, database_url, "down")
    assert "Pending: 2" in run_dbmate(tool, project, database_url, "status")
