"""sqlx's files and ledger, checksums included, are taken over as they are."""

from __future__ import annotations

import hashlib

import psycopg
import pytest

from tests.project import applied, exists, tables
from tests.tools import build_sqlx_url, find_tool, run_tool
from tests.tools.schema import describe_schema

LEDGER = """
    CREATE TABLE _sqlx_migrations (
        version BIGINT PRIMARY KEY,
        description TEXT NOT NULL,
        installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
        success BOOLEAN NOT NULL,
        checksum BYTEA NOT NULL,
        execution_time BIGINT NOT NULL
    )
"""
ORDERS = b"CREATE TABLE orders (id int);\r\n"
ROWS = "SELECT version, description, success, checksum FROM _sqlx_migrations ORDER BY version"


def record(database, version: int, description: str, content: bytes, *, success: bool = True) -> None:
    """Add the row that sqlx writes for a file of these bytes."""
    database.execute(
        "INSERT INTO _sqlx_migrations VALUES (%s, %s, '2020-02-02 12:00:00+00', %s, %s, 1000)",
        (version, description, success, hashlib.sha384(content).digest()),
    )


@pytest.fixture
def adopted(project, database):
    """Three migrations, of which sqlx has applied one, with CRLF at its line ends."""
    project.write("1_orders.sql", ORDERS)
    project.write("2_order_items.up.sql", "CREATE TABLE order_items (id int);\n")
    project.write("2_order_items.down.sql", "DROP TABLE order_items;\n")
    project.write("10_index.up.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON orders (id);\n")
    project.write("10_index.down.sql", "-- no-transaction\nDROP INDEX CONCURRENTLY i;\n")
    database.execute("CREATE TABLE orders (id int)")
    database.execute(LEDGER)
    record(database, 1, "orders", ORDERS)
    return project


@pytest.fixture
def own(project):
    """A project whose configuration says that its files are of sqlx."""
    project.configure('source = "sqlx"\n')
    return project


