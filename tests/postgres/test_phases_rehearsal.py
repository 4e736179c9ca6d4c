"""CONTRACT, Phases and transactions, the column *rehearsal in a transaction*."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import Connection

from tests.project import PHASES, exists, only, plugin


def everything(conn: Connection[Any]) -> list[Any]:
    """Return what a rehearsal must leave as it was: schemas, relations, attributes and constraints."""
    return [
        conn.execute("SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1").fetchall(),
        conn.execute(
            "SELECT oid, relname, relfilenode FROM pg_class WHERE oid >= 16384 ORDER BY 1"
        ).fetchall(),
        conn.execute(
            "SELECT attrelid, attname FROM pg_attribute WHERE attrelid >= 16384 ORDER BY 1, 2"
        ).fetchall(),
        conn.execute("SELECT oid, conname FROM pg_constraint WHERE oid >= 16384 ORDER BY 1").fetchall(),
    ]


def test_a_rehearsal_creates_nothing_not_even_the_schema(project, database):
    database.execute("CREATE TABLE jam (fruit text); INSERT INTO jam VALUES ('fig')")
    before = everything(database)
    project.write("1_jam.sql", "ALTER TABLE jam ADD sugar int DEFAULT 3; UPDATE jam SET fruit = 'plum';")
    project.write("2_pot.sql", "CREATE TABLE pot AS SELECT * FROM jam;")

    report = project.rehearse(
        plugin(after_ddl=lambda conn: conn.execute("CREATE TABLE IF NOT EXISTS lid ()") and None)
    )

    assert report.exit_code == 0
    assert [migration.outcome for migration in report.migrations] == ["rehearsed", "rehearsed"]
    assert only_rows(report) == [1, 0]
    assert everything(database) == before
    assert database.execute("SELECT fruit FROM jam").fetchall() == [("fig",)]


def only_rows(report: Any) -> list[Any]:
    """Return the rows that each migration affected."""
    return [migration.rows_affected for migration in report.migrations]


def test_one_begin_for_the_plan_and_every_step_in_it(project):
    project.write(
        "1_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            def up(self):
                self.execute("CREATE TABLE trail (step text, xid text)")
                self.execute("INSERT INTO trail VALUES ('up', pg_current_xact_id()::text)")

            def verify(self):
                self.execute("INSERT INTO trail VALUES ('verify', pg_current_xact_id()::text)")
        """,
    )
    project.write("2_jam.sql", "INSERT INTO trail VALUES ('up 2', pg_current_xact_id()::text);")
    seen, trail = [], []

    def note(conn, context):
        seen.append((context.phase.spec, conn.execute("SELECT pg_current_xact_id()::text").fetchone()[0]))
        if context.migration_version == "2" and context.phase.spec == "cleanup":
            trail.extend(conn.execute("SELECT * FROM trail").fetchall())

    report = project.rehearse(plugin(**dict.fromkeys(PHASES, note)))

    assert report.exit_code == 0
    assert [phase for phase, _ in seen] == [*PHASES, *PHASES]
    assert [step for step, _ in trail] == ["up", "verify", "up 2"]
    assert len({xid for _, xid in [*seen, *trail]}) == 1


def test_a_hook_is_told_that_it_is_a_rehearsal(project):
    project.write("1_jam.sql", "SELECT 1;")
    seen = []
    each = plugin(before_ddl=lambda context: seen.append(context.dry_run))

    project.rehearse(each)
    project.run(each)

    assert seen == [True, False]


