"""Files that disagree with the ledger: exit code 7, what is wrong, and the way on."""

from __future__ import annotations

import pytest

from tests.project import Project, applied, tables


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with versions 1 and 3 applied."""
    project.write("1_jam.sql", "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n")
    project.write("3_fig.sql", "-- migrate:up\nCREATE TABLE fig (i int);\n-- migrate:down\nDROP TABLE fig;\n")
    assert project("run").code == 0
    return project


@pytest.mark.parametrize("command", ["run", "dry-run", "plan"])
def test_a_changed_file_is_seven_and_names_repair(shop, database, command):
    shop.write("1_jam.sql", "CREATE TABLE jam (i bigint)")
    shop.write("4_new.sql", "CREATE TABLE new (i int)")

    answer = shop(command)

    assert answer.code == 7
    assert "changed since it was applied: 1 jam" in answer.err
    assert "confiture repair --accept-changed 1" in answer.err
    assert applied(database) == ["1", "3"]
    assert "public.new" not in tables(database)


@pytest.mark.parametrize("command", ["run", "dry-run", "plan"])
def test_a_missing_file_is_seven_and_names_repair(shop, database, command):
    (shop.migrations / "1_jam.sql").unlink()
    shop.write("4_new.sql", "CREATE TABLE new (i int)")

    answer = shop(command)

    assert answer.code == 7
    assert "its file is missing: 1 jam" in answer.err
    assert "confiture repair --forget 1" in answer.err
    assert "public.new" not in tables(database)


@pytest.mark.parametrize("command", ["run", "dry-run", "plan"])
def test_a_version_out_of_order_is_seven_and_names_the_flag(shop, database, command):
    shop.write("2_late.sql", "CREATE TABLE late (i int)")

    answer = shop(command)

    assert answer.code == 7
    assert "out of order: 2 late is pending below version 3" in answer.err
    assert "--allow-out-of-order" in answer.err
    assert "public.late" not in tables(database)


def test_a_version_out_of_order_is_applied_where_that_is_allowed(shop, database):
    shop.write("2_late.sql", "CREATE TABLE late (i int)")

    answer = shop("run", "--allow-out-of-order")

    assert answer.code == 0
    assert applied(database) == ["1", "2", "3"]


def test_a_version_out_of_order_is_applied_where_the_configuration_allows_it(shop, database):
    shop.write("2_late.sql", "CREATE TABLE late (i int)")
    shop.configure("allow_out_of_order = true\n")

    assert shop("run").code == 0

    assert applied(database) == ["1", "2", "3"]


def test_down_of_a_changed_file_is_seven_and_undoes_nothing(shop, database):
    shop.write("3_fig.sql", "-- migrate:up\nSELECT 1;\n-- migrate:down\nDROP TABLE fig;\n")

    answer = shop("down")

    assert answer.code == 7
    assert "cannot undo 3 fig: its file is changed" in answer.err
    assert applied(database) == ["1", "3"]
    assert "public.fig" in tables(database)


def test_down_of_a_missing_file_is_seven_and_undoes_nothing(shop, database):
    (shop.migrations / "3_fig.sql").unlink()

    answer = shop("down")

    assert answer.code == 7
    assert "cannot undo 3 fig: its file is missing" in answer.err
    assert "public.fig" in tables(database)


def test_an_unfinished_migration_that_left_an_invalid_index_is_seven_and_names_repair(project, database):
    database.execute("CREATE TABLE jam (i int)")
    database.execute("INSERT INTO jam VALUES (1), (1)")
    project.write(
        "1_index.sql", "-- confiture: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY jam_i ON jam (i);\n"
    )
    assert project("run").code == 4

    answer = project("run")

    assert answer.code == 7
    assert "jam_i" in answer.err
    assert "confiture repair" in answer.err
    assert applied(database) == []


def test_status_tells_each_state_and_ends_in_zero(shop):
    shop.write("1_jam.sql", "SELECT 1")
    (shop.migrations / "3_fig.sql").unlink()
    shop.write("4_new.sql", "SELECT 1")

    answer = shop("status", "--output", "json")

    assert answer.code == 0
    assert [(item["version"], item["state"]) for item in answer.json["migrations"]] == [
        ("1", "changed"),
        ("3", "missing"),
        ("4", "pending"),
    ]
