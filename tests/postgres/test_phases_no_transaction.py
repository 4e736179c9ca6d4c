"""CONTRACT, Phases and transactions, the column *no-transaction migration*."""

from __future__ import annotations

import pytest

from tests.project import PHASES, exists, only, plugin, steps, trail

UP = "INSERT INTO trail VALUES ('up', pg_current_xact_id()::text);"


@pytest.fixture
def trailed(database):
    database.execute("CREATE TABLE trail (step text, xid text, number serial)")
    return plugin(**{phase: trail(phase) for phase in PHASES})


def test_each_phase_each_statement_and_the_ledger_row_have_a_transaction_of_their_own(
    project, database, trailed
):
    project.write("1_jam.sql", f"-- confiture: no-transaction\n{UP}\n{UP}\n")

    report = project.run(trailed)

    assert report.exit_code == 0
    order = ["before_validation", "before_ddl", "up", "up", "after_ddl", "after_validation", "cleanup"]
    assert [step for step, _ in steps(database)] == order
    (ledger_xid,) = database.execute("SELECT xmin::text FROM confiture.ledger").fetchone()
    xids = [int(xid) for _, xid in steps(database)] + [int(ledger_xid)]
    assert xids == sorted(set(xids))


def test_verify_has_a_transaction_of_its_own(project, database, trailed):
    project.write(
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            transactional = False

            def up(self):
                self.execute("INSERT INTO trail VALUES ('up', pg_current_xact_id()::text)")

            def verify(self):
                for _ in range(2):
                    self.execute("INSERT INTO trail VALUES ('verify', pg_current_xact_id()::text)")
        """,
    )

    report = project.run(trailed)

    assert report.exit_code == 0
    each = steps(database)
    assert [step for step, _ in each][2:6] == ["up", "after_ddl", "verify", "verify"]
    assert each[4][1] == each[5][1]
    assert len({xid for _, xid in each}) == len(each) - 1


def test_what_was_done_before_a_failed_statement_stays_and_is_recorded(project, database):
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE TABLE jam ();\nCREATE TABLE burnt AS SELECT 1/0;\n",
    )

    report = project.run()

    assert report.exit_code == 4
    assert (only(report).error.line, only(report).error.sqlstate) == (3, "22012")
    assert exists(database, "jam")
    assert project.states() == {"1": "unfinished"}


def test_a_hook_that_fails_before_up_leaves_nothing(project, database):
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam ();")

    def before_ddl(conn):
        conn.execute("CREATE TABLE burnt ()")
        raise ValueError("burnt")

    report = project.run(plugin(before_ddl=before_ddl))

    assert report.exit_code == 5
    assert not exists(database, "jam")
    assert not exists(database, "burnt")
    assert project.states() == {"1": "pending"}


def test_the_ledger_row_is_written_last(project, database):
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam ();")

    report = project.run(plugin(cleanup=lambda: 1 / 0))

    assert report.exit_code == 5
    assert exists(database, "jam")
    assert database.execute("SELECT count(*) FROM confiture.ledger").fetchone() == (0,)
    assert project.states() == {"1": "unfinished"}


def test_statements_that_no_transaction_allows_run(project, database):
    database.execute("CREATE TABLE jam (fruit text)")
    project.write(
        "1_jam.sql",
        """
        -- confiture: no-transaction
        CREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit);
        REINDEX TABLE CONCURRENTLY jam;
        VACUUM jam;
        DROP INDEX CONCURRENTLY jam_fruit;
        """,
    )

    report = project.run()

    assert report.exit_code == 0, only(report).error
    assert not exists(database, "jam_fruit")


def test_on_commit_callbacks_come_after_the_last_commit(project, database, second):
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam ();")
    seen = []

    def count():
        seen.append(second.execute("SELECT version FROM confiture.ledger").fetchall())

    report = project.run(plugin(before_ddl=lambda context: context.on_commit(count)))

    assert report.exit_code == 0
    assert seen == [[("1",)]]


def test_on_error_runs_in_a_transaction_of_its_own_that_lasts(project, database):
    database.execute("CREATE TABLE alarms (message text)")
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam ();\nSELECT 1/0;\n")

    def on_error(conn, error):
        conn.execute("INSERT INTO alarms VALUES (%s)", (error.sqlstate,))

    report = project.run(plugin(on_error=on_error))

    assert report.exit_code == 4
    assert database.execute("SELECT message FROM alarms").fetchall() == [("22012",)]


def test_on_error_runs_on_a_new_connection_where_the_old_one_is_gone(project, database):
    database.execute("CREATE TABLE alarms (sqlstate text)")
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE TABLE t ();\nSELECT pg_terminate_backend(pg_backend_pid());\n",
    )

    def on_error(conn, error):
        conn.execute("INSERT INTO alarms VALUES (%s)", (error.sqlstate,))

    report = project.run(plugin(on_error=on_error))

    assert report.exit_code == 4
    assert database.execute("SELECT sqlstate FROM alarms").fetchall() == [("57P01",)]
    assert project.states() == {"1": "unfinished"}


def test_settings_temporary_tables_and_cursors_do_not_leak_into_the_next_migration(project, database):
    project.write(
        "1_leaky.sql",
        """
        -- confiture: no-transaction
        -- confiture: lock_timeout=9s
        SET search_path = pg_catalog;
        SET work_mem = '9MB';
        CREATE TEMPORARY TABLE bowl ();
        DECLARE held CURSOR WITH HOLD FOR SELECT 1;
        """,
    )
    project.write(
        "2_next.sql",
        """
        CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS timeout,
            current_setting('work_mem') AS mem, to_regclass('bowl') IS NULL AS tidy,
            (SELECT count(*) FROM pg_cursors WHERE name <> '') AS cursors;
        """,
    )
    default = database.execute("SHOW work_mem").fetchone()
    assert default is not None

    report = project.run()

    assert report.exit_code == 0, [migration.error for migration in report.migrations]
    assert database.execute("SELECT * FROM public.seen").fetchone() == ("5s", default[0], True, 0)


def test_what_a_hook_sets_with_set_local_holds_for_the_statements(project, database):
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE TABLE seen AS SELECT current_setting('lock_timeout') AS t;",
    )

    report = project.run(plugin(before_ddl=lambda context: context.set_local("lock_timeout", "3s")))

    assert report.exit_code == 0
    assert database.execute("SELECT t FROM seen").fetchone() == ("3s",)


def test_a_python_migration_that_leaves_a_transaction_open_fails_and_says_so(project, database):
    project.write(
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            transactional = False

            def up(self):
                self.execute("BEGIN")
                self.execute("CREATE TABLE jam ()")
        """,
    )

    report = project.run()

    assert report.exit_code == 4
    assert "transaction" in only(report).error.message
    assert not exists(database, "jam")
    assert project.states() == {"1": "pending"}
