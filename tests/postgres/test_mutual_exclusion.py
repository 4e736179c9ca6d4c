"""CONTRACT, Ledger and mutual exclusion: one run at a time per database and schema."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from confiture.exceptions import LockFault
from confiture.models.report import Report
from tests.project import Project, exists, keeper_of, only, plugin, running, until

pytestmark = pytest.mark.slow


class Elsewhere(threading.Thread):
    """Another run, in a thread of its own."""

    def __init__(self, work: Callable[[], Report]) -> None:
        super().__init__()
        self.work = work
        self.report: Report | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do the work and keep what came of it."""
        try:
            self.report = self.work()
        except BaseException as error:
            self.error = error

    def ended(self) -> Elsewhere:
        """Wait for its end."""
        self.join(60)
        assert not self.is_alive()
        return self


def test_of_two_runs_one_waits_and_then_finds_nothing_to_do(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    waiter: list[Elsewhere] = []

    def before_ddl():
        waiter.append(Elsewhere(project.run))
        waiter[0].start()
        until(lambda: tries(database), "the second run at the lock")

    first = project.run(plugin(before_ddl=before_ddl))
    second = waiter[0].ended().report

    assert [migration.outcome for migration in first.migrations] == ["applied"]
    assert second is not None
    assert (second.exit_code, second.migrations) == (0, ())


def tries(conn: Any) -> bool:
    """Whether a session polls for the migration lock without having it."""
    found = conn.execute(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
        " AND query LIKE '%%pg_try_advisory_xact_lock%%' AND pid <> pg_backend_pid()",
        (keeper_of(conn),),
    ).fetchone()
    return found is not None


@pytest.mark.parametrize("command", ["run", "dry-run", "down"])
def test_a_waiter_gives_up_at_the_deadline_with_6_and_names_the_holder(project, database, command):
    project.write("0_lid.up.sql", "CREATE TABLE lid ();")
    project.write("0_lid.down.sql", "DROP TABLE lid;")
    project.run()
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    answers = []

    def before_ddl():
        answers.append((keeper_of(database), project(command, "--lock-wait", "0.2")))

    project.run(plugin(before_ddl=before_ddl))

    ((pid, done),) = answers
    assert done.code == 6
    assert f"pid {pid}" in done.err
    assert f"user {database.info.user}" in done.err
    assert "confiture" in done.err.partition("(user")[2]
    assert "--lock-wait" in done.err
    assert "Traceback" not in done.err
    assert exists(database, "lid")


def test_another_schema_and_another_database_are_none_of_its_business(project, database):
    project.write("1_jam.sql", "CREATE TABLE IF NOT EXISTS jam ();")
    reports = []

    def before_ddl():
        reports.append(project.run(schema="other", lock_wait_s=0.2))

    first = project.run(plugin(before_ddl=before_ddl))

    assert (first.exit_code, reports[0].exit_code) == (0, 0)


def test_a_rehearsal_takes_the_lock_too(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    errors = []

    def before_ddl():
        try:
            project.run(lock_wait_s=0.2)
        except LockFault as error:
            errors.append(error.exit_code)

    project.rehearse(plugin(before_ddl=before_ddl))

    assert errors == [6]
    assert not exists(database, "jam")


def test_a_killed_holders_lock_is_free_at_once(project, database):
    """The killed run's own session still sleeps on the server; its lock is free all the same."""
    project.write("1_jam.sql", "SELECT pg_sleep(600);")
    with project.running("run") as process:
        stuck = until(running(database, "pg_sleep"), "the first run")
        process.kill()
        process.wait()
        project.write("1_jam.sql", "CREATE TABLE jam ();")

        report = project.run(lock_wait_s=10)

    database.execute("SELECT pg_terminate_backend(%s, 60000)", (stuck,))
    assert report.exit_code == 0
    assert exists(database, "jam")


def test_the_lock_ends_with_the_run(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")

    project.run()

    until(lambda: keeper_of(database) is None, "the end of the session that held the lock")


def end_the_keeper(database: Any) -> None:
    """End the session that holds the migration lock."""
    database.execute("SELECT pg_terminate_backend(%s, 60000)", (keeper_of(database),))


LOSERS = {
    "transactional": ("1_jam.sql", "CREATE TABLE jam ();"),
    "no-transaction": ("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam ();"),
    "no-transaction, outside": (
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam ON pot (id);",
    ),
    "no-transaction in Python": (
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            transactional = False

            def up(self):
                self.execute("CREATE TABLE jam ()")
        """,
    ),
}


@pytest.mark.parametrize("file", LOSERS.values(), ids=LOSERS.keys())
def test_a_holder_that_lost_its_lock_rolls_back_before_its_next_commit_with_6(project, database, file):
    database.execute("CREATE TABLE pot (id int)")
    project.write("0_lid.sql", "CREATE TABLE lid ();")
    project.write(*file)
    project.write("2_spoon.sql", "CREATE TABLE spoon ();")

    def before_ddl(context):
        if context.migration_version == "1":
            end_the_keeper(database)

    report = project.run(plugin(before_ddl=before_ddl))

    assert report.exit_code == 6
    assert [migration.outcome for migration in report.migrations] == ["applied", "failed", "pending"]
    assert "lock was lost" in report.migrations[1].error.message
    assert report.migrations[1].error.hint
    assert not exists(database, "jam")
    assert project.states() == {"0": "applied", "1": "pending", "2": "pending"}


def test_a_lock_lost_between_two_statements_stops_before_the_second_is_committed(project, database):
    project.write(
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE TABLE jam ();\n"
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database());\n"
        "CREATE TABLE pot ();\n",
    )

    report = project.run()

    assert report.exit_code == 6
    assert only(report).error.message.startswith("the migration lock was lost")
    assert exists(database, "jam")
    assert not exists(database, "pot")
    assert project.states() == {"1": "unfinished"}


def test_a_down_that_lost_its_lock_undoes_nothing(project, database):
    project.write("1_jam.up.sql", "CREATE TABLE jam ();")
    project.write("1_jam.down.sql", "DROP TABLE jam;")
    project.run()

    report = project.down(plugin(cleanup=lambda: end_the_keeper(database)))

    assert report.exit_code == 6
    assert exists(database, "jam")
    assert project.states() == {"1": "applied"}


def test_what_on_error_writes_lasts_where_the_lock_was_lost(project, database):
    database.execute("CREATE TABLE alarms (message text)")
    project.write("1_jam.sql", "CREATE TABLE jam ();")

    def on_error(conn, error):
        conn.execute("INSERT INTO alarms VALUES (%s)", (type(error).__name__,))

    report = project.run(plugin(cleanup=lambda: end_the_keeper(database), on_error=on_error))

    assert report.exit_code == 6
    assert database.execute("SELECT message FROM alarms").fetchall() == [("LockFault",)]


def test_the_keeper_holds_no_snapshot_that_concurrently_would_wait_for(project, database, server):
    """With default_transaction_isolation at repeatable read an idle transaction would keep one."""
    name = database.info.dbname
    database.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    database.execute("CREATE TABLE jam (fruit text)")
    project.write(
        "1_jam.sql", "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit);"
    )

    report = project.run(wait_concurrently="20s", lock_retries=0)

    assert report.exit_code == 0, only(report).error


def test_an_idle_timeout_of_the_server_does_not_end_the_keeper(project, database):
    name = database.info.dbname
    database.execute(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '100ms'")
    project.write("1_jam.sql", "SELECT pg_sleep(0.5); CREATE TABLE jam ();")

    report = project.run()

    assert report.exit_code == 0, only(report).error


def test_one_connection_to_be_had_is_an_error_and_not_a_hang(project: Project, database: Any) -> None:
    role = f"narrow_{database.info.backend_pid}"
    database.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
    try:
        project.write("1_jam.sql", "CREATE TABLE jam ();")

        done = project("run", "--url", make_conninfo(project.url, user=role))

        assert done.code == 3
        assert "two connections" in done.err
        assert not exists(database, "jam")
    finally:
        database.execute(f"DROP ROLE {role}")
