"""CONTRACT, Ledger: an unfinished no-transaction migration is resumed at the first statement not recorded."""

from __future__ import annotations

import signal

import pytest

from tests.project import exists, only, running, until

JAM = """\
-- confiture: no-transaction
CREATE TABLE jam (fruit text);
INSERT INTO jam VALUES ('fig');
{third}
INSERT INTO jam VALUES ('plum');
"""


@pytest.fixture
def unfinished(project, database):
    """A migration whose third statement has failed."""
    project.write("1_jam.sql", JAM.format(third="SELECT 1/0;"))
    assert project.run().exit_code == 4
    assert project.states() == {"1": "unfinished"}
    return project


def test_a_mended_file_goes_on_at_the_first_statement_not_recorded(unfinished, database):
    unfinished.write("1_jam.sql", JAM.format(third="INSERT INTO jam VALUES ('pear');"))

    report = unfinished.run()

    assert report.exit_code == 0, only(report).error
    assert database.execute("SELECT fruit FROM jam").fetchall() == [("fig",), ("pear",), ("plum",)]
    assert [statement.line for statement in only(report).statements] == [4, 5]
    assert unfinished.states() == {"1": "applied"}


def test_a_finished_migration_leaves_no_progress_behind(unfinished, database):
    unfinished.write("1_jam.sql", JAM.format(third=""))

    unfinished.run()

    assert database.execute("SELECT count(*) FROM confiture.progress").fetchone() == (0,)


def test_a_finished_part_that_changed_is_refused_with_7_and_names_repair(unfinished, database):
    unfinished.write("1_jam.sql", JAM.format(third="").replace("'fig'", "'kiwi'"))

    done = unfinished("run")

    assert done.code == 7
    assert "confiture repair 1" in done.out + done.err
    assert "Traceback" not in done.err
    assert database.execute("SELECT fruit FROM jam").fetchall() == [("fig",)]


def test_a_finished_part_that_was_cut_off_is_refused_with_7(unfinished, database):
    unfinished.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam (fruit text);\n")

    report = unfinished.run()

    assert report.exit_code == 7


def test_an_unfinished_migration_whose_file_is_gone_is_refused_with_7(unfinished, database):
    (unfinished.migrations / "1_jam.sql").unlink()
    unfinished.write("2_next.sql", "CREATE TABLE next ();")

    done = unfinished("run")

    assert done.code == 7
    assert "1 jam" in done.err
    assert not exists(database, "next")


def test_an_unfinished_migration_cannot_be_undone(unfinished):
    done = unfinished("down")

    assert done.code == 7
    assert "confiture run" in done.err


def test_an_invalid_index_left_behind_is_refused_with_7_and_names_repair(project, database):
    database.execute("CREATE TABLE jam (fruit text)")
    database.execute("INSERT INTO jam VALUES ('fig'), ('fig')")
    project.write(
        "1_jam.sql",
        """
        -- confiture: no-transaction
        CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS jam_fruit ON jam (fruit);
        """,
    )

    first = project.run()
    database.execute("DELETE FROM jam")
    again = project("run")

    assert first.exit_code == 4
    assert again.code == 7
    assert "public.jam_fruit" in again.out + again.err
    assert "confiture repair 1" in again.out + again.err
    assert project.states() == {"1": "unfinished"}


def test_an_invalid_index_without_a_name_left_behind_is_refused_with_7(project, database):
    database.execute("CREATE TABLE jam (fruit text)")
    database.execute("INSERT INTO jam VALUES ('fig'), ('fig')")
    project.write(
        "1_jam.sql", "-- confiture: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY ON jam (fruit);\n"
    )

    first = project.run()
    database.execute("DELETE FROM jam")
    again = project.run()

    assert first.exit_code == 4
    assert again.exit_code == 7
    assert "public.jam_fruit_idx" in only(again).error.message


def test_once_the_invalid_index_is_dropped_the_migration_is_finished(project, database):
    database.execute("CREATE TABLE jam (fruit text)")
    database.execute("INSERT INTO jam VALUES ('fig'), ('fig')")
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY jam_fruit ON jam (fruit);\n",
    )

    first = project.run()
    database.execute("DELETE FROM jam")
    database.execute("DROP INDEX jam_fruit")
    again = project.run()

    assert (first.exit_code, again.exit_code) == (4, 0)
    valid = database.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'jam_fruit'::regclass")
    assert valid.fetchone() == (True,)


def test_a_valid_index_of_the_same_name_elsewhere_is_not_taken_for_the_one_begun(project, database):
    """Another tenant's index has the name; ours was begun and never built."""
    database.execute(
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.jam (i int); CREATE TABLE b.jam (i int)"
    )
    database.execute("CREATE INDEX jam_i ON a.jam (i)")
    database.execute("INSERT INTO b.jam VALUES (1), (1)")
    project.write(
        "1_jam.sql", "-- confiture: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY jam_i ON b.jam (i);\n"
    )

    first = project.run()
    database.execute("DELETE FROM b.jam")
    database.execute("DROP INDEX b.jam_i")
    again = project.run()

    assert (first.exit_code, again.exit_code) == (4, 0)
    assert exists(database, "b.jam_i")


