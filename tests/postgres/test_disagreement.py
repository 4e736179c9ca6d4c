"""CONTRACT, exit code 7: changed, missing, out of order, unfinished."""

from __future__ import annotations

import pytest

from tests.project import exists


@pytest.fixture
def applied(project):
    """Versions 1 and 3 are applied."""
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.write("3_pot.sql", "CREATE TABLE pot ();")
    assert project.run().exit_code == 0
    return project


@pytest.mark.parametrize("command", ["run", "dry-run", "plan"])
def test_out_of_order_is_refused_with_7_and_says_the_way_on(applied, database, command):
    applied.write("2_spoon.sql", "CREATE TABLE spoon ();")
    applied.write("4_lid.sql", "CREATE TABLE lid ();")

    done = applied(command)

    assert done.code == 7
    assert "2 spoon" in done.err
    assert "--allow-out-of-order" in done.err
    assert not exists(database, "spoon")
    assert not exists(database, "lid")


def test_out_of_order_may_be_allowed(applied, database):
    applied.write("2_spoon.sql", "CREATE TABLE spoon ();")

    done = applied("run", "--allow-out-of-order")

    assert done.code == 0, done.err
    assert exists(database, "spoon")


def test_out_of_order_lasts_until_it_is_allowed(applied):
    applied.write("2_spoon.sql", "CREATE TABLE spoon ();")

    assert applied.run(allow_out_of_order=True).exit_code == 0
    assert applied.run().exit_code == 0


def test_a_changed_file_is_refused_with_7_and_names_repair(applied, database):
    applied.write("1_jam.sql", "CREATE TABLE marmalade ();")
    applied.write("4_lid.sql", "CREATE TABLE lid ();")

    done = applied("run")

    assert done.code == 7
    assert "1 jam" in done.err
    assert "confiture repair --accept-changed 1" in done.err
    assert applied.states()["1"] == "changed"
    assert not exists(database, "lid")


def test_a_changed_file_is_refused_with_nothing_pending_too(applied):
    applied.write("1_jam.sql", "CREATE TABLE marmalade ();")

    assert applied("run").code == 7


def test_a_changed_down_part_changes_nothing_that_was_applied(project):
    project.write("1_jam.up.sql", "CREATE TABLE jam ();")
    project.write("1_jam.down.sql", "DROP TABLE jam;")
    project.run()
    project.write("1_jam.down.sql", "DROP TABLE IF EXISTS jam;")

    assert project.states() == {"1": "applied"}


def test_line_ends_and_a_bom_change_nothing(applied):
    (applied.migrations / "1_jam.sql").write_bytes(b"\xef\xbb\xbfCREATE TABLE jam ();")

    assert applied.states()["1"] == "applied"


def test_a_missing_file_is_refused_with_7_and_names_repair(applied, database):
    (applied.migrations / "1_jam.sql").unlink()
    applied.write("4_lid.sql", "CREATE TABLE lid ();")

    done = applied("run")

    assert done.code == 7
    assert "1 jam" in done.err
    assert "confiture repair --forget 1" in done.err
    assert applied.states()["1"] == "missing"
    assert not exists(database, "lid")
