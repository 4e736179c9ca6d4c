"""Each migration finds a session as new, whatever the one before it left there; a caller's stays as it was."""

from __future__ import annotations

import psycopg
import pytest

from confiture.core import Migrator
from confiture.models.migration import Migration
from tests.project import only, plugin

LEAKY = """
    CREATE SEQUENCE spoons;
    SELECT nextval('spoons');
    PREPARE "Odd plan" AS SELECT 1;
    SELECT pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock_shared(-5, 7);
    LISTEN jam;
"""
# A state that has leaked is an error.
CHECK = """
    DO $$ BEGIN
        ASSERT NOT EXISTS (
            SELECT FROM pg_prepared_statements WHERE from_sql AND name <> 'confiture_reading'
        ), 'prepared statements';
        ASSERT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), 'locks';
        ASSERT NOT EXISTS (SELECT FROM pg_listening_channels()), 'channels';
        BEGIN
            PERFORM lastval();
            ASSERT false, 'lastval';
        EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL;
        END;
    END $$;
    PREPARE "Odd plan" AS SELECT 2;
"""
NO_TRANSACTION = "-- confiture: no-transaction\n"


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("first", ["", NO_TRANSACTION])
@pytest.mark.parametrize("second_mode", ["", NO_TRANSACTION])
def test_no_state_of_the_session_leaks_into_the_next_migration(project, first, second_mode, dry_run):
    project.write("1_leaky.sql", first + LEAKY)
    project.write("2_next.sql", second_mode + CHECK)
    project.write("3_next.sql", CHECK)

    report = project.rehearse() if dry_run else project.run()

    assert report.exit_code == 0, report.migrations
    assert {migration.outcome for migration in report.migrations} == {"rehearsed" if dry_run else "applied"}


@pytest.mark.slow
def test_nor_in_a_clone(project):
    project.write("1_leaky.sql", LEAKY)
    project.write("2_next.sql", CHECK)

    assert project("dry-run", "--in", "clone", "--no-gate").code == 0


def test_a_retry_finds_no_state_of_the_attempt_before(project, second):
    """A prepared statement and a session's lock outlast the rollback of the first attempt."""
    second.execute("CREATE TABLE bread (n int)")
    second.execute("BEGIN; LOCK TABLE bread")
    project.write(
        "1_it.sql", "-- confiture: lock_timeout=100ms\n" + CHECK + "ALTER TABLE bread ADD COLUMN m int;"
    )
    attempts: list[int] = []

    def before_ddl(context):
        attempts.append(context.attempt)
        if context.attempt == 2:
            second.execute("ROLLBACK")

    report = project.run(plugin(before_ddl=before_ddl))

    assert only(report).outcome == "applied", only(report).error
    assert attempts == [1, 2]


def test_the_drivers_own_prepared_statements_stay(project):
    """Behind a transaction pooler they may be another client's."""
    left: list[tuple[str]] = []

    def after_ddl(conn, context):
        if context.migration_version == "1":
            conn.pgconn.prepare(b"drivers", b"SELECT 1")
        else:
            left.extend(conn.execute("SELECT name FROM pg_prepared_statements WHERE NOT from_sql").fetchall())

    project.write("1_it.sql", "PREPARE mine AS SELECT 1;")
    project.write("2_it.sql", "SELECT 1;")
    project.run(plugin(after_ddl=after_ddl))

    assert left == [("drivers",)]


class Leaky(Migration):
    version, name = "1", "leaky"

    def up(self) -> None:
        self.execute("PREPARE mine AS SELECT 1; LISTEN jam; CREATE TABLE jam ()")
        self.execute("SELECT pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock_shared(-5, -7)")


class LeakyAndFailing(Leaky):
    def up(self) -> None:
        super().up()
        self.execute("SELECT 1/0")


class LeakyOutsideATransaction(Leaky):
    transactional = False


@pytest.fixture
def caller(database_url):
    """An application's idle connection, with state of its own."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "PREPARE callers AS SELECT 1; LISTEN callers; SELECT pg_advisory_lock(99), pg_advisory_lock(98)"
        )
        yield conn


def state(conn) -> tuple[list[str], list[int], list[str]]:
    prepared = conn.execute("SELECT name FROM pg_prepared_statements WHERE from_sql").fetchall()
    locks = conn.execute(
        "SELECT objid::int FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1"
    ).fetchall()
    channels = conn.execute("SELECT pg_listening_channels()").fetchall()
    return [name for (name,) in prepared], [key for (key,) in locks], [name for (name,) in channels]


@pytest.mark.parametrize("migration", [Leaky, LeakyAndFailing, LeakyOutsideATransaction])
@pytest.mark.parametrize("method", ["apply", "dry_run"])
def test_a_callers_session_keeps_its_own_state_and_nothing_of_the_migration(caller, migration, method):
    before = state(caller)

    try:
        getattr(Migrator(connection=caller), method)(migration(connection=caller))
    except Exception:
        assert migration is LeakyAndFailing

    assert state(caller) == before == (["callers"], [98, 99], ["callers"])


def test_in_a_callers_transaction_too(caller):
    before = state(caller)

    with caller.transaction():
        caller.execute("SELECT pg_advisory_xact_lock(5)")
        Migrator(connection=caller).apply(Leaky(connection=caller))
        assert state(caller)[:2] == (["callers"], [5, 98, 99])

    assert state(caller)[:2] == before[:2]
