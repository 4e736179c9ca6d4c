"""CONTRACT, Phases and transactions, the column *transactional migration*."""

from __future__ import annotations

import psycopg
import pytest

from tests.project import PHASES, exists, only, plugin, steps, trail


@pytest.fixture
def trailed(database):
    database.execute("CREATE TABLE trail (step text, xid text, number serial)")
    return plugin(**{phase: trail(phase) for phase in PHASES})


def test_begin_to_ledger_row_are_one_transaction_in_the_order_of_the_table(project, database, trailed):
    project.write(
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            def up(self):
                self.execute("INSERT INTO trail VALUES ('up', pg_current_xact_id()::text)")

            def verify(self):
                self.execute("INSERT INTO trail VALUES ('verify', pg_current_xact_id()::text)")
        """,
    )

    report = project.run(trailed)

    assert report.exit_code == 0
    order = ["before_validation", "before_ddl", "up", "after_ddl", "verify", "after_validation", "cleanup"]
    assert [step for step, _ in steps(database)] == order
    (ledger_xid,) = database.execute("SELECT xmin::text FROM confiture.ledger").fetchone()
    assert {xid for _, xid in steps(database)} == {ledger_xid}


def test_up_runs_statement_by_statement(project):
    project.write("1_jam.sql", "CREATE TABLE jam (fruit text);\nINSERT INTO jam VALUES ('fig'), ('plum');\n")

    report = project.run()

    each = only(report).statements
    assert [(one.line, one.sql, one.rows) for one in each] == [
        (1, "CREATE TABLE jam (fruit text)", None),
        (2, "INSERT INTO jam VALUES ('fig'), ('plum')", 2),
    ]


@pytest.mark.parametrize("phase", PHASES)
def test_a_hook_that_fails_in_any_phase_leaves_neither_change_nor_ledger_row(project, database, phase):
    project.write("1_jam.sql", "CREATE TABLE jam ();")

    def burnt(conn):
        conn.execute("CREATE TABLE burnt ()")
        raise ValueError("burnt")

    report = project.run(plugin(**{phase: burnt}))

    assert report.exit_code == 5
    assert only(report).error.phase == phase
    assert not exists(database, "jam")
    assert not exists(database, "burnt")
    assert project.states() == {"1": "pending"}


def test_begin_sets_the_timeouts_for_this_transaction(project, database):
    project.write(
        "1_jam.sql",
        """\
        -- confiture: lock_timeout=7s
        -- confiture: statement_timeout=11min
        CREATE TABLE seen AS SELECT current_setting('lock_timeout') l, current_setting('statement_timeout') s;
        """,
    )
    project.write(
        "2_jam.sql",
        "INSERT INTO seen SELECT current_setting('lock_timeout'), current_setting('statement_timeout')",
    )

    for version, zero in (("3", "lock_timeout = 0"), ("4", "lock_timeout = '0'")):
        project.write(
            f"{version}_jam.py",
            "from confiture.models.migration import Migration\n\n\nclass Jam(Migration):\n"
            f"    {zero}\n\n    def up(self):\n        self.execute("
            "\"INSERT INTO seen SELECT current_setting('lock_timeout'), 'none'\")\n",
        )

    report = project.run()

    assert report.exit_code == 0
    assert database.execute("SELECT l, s FROM seen").fetchall() == [
        ("7s", "11min"),
        ("5s", "0"),
        ("0", "none"),
        ("0", "none"),
    ]


def test_the_statement_timeout_stops_a_statement_and_rolls_back(project, database):
    project.write(
        "1_jam.sql",
        "-- confiture: statement_timeout=100ms\nCREATE TABLE jam ();\nSELECT pg_sleep(600);\n",
    )

    report = project.run()

    assert report.exit_code == 4
    assert (only(report).error.sqlstate, only(report).error.line) == ("57014", 3)
    assert not exists(database, "jam")


def test_verify_that_raises_stops_the_migration(project, database):
    project.write(
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            def up(self):
                self.execute("CREATE TABLE jam ()")

            def verify(self):
                raise AssertionError("not sweet enough")
        """,
    )

    report = project.run()

    assert report.exit_code == 4
    assert only(report).error.phase == "validation"
    assert "not sweet enough" in only(report).error.message
    assert not exists(database, "jam")


DEFERRED = """
    CREATE TABLE pot (id int PRIMARY KEY);
    CREATE TABLE jam (pot int REFERENCES pot DEFERRABLE INITIALLY DEFERRED);
"""


