"""Locks that somebody else holds: waited for, the holder named, and exit code 6."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.project import Project, applied, ended, tables, wait_until

pytestmark = pytest.mark.slow

SLEEPING = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


@pytest.fixture
def jam(project: Project, database) -> Project:
    """A project whose migration wants a table, at first for a tenth of a second."""
    database.execute("CREATE TABLE jam (i int)")
    project.write("1_sound.sql", "CREATE TABLE sound (i int)")
    project.write("2_jam.sql", "-- confiture: lock_timeout=100ms\nALTER TABLE jam ADD COLUMN t text;")
    return project


def columns_of_jam(database: psycopg.Connection[Any]) -> int:
    """Return how many columns the table has."""
    return database.execute(
        "SELECT FROM pg_attribute WHERE attrelid = 'jam'::regclass AND attnum > 0"
    ).rowcount


@pytest.mark.parametrize("command", ["run", "dry-run", "down"])
def test_another_run_in_progress_is_six_and_names_the_holder(project, database, command):
    project.write("1_sound.up.sql", "CREATE TABLE sound (i int)")
    project.write("1_sound.down.sql", "DROP TABLE sound")
    project("run")
    project.write("2_long.sql", "SELECT pg_sleep(600)")
    first = project.start("run")
    wait_until(lambda: database.execute(f"SELECT 1 {SLEEPING}").fetchone(), first)

    answer = project(command, "--lock-wait", "0.2")

    database.execute(f"SELECT pg_cancel_backend(pid) {SLEEPING}")
    ended(first)
    assert answer.code == 6
    waiting, *rest = answer.err.splitlines()
    assert waiting.startswith("waiting up to 0 s for the migration lock, which another run holds: pid ")
    assert "idle on purpose" in waiting
    assert "another run holds the migration lock: pid " in "\n".join(rest)
    assert "confiture" in answer.err
    assert "--lock-wait SECONDS" in answer.err
    assert applied(database) == ["1"]


def test_another_run_is_waited_for_and_what_it_did_is_not_done_again(project, database):
    project.write("1_wait.sql", "CREATE TABLE jam (i int); SELECT pg_advisory_xact_lock(4711);")
    database.execute("SELECT pg_advisory_lock(4711)")
    first = project.start("run")
    wait_until(
        lambda: database.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND objid = 4711").fetchone(),
        first,
    )
    second = project.start("run")
    wait_until(
        lambda: database.execute(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_xact_lock%' AND pid <> ALL"
            " (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)"
        ).fetchone(),
        second,
    )

    database.execute("SELECT pg_advisory_unlock(4711)")
    answers = ended(first), ended(second)

    assert [answer.code for answer in answers] == [0, 0]
    assert answers[1].out == "nothing to do\n"
    assert applied(database) == ["1"]


def test_the_lock_of_a_killed_run_is_free(project, database):
    project.write("1_long.sql", "SELECT pg_sleep(600)")
    first = project.start("run")
    wait_until(lambda: database.execute(f"SELECT 1 {SLEEPING}").fetchone(), first)

    with first:
        first.kill()
    database.execute(f"SELECT pg_terminate_backend(pid) {SLEEPING}")
    project.write("1_long.sql", "SELECT 1")

    assert project("run", "--lock-wait", "20").code == 0


def test_status_and_plan_need_no_lock(project, database):
    project.write("1_long.sql", "SELECT pg_sleep(600)")
    first = project.start("run")
    wait_until(lambda: database.execute(f"SELECT 1 {SLEEPING}").fetchone(), first)

    answers = project("status"), project("plan")

    first.terminate()
    ended(first)
    assert [answer.code for answer in answers] == [0, 0]


def test_a_lock_held_by_somebody_else_is_tried_again_then_six_naming_the_holder(jam, database, second):
    with second.transaction():
        second.execute("LOCK TABLE jam")
        holder = second.info.backend_pid
        answer = jam("run", "--output", "json")

    assert answer.code == 6
    assert "lock timeout" in answer.err
    assert f"the lock is held by pid {holder}" in answer.err
    assert "(attempt 4 of 4)" in answer.err
    for number in (2, 3, 4):
        assert f"2 jam: a lock was not granted in time; attempt {number} of 4 follows" in answer.err
    assert "migrations/2_jam.sql:2:1" in answer.err
    assert answer.json["migrations"][1]["error"]["sqlstate"] == "55P03"
    assert applied(database) == ["1"]
    assert columns_of_jam(database) == 1


def test_a_lock_that_is_freed_in_time_is_had_at_a_later_attempt(jam, database, second):
    jam.configure("lock_retries = 1000\n")
    second.execute("BEGIN; LOCK TABLE jam")
    run = jam.start("run")
    wait_until(
        lambda: database.execute(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'jam'::regclass"
        ).fetchone(),
        run,
    )

    second.execute("COMMIT")

    assert ended(run).code == 0
    assert columns_of_jam(database) == 2


def test_a_rehearsal_does_not_try_again(jam, second):
    second.execute("BEGIN; LOCK TABLE jam")

    answer = jam("dry-run")

    assert answer.code == 6
    assert "attempt" not in answer.err
    assert f"pid {second.info.backend_pid}" in answer.err


def test_without_retries_there_is_one_attempt(jam, second):
    jam.configure("lock_retries = 0\n")
    second.execute("BEGIN; LOCK TABLE jam")

    answer = jam("run")

    assert answer.code == 6
    assert "attempt" not in answer.err


def test_a_lock_not_granted_in_a_hook_is_six_too(project, database, second):
    database.execute("CREATE TABLE jam (i int)")
    project.write("1_sound.sql", "CREATE TABLE sound (i int)")
    project.install(
        "plum",
        "from confiture import hookimpl\n\n\n@hookimpl\ndef after_ddl(conn):\n"
        "    conn.execute(\"SET LOCAL lock_timeout = '50ms'\")\n    conn.execute('LOCK TABLE jam')\n",
    )
    second.execute("BEGIN; LOCK TABLE jam")

    answer = project("run", "--plugins", "plum")

    assert answer.code == 6
    assert "plum" in answer.err
    assert f"pid {second.info.backend_pid}" in answer.err
    assert "public.sound" not in tables(database)


def test_the_session_that_holds_the_migration_lock_is_named_by_its_program(project, database, database_url):
    project.write("1_long.sql", "SELECT pg_sleep(600)")
    project.url = psycopg.conninfo.make_conninfo(database_url, application_name="the nightly deploy")
    first = project.start("run")
    wait_until(lambda: database.execute(f"SELECT 1 {SLEEPING}").fetchone(), first)

    answer = project("run", "--lock-wait", "0")

    first.terminate()
    ended(first)
    assert "the nightly deploy" in answer.err
