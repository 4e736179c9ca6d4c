"""CONTRACT, Timeouts and retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from confiture import HookContext
from tests.project import exists, only, plugin, until

pytestmark = pytest.mark.slow

QUICK = {"lock_timeout": "150ms"}
ALTER = "CREATE TABLE pot ();\nALTER TABLE jam ADD COLUMN sugar int;\n"


@pytest.fixture
def jam(database):
    database.execute("CREATE TABLE jam (fruit text)")


@pytest.fixture
def locked(jam, second):
    """A session that holds a lock on jam until it commits."""
    second.execute("SET application_name = 'the cook'")
    second.execute("BEGIN; LOCK TABLE jam")
    return second


def letting_go(session: Connection[Any], attempt: int) -> Callable[..., None]:
    """Return a hook that ends the other session's transaction at this attempt."""

    def hook(context: HookContext) -> None:
        if context.attempt == attempt:
            session.execute("COMMIT")

    return hook


def test_a_lock_timeout_is_retried_as_a_new_attempt(project, locked, database):
    project.write("1_jam.sql", ALTER)
    seen = []

    def before_validation(context):
        seen.append((context.attempt, dict(context.data), context.stats, len(context.callbacks)))
        context.data["jam"]["spoon"] = True
        context.set_stat("spoons", 1)
        context.on_commit(lambda: called.append(context.attempt))

    called: list[int] = []

    report = project.run(
        plugin(before_validation=before_validation, before_ddl=letting_go(locked, 3)), **QUICK
    )

    assert report.exit_code == 0
    assert seen == [(1, {}, {}, 0), (2, {}, {}, 0), (3, {}, {}, 0)]
    assert called == [3]
    assert exists(database, "pot")
    assert [statement.sql for statement in only(report).statements] == [
        "CREATE TABLE pot ()",
        "ALTER TABLE jam ADD COLUMN sugar int",
    ]


def test_each_attempt_has_a_new_migration(project, locked):
    project.write(
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            spoons = 0

            def up(self):
                self.spoons += 1
                assert self.spoons == 1
                self.execute("ALTER TABLE jam ADD COLUMN sugar int")
        """,
    )

    report = project.run(plugin(before_ddl=letting_go(locked, 2)), **QUICK)

    assert report.exit_code == 0


def test_by_default_there_are_three_retries_then_6_names_the_holder(project, locked, database):
    project.write("1_jam.sql", f"-- confiture: lock_timeout=150ms\n{ALTER}")

    done = project("run")

    said = done.out + done.err
    assert done.code == 6
    assert "(attempt 4 of 4)" in said
    assert f"pid {locked.info.backend_pid}" in said
    assert locked.info.user in said
    assert "the cook" in said
    assert "1_jam.sql:3:" in said
    assert "Traceback" not in said
    assert not exists(database, "pot")
    assert project.states() == {"1": "pending"}


def test_on_error_runs_once_after_the_last_attempt(project, locked):
    project.write("1_jam.sql", ALTER)
    attempts, errors = [], []

    def on_error(context, error):
        errors.append((context.attempt, error.sqlstate))

    report = project.run(
        plugin(before_ddl=lambda context: attempts.append(context.attempt), on_error=on_error),
        **QUICK,
        lock_retries=1,
    )

    assert report.exit_code == 6
    assert attempts == [1, 2]
    assert errors == [(2, "55P03")]


def test_retry_false_in_a_plugins_table_means_no_retry_once_its_hook_has_run(project, locked):
    project.write("1_jam.sql", ALTER)
    attempts = []

    report = project.run(
        plugin(before_ddl=lambda context: attempts.append(context.attempt)),
        **QUICK,
        plugin_tables={"jam": {"retry": False}},
    )

    assert report.exit_code == 6
    assert attempts == [1]


def test_retry_false_matters_only_once_the_hook_has_run(project, locked):
    project.write("1_jam.sql", ALTER)
    attempts = []

    def before_ddl(context):
        attempts.append(context.attempt)

    report = project.run(
        plugin("first", before_ddl=before_ddl),
        plugin("second", after_ddl=before_ddl),
        **QUICK,
        lock_retries=1,
        plugin_tables={"second": {"retry": False}},
    )

    assert report.exit_code == 6
    assert attempts == [1, 2]


def test_a_lock_timeout_in_a_hook_is_retried_and_ends_in_6(project, locked):
    project.write("1_jam.sql", "CREATE TABLE pot ();")
    attempts = []

    def before_ddl(conn, context):
        attempts.append(context.attempt)
        conn.execute("LOCK TABLE jam")

    report = project.run(plugin(before_ddl=before_ddl), **QUICK, lock_retries=1)

    assert report.exit_code == 6
    assert attempts == [1, 2]
    assert f"pid {locked.info.backend_pid}" in only(report).error.message


def test_a_lock_timeout_in_a_hook_that_may_go_on_is_passed_over(project, locked):
    project.write("1_jam.sql", "CREATE TABLE pot ();")

    report = project.run(
        plugin(before_ddl=lambda conn: conn.execute("LOCK TABLE jam")),
        **QUICK,
        plugin_tables={"jam": {"on_failure": "continue"}},
    )

    assert report.exit_code == 0
    assert "jam" in only(report).warnings[0]


def test_a_lock_timeout_in_verify_ends_in_6(project, locked):
    project.write(
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            def up(self):
                pass

            def verify(self):
                self.execute("LOCK TABLE jam")
        """,
    )

    report = project.run(**QUICK, lock_retries=0)

    assert report.exit_code == 6