@pytest.mark.parametrize("hooks", [False, True], ids=["without hooks after it", "with hooks after it"])
def test_validation_checks_deferred_constraints(project, database, hooks):
    database.execute(DEFERRED)
    project.write("1_jam.sql", "INSERT INTO jam VALUES (1);")
    called = []
    plugins = [plugin(after_validation=lambda conn: called.append("after_validation"))] if hooks else []

    report = project.run(*plugins)

    assert report.exit_code == 4
    assert (only(report).error.sqlstate, only(report).error.phase) == ("23503", "validation")
    assert called == []
    assert database.execute("SELECT count(*) FROM jam").fetchone() == (0,)
    assert project.states() == {"1": "pending"}


def test_a_deferred_constraint_mended_before_validation_passes(project, database):
    database.execute(DEFERRED)
    project.write("1_jam.sql", "INSERT INTO jam VALUES (1); INSERT INTO pot VALUES (1);")

    report = project.run()

    assert report.exit_code == 0
    assert database.execute("SELECT count(*) FROM jam").fetchone() == (1,)


def test_after_validation_the_deferred_constraints_are_deferred_again(project, database):
    """A hook of after_validation may insert child before parent."""
    database.execute(DEFERRED)
    project.write("1_jam.sql", "SELECT 1;")

    def after_validation(conn):
        conn.execute("INSERT INTO jam VALUES (1)")
        conn.execute("INSERT INTO pot VALUES (1)")

    report = project.run(plugin(after_validation=after_validation))

    assert report.exit_code == 0
    assert database.execute("SELECT count(*) FROM jam").fetchone() == (1,)


def test_deferred_rows_of_a_cleanup_hook_are_checked_before_the_commit(project, database):
    database.execute(DEFERRED)
    project.write("1_jam.sql", "SELECT 1;")

    report = project.run(plugin(cleanup=lambda conn: conn.execute("INSERT INTO jam VALUES (1)") and None))

    assert report.exit_code == 4
    assert only(report).error.sqlstate == "23503"
    assert project.states() == {"1": "pending"}


def test_a_constraint_of_the_same_name_that_is_not_deferrable_is_left_alone(project, database):
    database.execute(
        """
        CREATE TABLE pot (id int PRIMARY KEY);
        CREATE TABLE jam (pot int CONSTRAINT held REFERENCES pot DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE jar (pot int CONSTRAINT held REFERENCES pot);
        CREATE TABLE "Odd Table" (pot int CONSTRAINT "Odd ""one" REFERENCES pot DEFERRABLE INITIALLY DEFERRED)
        """
    )
    project.write("1_jam.sql", "SELECT 1;")

    def after_validation(conn):
        conn.execute('INSERT INTO "Odd Table" VALUES (1)')
        conn.execute("INSERT INTO pot VALUES (1)")

    report = project.run(plugin(after_validation=after_validation))

    assert report.exit_code == 0


def test_settings_temporary_tables_and_cursors_do_not_leak_into_the_next_migration(project, database):
    project.write(
        "1_leaky.sql",
        """
        CREATE SCHEMA kitchen;
        SET search_path = kitchen;
        SET work_mem = '9MB';
        SET TimeZone = 'Asia/Tokyo';
        SET LOCAL statement_timeout = '1h';
        CREATE TEMPORARY TABLE bowl ();
        DECLARE spoon CURSOR FOR SELECT 1;
        DECLARE held CURSOR WITH HOLD FOR SELECT 1;
        PREPARE soup AS SELECT 1;
        """,
    )
    project.write(
        "2_next.sql",
        """
        CREATE TABLE seen AS SELECT current_setting('search_path') AS path,
            current_setting('work_mem') AS mem, current_setting('TimeZone') AS zone,
            current_setting('statement_timeout') AS timeout,
            to_regclass('bowl') IS NULL AS tidy,
            (SELECT count(*) FROM pg_cursors WHERE name <> '') AS cursors;
        """,
    )
    default = database.execute(
        "SELECT current_setting('search_path'), current_setting('work_mem'), current_setting('TimeZone')"
    ).fetchone()
    assert default is not None

    report = project.run()

    assert report.exit_code == 0
    seen = database.execute("SELECT * FROM public.seen").fetchone()
    assert seen == (*default, "0", True, 0)


