"""node-pg-migrate's SQL files and ledger are taken over as they are."""

from __future__ import annotations

import psycopg
import pytest

from tests.project import applied, exists, tables
from tests.tools import build_node_url, find_tool, run_tool
from tests.tools.schema import describe_schema

pytestmark = pytest.mark.slow

LEDGER = """
    CREATE TABLE pgmigrations (id SERIAL PRIMARY KEY, name varchar(255) NOT NULL, run_on timestamp NOT NULL)
"""
ORDERS = """\
    -- Up Migration
    CREATE TABLE orders (id int);

    -- Down Migration
    DROP TABLE orders;
    """
ITEMS = """\
    -- Up Migration
    CREATE TABLE items (id int);
    CREATE INDEX items_id ON items (id);

    -- Down Migration
    DROP TABLE items;
    """
NAMES = "SELECT name FROM pgmigrations ORDER BY run_on, id"


@pytest.fixture
def adopted(project, database):
    """Two migrations, of which the tool has applied one."""
    project.write("1700000000000_orders.sql", ORDERS)
    project.write("1700000000001_items.sql", ITEMS)
    database.execute("CREATE TABLE orders (id int)")
    database.execute(LEDGER)
    database.execute("INSERT INTO pgmigrations (name, run_on) VALUES ('1700000000000_orders', now())")
    return project


@pytest.fixture
def own(project):
    """A project whose configuration says that its files are of node-pg-migrate."""
    project.configure('source = "node-pg-migrate"\n')
    return project


def read_names(database) -> list[str]:
    return [name for (name,) in database.execute(NAMES)]