def test_the_ledger_shows_that_the_files_are_of_sqlx_and_run_goes_on(adopted, database):
    adopted.write("10_index.up.sql", "CREATE INDEX i ON orders (id);\n")
    adopted.write("10_index.down.sql", "DROP INDEX i;\n")

    answer = adopted("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of sqlx, as 10_index.down.sql shows; ledger public._sqlx_migrations" in answer.out
    assert "1 migration recorded as applied" in answer.out
    assert adopted("run").code == 0
    assert applied(database) == ["1", "10", "2"]
    assert len(database.execute(ROWS).fetchall()) == 1


def test_the_time_of_the_ledger_is_that_of_the_history(adopted, database):
    adopted("adopt")

    (time,) = database.execute("SELECT applied_at AT TIME ZONE 'UTC' FROM confiture.ledger").fetchone()

    assert str(time) == "2020-02-02 12:00:00"


def test_with_mirror_the_rows_are_those_of_sqlx_with_their_checksums(adopted, database):
    adopted("adopt", "--mirror")
    ran = adopted("run")
    items = (adopted.migrations / "2_order_items.up.sql").read_bytes()

    assert ran.code == 0, ran.err
    rows = database.execute(ROWS).fetchall()
    assert [row[:3] for row in rows] == [(1, "orders", True), (2, "order items", True), (10, "index", True)]
    assert rows[1][3] == hashlib.sha384(items).digest()
    assert adopted("down", "--steps", "2").code == 0
    assert [row[0] for row in database.execute(ROWS).fetchall()] == [1]


def test_each_file_says_for_itself_that_it_runs_outside_a_transaction(adopted, database):
    adopted("adopt")

    assert adopted("run").code == 0
    assert exists(database, "i")
    assert adopted("down").code == 0
    assert not exists(database, "i")


@pytest.mark.parametrize("above", ["", "\n-- no-transaction\n", "--no-transaction\n"])
def test_only_the_first_bytes_of_a_file_say_so(own, above):
    own.write("1_orders.sql", ORDERS)
    own.write("2_i.sql", f"{above}CREATE INDEX CONCURRENTLY i ON orders (id);\n")

    answer = own("run")

    assert answer.code == 4
    assert "cannot run inside a transaction" in answer.err


def test_the_line_ends_that_git_gave_a_file_are_no_change(adopted):
    adopted.write("1_orders.sql", ORDERS.replace(b"\r", b""))

    assert adopted("adopt").code == 0


def test_a_file_that_changed_since_is_refused(adopted, database):
    adopted.write("1_orders.sql", ORDERS + b"-- a remark\n")

    answer = adopted("adopt")

    assert answer.code == 7
    assert "changed since it was applied: 1 orders" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_a_migration_that_failed_half_way_is_refused(adopted, database):
    content = (adopted.migrations / "2_order_items.up.sql").read_bytes()
    record(database, 2, "order items", content, success=False)

    answer = adopted("adopt")

    assert answer.code == 7
    assert "version 2 failed half-way" in answer.err
    assert "delete its row from public._sqlx_migrations" in answer.err


def test_a_version_without_a_file_is_refused(adopted, database):
    record(database, 5, "gone", b"")

    answer = adopted("adopt")

    assert answer.code == 7
    assert "applied, but its file is missing: 5" in answer.err


def test_versions_are_numbers_whatever_their_width(own):
    for version in ("20200101000000", "3", "20180101", "0010"):
        own.write(f"{version}_t.sql", "")

    assert own("run").code == 0
    order = [line.split()[1] for line in own("status").out.splitlines()[:4]]
    assert order == ["3", "0010", "20180101", "20200101000000"]


def test_a_simple_migration_has_no_way_back_and_one_with_a_down_file_has(own, database):
    own.write("1_orders.sql", ORDERS)
    own.write("2_items.sql", "CREATE TABLE items ();")
    own.write("2_items.down.sql", "DROP TABLE items;")
    own("run")

    undone, refused = own("down"), own("down")

    assert (undone.code, refused.code) == (0, 4)
    assert applied(database) == ["1"]


def test_empty_files_do_nothing(own, database):
    own.write("1_nothing.up.sql", "-- Add up migration script here\n")
    own.write("1_nothing.down.sql", "")

    assert own("run").code == 0
    assert own("down").code == 0
    assert applied(database) == []


def test_a_name_that_sqlx_cannot_read_is_refused(own):
    own.write("1_orders.sql", ORDERS)
    own.write("seed_data.sql", "SELECT 1")

    answer = own("run")

    assert answer.code == 4
    assert "seed_data.sql is no name of sqlx's: 'seed' is no version" in answer.err


def test_other_files_are_ignored(own, database):
    own.write("1_orders.sql", ORDERS)
    for name in ("README.md", "seed.sql", "3_notes.txt", "2_gone.down.sql"):
        own.write(name, "nothing")
    (own.migrations / "4_old.sql").mkdir()

    assert own("run").code == 0
    assert applied(database) == ["1"]


def test_two_files_of_one_version_are_refused(own):
    own.write("1_orders.sql", ORDERS)
    own.write("01_items.up.sql", "")

    answer = own("run")

    assert answer.code == 4
    assert "version 01 is used 2 times: 01_items.up.sql and 1_orders.sql" in answer.err


def test_the_second_half_makes_what_sqlx_makes_and_sqlx_finds_nothing_to_do(
    project, database, database_url, alone
):
    """Checksums included: sqlx compares those of all files before it does anything."""
    sqlx = find_tool("sqlx")

    def run_sqlx(url: str, command: str) -> str:
        return run_tool(sqlx, "migrate", command, folder=project.folder, url=build_sqlx_url(url))

    project.write("1_orders.sql", ORDERS)
    run_sqlx(database_url, "run")
    project.write("2_order_items.up.sql", b"CREATE TABLE items (id int);\r\n")
    project.write("2_order_items.down.sql", "DROP TABLE items;\n")
    project.write("10_index.up.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON orders (id);\n")
    project.write("10_index.down.sql", "-- no-transaction\nDROP INDEX CONCURRENTLY i;\n")
    project.write("11_nothing.up.sql", "")
    project.write("11_nothing.down.sql", "")
    run_sqlx(alone, "run")

    adopted = project("adopt", "--mirror")
    ran = project("run")

    assert (adopted.code, ran.code) == (0, 0), adopted.err + ran.err
    with psycopg.connect(alone) as conn:
        assert describe_schema(database) == describe_schema(conn)
        assert database.execute(ROWS).fetchall() == conn.execute(ROWS).fetchall()
    assert "pending" not in run_sqlx(database_url, "info")
    assert "Applied" not in run_sqlx(database_url, "run")
    assert project("down").code == 0
    assert "10/revert index" in run_sqlx(database_url, "revert")
    assert "2/revert order items" in run_sqlx(database_url, "revert")
    assert not exists(database, "items")
    assert "2/migrate order items" in run_sqlx(database_url, "run")