def test_a_role_taken_by_a_migration_does_not_leak_into_the_next(project, database):
    role = f"cook_{database.info.backend_pid}"
    database.execute(f"CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}")
    try:
        project.write("1_cook.sql", f"SET ROLE {role}; CREATE TABLE jam ();")
        project.write("2_next.sql", "CREATE TABLE seen AS SELECT current_user::text AS who;")

        report = project.run()

        assert report.exit_code == 0
        owner = database.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'jam'").fetchone()
        assert owner == (role,)
        assert database.execute("SELECT who = session_user FROM seen").fetchone() == (True,)
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_on_commit_callbacks_are_called_after_the_commit(project, database, second):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    seen = []

    def cleanup(context):
        context.on_commit(lambda: seen.append(exists(second, "jam")))
        assert seen == []

    report = project.run(plugin(cleanup=cleanup))

    assert report.exit_code == 0
    assert seen == [True]


def test_on_commit_callbacks_of_a_failed_migration_are_not_called(project):
    project.write("1_jam.sql", "SELECT 1/0;")
    called = []

    report = project.run(
        plugin(before_ddl=lambda context: context.on_commit(lambda: called.append("on_commit")))
    )

    assert report.exit_code == 4
    assert called == []


def test_an_on_commit_callback_that_fails_is_said_and_undoes_nothing(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")

    def boil_over():
        raise ValueError("too hot")

    report = project.run(plugin(cleanup=lambda context: context.on_commit(boil_over)))

    assert report.exit_code == 0
    assert "too hot" in only(report).warnings[0]
    assert exists(database, "jam")


def test_on_error_runs_after_the_rollback_in_a_new_transaction_that_lasts(project, database):
    database.execute("CREATE TABLE alarms (message text, seen boolean)")
    project.write("1_jam.sql", "CREATE TABLE jam ();\nSELECT 1/0;\n")

    def on_error(conn, context, error):
        assert context.error is error
        conn.execute("INSERT INTO alarms VALUES (%s, to_regclass('jam') IS NOT NULL)", (error.sqlstate,))

    report = project.run(plugin(on_error=on_error))

    assert report.exit_code == 4
    assert database.execute("SELECT * FROM alarms").fetchall() == [("22012", False)]


def test_on_error_that_fails_is_said_and_leaves_the_exit_code(project, database):
    database.execute("CREATE TABLE alarms ()")
    project.write("1_jam.sql", "SELECT 1/0;")

    def on_error(conn, context, error):
        conn.execute("INSERT INTO alarms DEFAULT VALUES")
        raise RuntimeError("no telephone")

    report = project.run(plugin(on_error=on_error))

    assert report.exit_code == 4
    assert only(report).error.sqlstate == "22012"
    assert any("no telephone" in warning for warning in only(report).warnings)
    assert database.execute("SELECT count(*) FROM alarms").fetchone() == (0,)


def test_on_error_runs_on_a_new_connection_where_the_old_one_is_gone(project, database):
    database.execute("CREATE TABLE alarms (pid int)")
    project.write("1_jam.sql", "CREATE TABLE jam (); SELECT pg_terminate_backend(pg_backend_pid());")
    pids = []

    def before_ddl(conn):
        pids.append(conn.info.backend_pid)

    def on_error(conn, context, error):
        conn.execute("INSERT INTO alarms VALUES (pg_backend_pid())")

    report = project.run(plugin(before_ddl=before_ddl, on_error=on_error))

    assert report.exit_code == 4
    ((pid,),) = database.execute("SELECT pid FROM alarms").fetchall()
    assert pid not in pids
    assert not exists(database, "jam")
    assert project.states() == {"1": "pending"}


def test_on_error_without_any_connection_to_be_had_is_said_and_the_exit_code_stays(project, database, server):
    """Nobody may connect any more: on_error has nowhere to write."""
    name = database.info.dbname
    project.write("1_jam.sql", "CREATE TABLE jam (); SELECT pg_terminate_backend(pg_backend_pid());")
    called = []
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as elsewhere:

        def before_ddl(conn):
            elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')

        report = project.run(plugin(before_ddl=before_ddl, on_error=lambda conn: called.append(conn)))

        elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert report.exit_code == 4
    assert called == []
    assert any("on_error did not run" in warning for warning in only(report).warnings)
    assert not exists(database, "jam")


def test_what_comes_after_a_failed_migration_is_not_reached(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.write("2_burnt.sql", "CREATE TABLE burnt (); SELECT 1/0;")
    project.write("3_next.sql", "CREATE TABLE next ();")

    report = project.run()

    assert [migration.outcome for migration in report.migrations] == ["applied", "failed", "pending"]
    assert project.states() == {"1": "applied", "2": "pending", "3": "pending"}
    assert exists(database, "jam")
    assert not exists(database, "burnt")
    assert not exists(database, "next")
