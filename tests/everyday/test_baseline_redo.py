"""``baseline`` records without running; ``redo`` undoes the last one and applies it again."""

from __future__ import annotations

import pytest

from tests.project import applied, ended, tables, wait_until

JAM = "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n"
FIG = "-- migrate:up\nCREATE TABLE fig (i int);\n-- migrate:down\nDROP TABLE fig;\n"


@pytest.fixture
def old(project, database):
    """A database that has the first two migrations' tables, and no ledger."""
    project.write("01_jam.sql", JAM)
    project.write("02_fig.sql", FIG)
    project.write("03_pear.sql", "CREATE TABLE pear (i int);")
    database.execute("CREATE TABLE jam (i int); CREATE TABLE fig (i int)")
    return project


def test_a_baseline_records_everything_up_to_v_and_runs_nothing(old, database):
    answer = old("baseline", "2")

    assert answer.code == 0, answer.err
    assert applied(database) == ["01", "02"]
    assert "public.pear" not in tables(database)


def test_after_a_baseline_the_run_goes_on_above_it(old, database):
    old("baseline", "2")

    answer = old("run")

    assert answer.code == 0, answer.err
    assert applied(database) == ["01", "02", "03"]
    assert old("verify").code == 0
    assert [item["baseline"] for item in old("history", "--output", "json").json["migrations"]] == [
        True,
        True,
        False,
    ]


def test_a_baseline_that_is_only_tried_writes_nothing(old, database):
    answer = old("baseline", "2", "--dry-run", "--output", "json")

    assert answer.code == 0
    assert answer.json["dry_run"] is True
    assert [item["outcome"] for item in answer.json["migrations"]] == ["would-record", "would-record"]
    assert tables(database) == ["public.fig", "public.jam"]


def test_a_baseline_twice_has_nothing_to_do(old, database):
    old("baseline", "2")

    answer = old("baseline", "2", "--output", "json")

    assert answer.code == 0
    assert {item["outcome"] for item in answer.json["migrations"]} == {"applied"}


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_baseline_below_what_is_applied_is_refused_with_seven(old, database, flags):
    old("baseline", "3")

    answer = old("baseline", "1", *flags)

    assert answer.code == 7
    assert "applied above it: 02 fig" in answer.err
    assert applied(database) == ["01", "02", "03"]


def test_a_baseline_over_a_changed_file_is_refused_with_seven(old, database):
    old("baseline", "1")
    old.write("01_jam.sql", JAM + "-- more\n")

    answer = old("baseline", "2")

    assert answer.code == 7
    assert "changed: 01 jam" in answer.err
    assert applied(database) == ["01"]


def test_a_baseline_of_an_unknown_version_is_two(old):
    answer = old("baseline", "9")

    assert answer.code == 2
    assert "no migration of version '9'" in answer.err


def test_a_baseline_waits_for_the_migration_lock_and_gives_up_with_six(old, database, second):
    old.write("04_slow.sql", "SELECT pg_advisory_xact_lock(7);")
    second.execute("SELECT pg_advisory_lock(7)")
    database.execute("DROP TABLE jam; DROP TABLE fig")
    run = old.start("run")
    wait_until(lambda: "public.pear" in tables(database), run)

    answer = old("baseline", "2", "--lock-wait", "0.2")
    second.execute("SELECT pg_advisory_unlock(7)")

    assert answer.code == 6
    assert "another run holds the migration lock" in answer.err
    assert ended(run).code == 0


def test_redo_undoes_and_applies_the_last_one(project, database):
    project.write("1_jam.sql", JAM)
    project.write("2_fig.sql", FIG)
    project.write("3_pear.sql", "CREATE TABLE pear (i int);")
    assert project("run", "--to", "2").code == 0
    database.execute("INSERT INTO fig VALUES (1); INSERT INTO jam VALUES (1)")

    answer = project("redo", "--output", "json")

    assert answer.code == 0, answer.err
    assert answer.json["mode"] == "run"
    assert [(item["version"], item["outcome"]) for item in answer.json["migrations"]] == [
        ("2", "reverted"),
        ("2", "applied"),
    ]
    assert database.execute("SELECT count(*) FROM fig").fetchone() == (0,)
    assert database.execute("SELECT count(*) FROM jam").fetchone() == (1,)
    assert applied(database) == ["1", "2"]


def test_redo_runs_the_hooks_of_both_directions(project, database):
    project.install(
        "counter",
        "from confiture import hookimpl\n\n\n@hookimpl\ndef before_ddl(conn, context):\n"
        "    conn.execute('CREATE TABLE IF NOT EXISTS seen (way text)')\n"
        "    conn.execute('INSERT INTO seen VALUES (%s)', [context.direction])\n",
    )
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0

    assert project("redo", "--plugins").code == 0

    assert database.execute("SELECT way FROM seen").fetchall() == [("backward",), ("forward",)]


def test_redo_without_a_down_part_is_four_and_undoes_nothing(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam (i int);")
    assert project("run").code == 0

    answer = project("redo")

    assert answer.code == 4
    assert "has no down part" in answer.err
    assert applied(database) == ["1"]


def test_redo_is_refused_before_anything_is_undone_where_the_run_would_be(project, database):
    project.write("1_jam.sql", JAM)
    project.write("3_fig.sql", FIG)
    assert project("run").code == 0
    project.write("2_late.sql", "CREATE TABLE late (i int);")
    project.write("1_jam.sql", JAM + "-- more\n")

    answer = project("redo")

    assert answer.code == 7
    assert applied(database) == ["1", "3"]


def test_redo_that_fails_on_the_way_up_says_what_was_reverted(project, database):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    database.execute("CREATE TABLE other (i int)")
    project.write("1_jam.sql", JAM.replace("DROP TABLE jam;", "ALTER TABLE other RENAME TO jam2;"))
    project("repair", "--accept-changed", "1")

    answer = project("redo")

    assert answer.code == 4
    assert "rolled back; reverted before: 1 jam" in answer.out
    assert applied(database) == []


def test_redo_of_nothing_is_nothing_to_do(project):
    project.write("1_jam.sql", JAM)

    answer = project("redo")

    assert (answer.code, answer.out) == (0, "nothing to do\n")