def test_an_invalid_index_of_the_same_name_elsewhere_is_nobodys_business(project, database):
    database.execute(
        "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.jam (i int); CREATE TABLE b.jam (i int)"
    )
    database.execute("CREATE INDEX jam_i ON a.jam (i)")
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'a.jam_i'::regclass")
    project.write(
        "1_jam.sql", "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_i ON b.jam (i);\n"
    )

    report = project.run()

    assert report.exit_code == 0, only(report).error
    assert exists(database, "a.jam_i")


def test_if_not_exists_never_takes_an_invalid_index_for_done(project, database):
    database.execute("CREATE TABLE jam (fruit text)")
    database.execute("CREATE INDEX jam_fruit ON jam (fruit)")
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'jam_fruit'::regclass")
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS jam_fruit ON jam (fruit);\n",
    )

    report = project.run()

    assert report.exit_code == 4
    assert "public.jam_fruit" in only(report).error.message
    assert "DROP INDEX CONCURRENTLY public.jam_fruit" in only(report).error.hint
    assert project.states() == {"1": "pending"}


def test_a_statement_that_ended_before_it_could_be_recorded_is_not_run_again(project, database):
    """The index is there and valid, only its record is missing: killed between the two."""
    database.execute("CREATE TABLE jam (fruit text)")
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit);\nSELECT 1/0;\n",
    )
    assert project.run().exit_code == 4
    database.execute("UPDATE confiture.progress SET done_at = NULL")
    project.write(
        "1_jam.sql", "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit);\n"
    )

    report = project.run()

    assert report.exit_code == 0, only(report).error
    assert project.states() == {"1": "applied"}


def test_a_killed_run_is_finished_by_the_next(project, database):
    """The last statement waits for a lock of ours until the run is killed."""
    project.write("0_gate.sql", "CREATE TABLE gate ();")
    patient = JAM.replace("no-transaction", "no-transaction\n-- confiture: lock_timeout=10min", 1)
    project.write("1_jam.sql", patient.format(third="LOCK TABLE gate;"))
    assert project.run(to="0").exit_code == 0
    with database.transaction():
        database.execute("LOCK TABLE gate IN ACCESS EXCLUSIVE MODE")
        with project.running("run") as process:
            stuck = until(running(database, "LOCK TABLE gate"), "the third statement")
            process.send_signal(signal.SIGKILL)
            process.wait()
        database.execute("SELECT pg_terminate_backend(%s, 60000)", (stuck,))
    state = project.states()["1"]

    done = project("run")

    assert state == "unfinished"
    assert done.code == 0, done.err
    assert database.execute("SELECT fruit FROM jam").fetchall() == [("fig",), ("plum",)]
    assert project.states() == {"0": "applied", "1": "applied"}


def test_a_python_no_transaction_migration_starts_over(project, database):
    text = """
        from confiture.models.migration import Migration

        class Jam(Migration):
            transactional = False

            def up(self):
                self.execute("CREATE TABLE IF NOT EXISTS jam (fruit text)")
                self.execute("INSERT INTO jam VALUES ('fig')")
                self.execute("SELECT {sum}")
        """
    project.write("1_jam.py", text.format(sum="1/0"))

    first = project.run()
    state = project.states()
    project.write("1_jam.py", text.format(sum="1/1"))
    again = project.run()

    assert (first.exit_code, again.exit_code) == (4, 0)
    assert state == {"1": "unfinished"}
    assert only(again).warnings == (
        "it starts over and repeats the statements that had run before it was stopped: 2",
    )
    (gap,) = only(again).not_seen
    assert (gap.what, "no-transaction Python" in gap.reason) == ("locks", True)
    assert database.execute("SELECT fruit FROM jam").fetchall() == [("fig",), ("fig",)]


def test_one_that_starts_over_in_a_transaction_says_so_and_ends(project):
    text = """
        from confiture.models.migration import Migration

        class Jam(Migration):
            transactional = {transactional}

            def up(self):
                self.execute("CREATE TABLE IF NOT EXISTS jam (fruit text)")
                self.execute("SELECT {sum}")
        """
    project.write("1_jam.py", text.format(transactional=False, sum="1/0"))
    assert project.run().exit_code == 4
    project.write("1_jam.py", text.format(transactional=True, sum="1/1"))

    rehearsed, again = project.rehearse(), project.run()

    warning = "it starts over and repeats the statements that had run before it was stopped: 1"
    assert [only(report).warnings for report in (rehearsed, again)] == [(warning,), (warning,)]
    assert project.states() == {"1": "applied"}