def test_another_failure_is_not_retried(project, jam):
    project.write("1_jam.sql", "SELECT 1/0;")
    attempts = []

    report = project.run(plugin(before_ddl=lambda context: attempts.append(context.attempt)))

    assert report.exit_code == 4
    assert attempts == [1]


def test_a_rehearsal_does_not_retry(project, locked):
    project.write("1_jam.sql", ALTER)
    attempts = []

    report = project.rehearse(plugin(before_ddl=lambda context: attempts.append(context.attempt)), **QUICK)

    assert report.exit_code == 6
    assert attempts == [1]


def test_a_no_transaction_migration_goes_on_where_the_last_attempt_stopped(project, locked, database):
    project.write("1_jam.sql", f"-- confiture: no-transaction\n{ALTER}CREATE TABLE spoon ();\n")

    report = project.run(plugin(before_ddl=letting_go(locked, 2)), **QUICK)

    assert report.exit_code == 0, only(report).error
    assert exists(database, "spoon")
    assert project.states() == {"1": "applied"}


def test_a_no_transaction_migration_that_gives_up_keeps_what_was_recorded(project, locked, database):
    project.write("1_jam.sql", f"-- confiture: no-transaction\n{ALTER}")

    report = project.run(**QUICK, lock_retries=1)
    locked.execute("COMMIT")
    again = project.run()

    assert (report.exit_code, again.exit_code) == (6, 0)
    assert exists(database, "pot")


@pytest.fixture
def old_transaction(database, second):
    """A transaction older than the index, with a snapshot of its own."""
    database.execute("CREATE TABLE jam (fruit text)")
    second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    return second


CONCURRENTLY = {
    "sql": (
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS jam_fruit ON jam (fruit);\n",
    ),
    "sql without a name": (
        "1_jam.sql",
        "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY ON jam (fruit);\n",
    ),
    "python": (
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            transactional = False

            def up(self):
                self.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS jam_fruit ON jam (fruit)")
        """,
    ),
}


def indexes(conn: Connection[Any]) -> list[tuple[bool]]:
    """Return whether each index of jam is valid."""
    return conn.execute("SELECT indisvalid FROM pg_index WHERE indrelid = 'jam'::regclass").fetchall()


@pytest.mark.parametrize("file", CONCURRENTLY.values(), ids=CONCURRENTLY.keys())
def test_the_invalid_index_of_a_concurrently_is_dropped_before_it_is_retried(
    project, old_transaction, database, file
):
    project.write(*file)
    left = []

    def before_ddl(context):
        left.append(indexes(database))
        if context.attempt == 2:
            old_transaction.execute("COMMIT")

    report = project.run(plugin(before_ddl=before_ddl), wait_concurrently="150ms")

    assert report.exit_code == 0, only(report).error
    assert len(left) >= 2
    assert not any(left)
    assert indexes(database) == [(True,)]


@pytest.mark.parametrize("file", CONCURRENTLY.values(), ids=CONCURRENTLY.keys())
def test_a_concurrently_that_gives_up_leaves_no_invalid_index(project, old_transaction, database, file):
    project.write(*file)

    report = project.run(wait_concurrently="150ms", lock_retries=1)

    assert report.exit_code == 6
    assert indexes(database) == []
    assert f"pid {old_transaction.info.backend_pid}" in only(report).error.message


@pytest.mark.parametrize("file", CONCURRENTLY.values(), ids=CONCURRENTLY.keys())
def test_concurrently_outlasts_the_lock_timeout(project, old_transaction, database, file):
    """The lock_timeout is 100 ms; the old transaction ends when it has been waited for ten times that."""
    project.write(*file)
    (project.folder / "confiture.toml").write_text('lock_timeout = "100ms"\n')
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query ILIKE '%concurrently%' AND clock_timestamp() - query_start > '1s'"
        " AND pid <> pg_backend_pid() AND datname = current_database()"
    )

    with project.running("run") as process:
        until(lambda: database.execute(waiting).fetchall() != [(0,)], "a CONCURRENTLY that waits")
        old_transaction.execute("COMMIT")
        process.wait(60)

    assert process.returncode == 0
    assert indexes(database) == [(True,)]


def test_an_invalid_index_that_cannot_be_dropped_in_time_is_named_and_never_taken_for_done(
    project, database, second
):
    """A writer's open transaction stops CREATE and DROP INDEX CONCURRENTLY alike."""
    database.execute("CREATE TABLE jam (fruit text)")
    second.execute("BEGIN; INSERT INTO jam VALUES ('fig')")
    project.write(*CONCURRENTLY["sql"])

    first = project.run(wait_concurrently="150ms")
    second.execute("COMMIT")
    again = project.run()

    assert (first.exit_code, again.exit_code) == (6, 7)
    assert "public.jam_fruit" in only(first).error.message
    assert f"pid {second.info.backend_pid}" in only(first).error.message
    assert "DROP INDEX CONCURRENTLY public.jam_fruit" in only(first).error.hint
    assert "confiture repair 1" in only(again).error.hint


def test_a_failed_reindex_concurrently_leaves_no_copy_of_the_index(project, old_transaction, database):
    database.execute("CREATE INDEX jam_fruit ON jam (fruit)")
    old_transaction.execute("COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    project.write("1_jam.sql", "-- confiture: no-transaction\nREINDEX INDEX CONCURRENTLY jam_fruit;\n")

    report = project.run(wait_concurrently="150ms", lock_retries=0)

    assert report.exit_code == 6
    assert indexes(database) == [(True,)]