def test_adopt_recognizes_the_files_and_run_goes_on_both_ways(adopted, database):
    answer = adopted("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of node-pg-migrate, as 1700000000000_orders.sql shows" in answer.out
    assert "1 migration recorded as applied" in answer.out
    assert adopted("run").code == 0
    assert applied(database) == ["1700000000000_orders", "1700000000001_items"]
    assert read_names(database) == ["1700000000000_orders"]
    assert adopted("down", "--steps", "2").code == 0
    assert not exists(database, "orders")


def test_with_mirror_the_ledger_of_the_tool_follows(adopted, database):
    adopted("adopt", "--mirror")
    adopted("run")
    after_run = read_names(database)
    adopted("down")

    assert after_run == ["1700000000000_orders", "1700000000001_items"]
    assert read_names(database) == ["1700000000000_orders"]


def test_a_name_without_its_file_is_refused(adopted, database):
    database.execute("INSERT INTO pgmigrations (name, run_on) VALUES ('1600000000000_gone', '2020-01-01')")

    answer = adopted("adopt")

    assert answer.code == 7
    assert "applied, but its file is missing: 1600000000000_gone" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_two_files_of_one_number_are_no_duplicates(own, database):
    """The whole name is the key."""
    own.write("0001_b.sql", "CREATE TABLE b ();")
    own.write("0001_a.sql", "CREATE TABLE a ();")
    own.write("1_c.sql", "CREATE TABLE c ();")

    assert own("run").code == 0
    order = [line.split()[1] for line in own("status").out.splitlines()[:3]]
    assert order == ["0001_a", "0001_b", "1_c"]


def test_seventeen_digits_are_a_time_among_milliseconds(own):
    """20231114221320000 is 1700000000000 ms."""
    for name in ("1700000000001_c", "20231114221320000_b", "1699999999999_a", "7_first"):
        own.write(f"{name}.sql", "")

    assert own("run").code == 0
    order = [line.split()[1] for line in own("status").out.splitlines()[:4]]
    assert order == ["7_first", "1699999999999_a", "20231114221320000_b", "1700000000001_c"]


def test_the_parts_may_come_in_either_order_and_in_any_case(own, database):
    own.write("1_a.sql", "--- down  MIGRATION of a\nDROP TABLE a;\n  -- up migration\nCREATE TABLE a ();\n")

    assert own("run").code == 0
    assert exists(database, "a")
    assert own("down").code == 0
    assert not exists(database, "a")


def test_a_file_without_dividers_is_all_up_and_has_no_way_back(own, database):
    own.write("1_a.sql", "CREATE TABLE a ();\n")

    assert own("run").code == 0
    assert own("down").code == 4
    assert exists(database, "a")


def test_empty_parts_do_nothing(own, database):
    own.write("1_nothing.sql", "-- Up Migration\n\n-- Down Migration")

    assert own("run").code == 0
    assert own("down").code == 0
    assert applied(database) == []


def test_a_pair_of_files_is_one_migration(own, database):
    """As the tool's loader "sql" reads them."""
    own.write("1_a.up.sql", "CREATE TABLE a ();\n")
    own.write("1_a.down.sql", "DROP TABLE a;\n")

    assert own("run").code == 0
    assert applied(database) == ["1_a"]
    assert own("down").code == 0
    assert not exists(database, "a")


def test_a_concurrent_index_is_refused_because_the_tool_runs_all_in_a_transaction(own):
    own.write("1_orders.sql", ORDERS)
    own.write("2_i.sql", "CREATE INDEX CONCURRENTLY i ON orders (id);\n")

    answer = own("run")

    assert answer.code == 4
    assert "2_i.sql:1:1" in answer.err


FAULTS = {
    "SELECT 1;\n-- Down Migration\nSELECT 2;\n": "1_a.sql:2:1: there is no -- Up Migration",
    "SELECT 0;\n-- Up Migration\nSELECT 1;\n": "1_a.sql:1:1: this is above -- Up Migration",
    "-- Up Migration\nSELECT 1;\n  SELEC 2;\n": "1_a.sql:3:3",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_faulty_file_is_refused_with_its_line(own, database, text):
    own.write("1_a.sql", text)

    answer = own("run")

    assert answer.code == 4
    assert FAULTS[text] in answer.err
    assert tables(database) == []


@pytest.mark.parametrize("kind", ["js", "ts", "cjs", "mts"])
def test_a_pending_program_is_refused_by_name(own, database, kind):
    own.write("1_orders.sql", ORDERS)
    own.write(f"2_items.{kind}", "export const up = (pgm) => pgm.dropTable('orders')\n")

    answer = own("run")

    assert answer.code == 4
    assert f"2_items.{kind} is a program, which only node-pg-migrate can run" in answer.err
    assert tables(database) == []


def test_a_program_that_the_tool_has_applied_is_no_hindrance(adopted, database):
    (adopted.migrations / "1700000000000_orders.sql").unlink()
    adopted.write("1700000000000_orders.js", "exports.up = (pgm) => pgm.createTable('orders', {})\n")

    assert adopted("adopt").code == 0
    assert adopted("run").code == 0
    assert applied(database) == ["1700000000000_orders", "1700000000001_items"]


def test_a_lone_down_file_is_refused(own):
    own.write("1_orders.sql", ORDERS)
    own.write("2_items.down.sql", "DROP TABLE items;")

    answer = own("run")

    assert answer.code == 4
    assert "2_items.down.sql undoes nothing: there is no 2_items.up.sql" in answer.err


def test_where_nothing_is_done_there_is_nothing_to_undo(own, database):
    own.write("1_nothing.sql", "-- Up Migration\n")
    own("run")

    assert own("down").code == 0
    assert applied(database) == []


def test_other_files_are_ignored(own, database):
    own.write("1_orders.sql", ORDERS)
    for name in ("README.md", ".hidden.sql", "seed.sql", "2_notes.txt", "3_types.d.ts"):
        own.write(name, "nothing")

    assert own("run").code == 0
    assert applied(database) == ["1_orders"]


@pytest.fixture
def tool():
    """The real node-pg-migrate."""
    return find_tool("node-pg-migrate", needs=("node",))


def run_node(tool, project, url: str, *arguments: str) -> str:
    return run_tool(tool, *arguments, folder=project.folder, url=build_node_url(url))


def test_the_second_half_makes_what_the_tool_makes_and_the_tool_finds_nothing_to_do(
    project, database, database_url, alone, tool
):
    project.write("0001_orders.sql", ORDERS)
    project.write("20231114221300000_b.sql", "CREATE TABLE b ();\n")
    run_node(tool, project, database_url, "up")
    project.write("1700000000000_items.sql", ITEMS)
    project.write("1700000000001_nothing.sql", "-- Up Migration\n\n-- Down Migration\n")
    run_node(tool, project, alone, "up")

    adopted = project("adopt", "--mirror")
    ran = project("run")

    assert (adopted.code, ran.code) == (0, 0), adopted.err + ran.err
    with psycopg.connect(alone) as conn:
        assert describe_schema(database) == describe_schema(conn)
        assert read_names(database) == read_names(conn)
    assert "No migrations to run!" in run_node(tool, project, database_url, "up")
    assert project("down").code == 0
    assert "1700000000000_items (DOWN)" in run_node(tool, project, database_url, "down")
    assert not exists(database, "items")
    assert "1700000000000_items (UP)" in run_node(tool, project, database_url, "up")