def test_no_ledger_row_is_written(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.run()
    project.write("2_jar.sql", "CREATE TABLE jar ();")
    seen = []

    def cleanup(conn):
        seen.extend(conn.execute("SELECT version FROM confiture.ledger").fetchall())

    project.rehearse(plugin(cleanup=cleanup))

    assert seen == [("1",)]
    assert project.states() == {"1": "applied", "2": "pending"}


def test_on_commit_callbacks_are_listed_and_not_called(project):
    project.write("1_jam.sql", "SELECT 1;")
    called = []

    def ring_the_bell():
        called.append("bell")

    report = project.rehearse(plugin(cleanup=lambda context: context.on_commit(ring_the_bell)))

    assert called == []
    assert [name.rsplit(".", 1)[-1] for name in only(report).on_commit] == ["ring_the_bell"]


def test_on_error_runs_in_it_and_is_rolled_back_too(project, database):
    database.execute("CREATE TABLE alarms (message text)")
    project.write("1_jam.sql", "CREATE TABLE jam (); SELECT 1/0;")
    seen = []

    def on_error(conn, error):
        conn.execute("INSERT INTO alarms VALUES ('fire')")
        seen.extend(conn.execute("SELECT message, to_regclass('jam') IS NULL FROM alarms").fetchall())

    report = project.rehearse(plugin(on_error=on_error))

    assert report.exit_code == 4
    assert seen == [("fire", True)]
    assert database.execute("SELECT count(*) FROM alarms").fetchone() == (0,)


def test_on_error_may_still_read_what_the_migrations_before_it_did(project):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.write("2_burnt.sql", "SELECT 1/0;")
    seen = []

    report = project.rehearse(plugin(on_error=lambda conn: seen.append(exists(conn, "jam"))))

    assert [migration.outcome for migration in report.migrations] == ["rehearsed", "failed"]
    assert seen == [True]


def test_deferred_constraints_are_checked_and_set_back_for_the_next_migration(project, database):
    database.execute(
        """
        CREATE TABLE pot (id int PRIMARY KEY);
        CREATE TABLE jam (pot int REFERENCES pot DEFERRABLE INITIALLY DEFERRED);
        """
    )
    project.write("1_first.sql", "SELECT 1;")
    project.write("2_deferred.sql", "INSERT INTO jam VALUES (1); INSERT INTO pot VALUES (1);")
    project.write("3_burnt.sql", "INSERT INTO jam VALUES (2);")

    report = project.rehearse()

    assert [migration.outcome for migration in report.migrations] == ["rehearsed", "rehearsed", "failed"]
    assert (report.migrations[2].error.sqlstate, report.migrations[2].error.phase) == ("23503", "validation")


def test_settings_temporary_tables_and_cursors_do_not_leak_into_the_next_migration(project):
    project.write(
        "1_leaky.sql",
        """
        CREATE SCHEMA kitchen;
        SET search_path = kitchen;
        SET work_mem = '9MB';
        CREATE TEMPORARY TABLE bowl ();
        DECLARE spoon CURSOR FOR SELECT 1;
        DECLARE held CURSOR WITH HOLD FOR SELECT 1;
        """,
    )
    project.write("2_next.sql", "SELECT 1;")
    seen: list[Any] = []
    query = """
        SELECT current_setting('search_path'), current_setting('work_mem') <> '9MB',
            to_regclass('bowl') IS NULL, (SELECT count(*) FROM pg_cursors WHERE name <> '')
    """

    def before_ddl(conn, context):
        if context.migration_version == "2":
            seen.extend(conn.execute(query).fetchall())

    report = project.rehearse(plugin(before_ddl=before_ddl))

    assert report.exit_code == 0
    assert seen == [('"$user", public', True, True, 0)]


def test_what_needs_an_earlier_migration_committed_is_not_rehearsed_and_exits_0(project, database):
    project.write("1_enum.sql", "CREATE TYPE fruit AS ENUM ('fig');")
    project.run()
    project.write("2_enum.sql", "ALTER TYPE fruit ADD VALUE 'plum';")
    project.write("3_use.sql", "CREATE TABLE bowl (fruit fruit DEFAULT 'plum');")
    project.write("4_after.sql", "INSERT INTO bowl DEFAULT VALUES;")
    project.write("5_other.sql", "CREATE TABLE other ();")

    report = project.rehearse()

    assert report.exit_code == 0
    assert [migration.outcome for migration in report.migrations] == [
        "rehearsed",
        "not_rehearsed",
        "not_rehearsed",
        "rehearsed",
    ]
    assert "committed" in report.migrations[1].reason
    assert "bowl" in report.migrations[2].reason


def test_an_undefined_object_that_nothing_undone_creates_is_a_failure(project):
    project.write("1_enum.sql", "CREATE TYPE fruit AS ENUM ('fig');")
    project.run()
    project.write("2_enum.sql", "ALTER TYPE fruit ADD VALUE 'plum';")
    project.write("3_use.sql", "CREATE TABLE bowl (fruit fruit DEFAULT 'plum');")
    project.write("4_after.sql", "INSERT INTO basket DEFAULT VALUES;")

    report = project.rehearse()

    assert report.exit_code == 4
    assert report.migrations[2].outcome == "failed"


@pytest.mark.parametrize(
    "text, sqlstate",
    [
        ("ALTER TYPE fruit ADD VALUE 'fig'; INSERT INTO jam VALUES ('fig');", "55P04"),
        ("CALL boil();", "2D000"),
    ],
)
def test_what_fails_in_a_run_too_fails_in_a_rehearsal(project, database, text, sqlstate):
    """Only an earlier migration's missing commit, or no-transaction, excuses it: not the migration itself."""
    database.execute("CREATE TYPE fruit AS ENUM ('plum')")
    database.execute("CREATE TABLE jam (a fruit)")
    database.execute("CREATE PROCEDURE boil() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'")
    project.write("1_pot.sql", "CREATE TABLE pot (i int)")
    project.write("2_faulty.sql", text)

    rehearsal, run = project.rehearse(), project.run()

    assert (rehearsal.exit_code, run.exit_code) == (4, 4)
    for report in (rehearsal, run):
        assert report.migrations[1].outcome == "failed"
        assert report.migrations[1].error is not None
        assert report.migrations[1].error.sqlstate == sqlstate


def test_what_cannot_run_in_a_transaction_is_not_rehearsed_and_exits_0(project, database):
    database.execute("CREATE TABLE jam (fruit text)")
    project.write(
        "1_jam.sql", "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit);"
    )
    project.write(
        "2_jam.py",
        """
        from confiture.models.migration import Migration

        class Jam(Migration):
            transactional = False

            def up(self):
                self.execute("VACUUM jam")
        """,
    )

    report = project.rehearse()

    assert report.exit_code == 0
    assert [migration.outcome for migration in report.migrations] == ["not_rehearsed", "not_rehearsed"]
    assert not exists(database, "jam_fruit")


def test_a_no_transaction_migration_that_may_run_in_one_is_rehearsed_in_it(project, database):
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam ();")

    report = project.rehearse()

    assert only(report).outcome == "rehearsed"
    assert not exists(database, "jam")


@pytest.mark.parametrize("phase", PHASES)
def test_a_hook_that_fails_ends_the_rehearsal_with_5(project, database, phase):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.write("2_pot.sql", "CREATE TABLE pot ();")

    report = project.rehearse(plugin(**{phase: lambda: 1 / 0}))

    assert report.exit_code == 5
    assert [migration.outcome for migration in report.migrations] == ["failed", "pending"]
    assert not exists(database, "jam")
