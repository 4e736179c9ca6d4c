"""CONTRACT, The Python API, on an idle connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from confiture.config.settings import Settings
from confiture.core import (
    DryRunError,
    DryRunExecutor,
    DryRunResult,
    Hook,
    HookContext,
    HookError,
    HookExecutor,
    HookPhase,
    HookResult,
    Migrator,
)
from confiture.exceptions import LockFault
from confiture.models.migration import Migration
from confiture.postgres.connect import connect_like, read_parameters
from tests.project import exists, keeper_of, until

pytestmark = pytest.mark.slow


class Jam(Migration):
    version = "7"
    name = "jam"

    def up(self) -> None:
        self.execute("CREATE TABLE jam (fruit text)")
        self.execute("INSERT INTO jam VALUES (%s), (%s)", ("fig", "plum"))

    def down(self) -> None:
        self.execute("DROP TABLE jam")


class Burnt(Migration):
    version = "8"
    name = "burnt"

    def up(self) -> None:
        self.execute("CREATE TABLE burnt ()")
        self.execute("SELECT 1/0")


class Piecemeal(Migration):
    version = "9"
    name = "piecemeal"
    transactional = False

    def up(self) -> None:
        self.execute("CREATE TABLE jam (fruit text)")
        self.execute("CREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit)")

    def down(self) -> None:
        self.execute("DROP INDEX CONCURRENTLY jam_fruit")
        self.execute("DROP TABLE jam")


CONNECTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "autocommit": {"autocommit": True},
    "dict_row": {"row_factory": dict_row},
    "ClientCursor": {"cursor_factory": psycopg.ClientCursor},
    "autocommit, dict_row and ClientCursor": {
        "autocommit": True,
        "row_factory": dict_row,
        "cursor_factory": psycopg.ClientCursor,
    },
}


@pytest.fixture(params=CONNECTIONS.values(), ids=tuple(CONNECTIONS))
def conn(request, database_url) -> Iterator[psycopg.Connection[Any]]:
    """An application's connection, idle."""
    with psycopg.connect(database_url, **request.param) as opened:
        yield opened


@pytest.fixture
def plain(database_url) -> Iterator[psycopg.Connection[Any]]:
    """An application's connection as psycopg opens it."""
    with psycopg.connect(database_url) as opened:
        yield opened


def idle(conn: psycopg.Connection[Any]) -> bool:
    """Whether no transaction is open on it."""
    return conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def ledger(conn: psycopg.Connection[Any]) -> list[Any]:
    """Return what the ledger holds."""
    return conn.execute("SELECT version, name FROM confiture.ledger").fetchall()


# Migrator.apply and rollback


def test_apply_commits_the_migration_and_its_ledger_row(conn, database):
    before = conn.autocommit

    Migrator(connection=conn).apply(Jam(connection=conn))

    assert idle(conn)
    assert conn.autocommit is before
    assert ledger(database) == [("7", "jam")]
    assert database.execute("SELECT fruit FROM jam").fetchall() == [("fig",), ("plum",)]


def test_applying_an_applied_version_does_nothing(conn, database):
    Migrator(connection=conn).apply(Jam(connection=conn))
    database.execute("DELETE FROM jam")

    Migrator(connection=conn).apply(Jam(connection=conn))

    assert idle(conn)
    assert database.execute("SELECT count(*) FROM jam").fetchone() == (0,)
    assert ledger(database) == [("7", "jam")]


def test_rollback_undoes_it_and_forgets_it(conn, database):
    Migrator(connection=conn).apply(Jam(connection=conn))

    Migrator(connection=conn).rollback(Jam(connection=conn))

    assert idle(conn)
    assert ledger(database) == []
    assert not exists(database, "jam")


def test_rolling_back_what_is_not_applied_does_nothing(plain, database):
    database.execute("CREATE TABLE jam ()")

    Migrator(connection=plain).rollback(Jam(connection=plain))

    assert exists(database, "jam")


def test_apply_raises_what_the_server_said_and_leaves_nothing(conn, database):
    with pytest.raises(psycopg.errors.DivisionByZero):
        Migrator(connection=conn).apply(Burnt(connection=conn))

    assert idle(conn)
    assert not exists(database, "burnt")
    assert ledger(database) == []


def test_a_run_afterwards_finds_it_applied(project, plain):
    project.write("7_jam.sql", "CREATE TABLE jam ();")

    Migrator(connection=plain).apply(Jam(connection=plain))

    assert project.states() == {"7": "applied"}


def test_the_migration_lock_is_held_as_run_does_by_a_second_connection(plain, database):
    seen = []

    class Looking(Jam):
        def up(self):
            seen.append(keeper_of(database))

    Migrator(connection=plain).apply(Looking(connection=plain))

    assert seen[0] not in (None, plain.info.backend_pid)
    until(lambda: keeper_of(database) is None, "the end of the session that held the lock")


def test_another_run_in_progress_is_waited_for_until_the_deadline(project, plain, database):
    settings = Settings(root=project.folder, lock_wait_s=0.2)

    class Waiting(Jam):
        version = "70"

        def up(self):
            with psycopg.connect(project.url) as other, pytest.raises(LockFault, match="pid"):
                Migrator(connection=other, settings=settings).apply(Jam(connection=other))

    Migrator(connection=plain).apply(Waiting(connection=plain))

    assert not exists(database, "jam")
    assert ledger(database) == [("70", "jam")]


def test_on_an_idle_connection_on_commit_callbacks_are_called_after_the_commit(plain, database):
    seen = []

    class Bell(Hook):
        phase = HookPhase.CLEANUP

        def execute(self, conn, context):
            context.on_commit(lambda: seen.append(exists(database, "jam")))

    class Ringing(Jam):
        cleanup_hooks = (Bell(),)

    Migrator(connection=plain).apply(Ringing(connection=plain))

    assert seen == [True]


def test_a_failed_hook_raises_hook_error_and_leaves_nothing(conn, database):
    class Spill(Hook):
        phase = HookPhase.AFTER_DDL

        def execute(self, conn, context):
            raise ValueError("spilt")

    class Spilling(Jam):
        after_ddl_hooks = (Spill(),)

    with pytest.raises(HookError, match="spilt") as caught:
        Migrator(connection=conn).apply(Spilling(connection=conn))

    assert (caught.value.hook_name, caught.value.phase) == ("Spill", HookPhase.AFTER_DDL)
    assert isinstance(caught.value.__cause__, ValueError)
    assert idle(conn)
    assert not exists(database, "jam")


def test_on_error_writes_in_a_transaction_of_its_own_that_lasts(conn, database):
    database.execute("CREATE TABLE alarms (message text)")

    class Alarm(Hook):
        phase = HookPhase.ON_ERROR

        def execute(self, conn, context):
            conn.execute("INSERT INTO alarms VALUES (%s)", (context.error.sqlstate,))

    class Alarming(Burnt):
        error_hooks = (Alarm(),)

    with pytest.raises(psycopg.errors.DivisionByZero):
        Migrator(connection=conn).apply(Alarming(connection=conn))

    assert idle(conn)
    assert database.execute("SELECT message FROM alarms").fetchall() == [("22012",)]


def test_a_no_transaction_migration_switches_autocommit_on_and_puts_it_back(conn, database):
    before = conn.autocommit
    seen = []

    class Watched(Piecemeal):
        def up(self):
            seen.append(conn.autocommit)
            super().up()

    Migrator(connection=conn).apply(Watched(connection=conn))

    assert seen == [True]
    assert conn.autocommit is before
    assert idle(conn)
    assert exists(database, "jam_fruit")


def test_a_failed_no_transaction_migration_puts_autocommit_back_too(plain):
    class Failing(Piecemeal):
        def up(self):
            self.execute("SELECT 1/0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        Migrator(connection=plain).apply(Failing(connection=plain))

    assert plain.autocommit is False
    assert idle(plain)


def test_a_no_transaction_migration_is_rolled_back_by_its_down(conn, database):
    Migrator(connection=conn).apply(Piecemeal(connection=conn))

    Migrator(connection=conn).rollback(Piecemeal(connection=conn))

    assert not exists(database, "jam")
    assert ledger(database) == []


@pytest.mark.parametrize("transactional", [True, False])
def test_the_callers_settings_cursors_and_temporary_tables_are_as_they_were(plain, transactional):
    plain.execute("SET work_mem = '7MB'; SET lock_timeout = '17s'; CREATE TEMPORARY TABLE bowl (i int)")
    plain.execute("DECLARE mine CURSOR WITH HOLD FOR SELECT generate_series(1, 3)")
    plain.commit()

    class Leaky(Jam):
        def up(self):
            self.execute("SET work_mem = '9MB'; SET search_path = pg_catalog; SET lock_timeout = '1s'")
            self.execute("CREATE TEMPORARY TABLE spill ()")
            self.execute("DECLARE theirs CURSOR WITH HOLD FOR SELECT 1")

    Leaky.transactional = transactional
    Migrator(connection=plain).apply(Leaky(connection=plain))

    def shown(name: str) -> Any:
        return plain.execute(f"SHOW {name}").fetchone()

    assert [shown("work_mem"), shown("lock_timeout"), shown("search_path")] == [
        ("7MB",),
        ("17s",),
        ('"$user", public',),
    ]
    assert shown("statement_timeout") == ("0",)
    assert plain.execute("SELECT name FROM pg_cursors WHERE name <> ''").fetchall() == [("mine",)]
    assert plain.execute("FETCH ALL mine").fetchall() == [(1,), (2,), (3,)]
    assert exists(plain, "pg_temp.bowl")
    assert not exists(plain, "pg_temp.spill")


def test_the_second_connection_has_the_password_too(plain):
    """Where the server asks for none it does not matter; the parameters are the same all the same."""
    with connect_like(read_parameters(plain)) as other:
        assert other.info.get_parameters() == plain.info.get_parameters()
        assert other.info.backend_pid != plain.info.backend_pid


def test_a_migration_made_on_another_connection_runs_on_the_migrators(plain, second, database):
    seen = []

    class Direct(Jam):
        def up(self):
            seen.append(self.connection.execute("SELECT pg_backend_pid()").fetchone())

    Migrator(connection=plain).apply(Direct(connection=second))

    assert seen == [(plain.info.backend_pid,)]


# Migrator.dry_run, DryRunExecutor


def test_a_dry_run_leaves_nothing_behind(conn, database):
    before = database.execute("SELECT oid, relname FROM pg_class ORDER BY oid").fetchall()

    result = Migrator(connection=conn).dry_run(Jam(connection=conn))

    assert result.success is True
    assert idle(conn)
    assert database.execute("SELECT oid, relname FROM pg_class ORDER BY oid").fetchall() == before
    assert not exists(database, "confiture.ledger")


def test_the_result_of_a_dry_run_says_what_was_seen(conn, database):
    database.execute('CREATE TABLE jam (fruit text); CREATE TABLE "Odd Table" ()')

    class Note(Hook):
        phase = HookPhase.AFTER_DDL

        def execute(self, conn, context):
            conn.execute("INSERT INTO jam VALUES ('hook')")
            conn.execute("SET work_mem = '9MB'; SET search_path = pg_catalog")
            context.set_stat("spoons", 3)
            return HookResult(phase="AFTER_DDL", hook_name="Note", rows_affected=1)

    class Real(Jam):
        after_ddl_hooks = (Note(),)

        def up(self):
            self.execute("ALTER TABLE jam ADD sugar int")
            self.execute('LOCK TABLE "Odd Table" IN SHARE MODE')
            self.execute("INSERT INTO jam VALUES ('fig'), ('plum')")
            self.execute("UPDATE jam SET sugar = 1; DELETE FROM jam WHERE fruit = 'fig'; SELECT * FROM jam")

    result = DryRunExecutor().run(conn, Real(connection=conn))

    assert isinstance(result, DryRunResult)
    assert (result.migration_name, result.migration_version, result.success) == ("jam", "7", True)
    assert result.execution_time_ms > 0
    assert result.rows_affected == 2 + 2 + 1
    assert result.locked_tables == ['public."Odd Table"', "public.jam"]
    assert result.estimated_production_time_ms is None
    assert result.confidence_percent is None
    assert any("search_path" in warning for warning in result.warnings)
    assert result.stats == {"spoons": 3}


def test_a_failed_dry_run_raises_dry_run_error(conn, database):
    with pytest.raises(DryRunError) as caught:
        DryRunExecutor().run(conn, Burnt(connection=conn))

    assert caught.value.migration_name == "burnt"
    assert isinstance(caught.value.error, psycopg.errors.DivisionByZero)
    assert caught.value.__cause__ is caught.value.error
    assert idle(conn)
    assert not exists(database, "burnt")


def test_a_dry_run_calls_no_on_commit_callback(plain):
    called = []

    class Bell(Hook):
        phase = HookPhase.CLEANUP

        def execute(self, conn, context):
            context.on_commit(lambda: called.append("bell"))

    class Ringing(Jam):
        cleanup_hooks = (Bell(),)

    Migrator(connection=plain).dry_run(Ringing(connection=plain))

    assert called == []


def test_a_dry_run_of_what_cannot_run_in_a_transaction_is_no_success_and_says_why(conn, database):
    result = Migrator(connection=conn).dry_run(Piecemeal(connection=conn))

    assert result.success is False
    assert "not rehearsed" in result.warnings[0]
    assert not exists(database, "jam")


def test_a_dry_run_holds_the_migration_lock(plain, database):
    seen = []

    class Looking(Jam):
        def up(self):
            seen.append(keeper_of(database))

    Migrator(connection=plain).dry_run(Looking(connection=plain))

    assert seen != [None]


def test_after_a_dry_run_the_same_object_can_be_applied(plain, database):
    migration = Jam(connection=plain)
    migrator = Migrator(connection=plain)

    migrator.dry_run(migration)
    migrator.apply(migration)

    assert ledger(database) == [("7", "jam")]


# HookExecutor


class Write(Hook):
    phase = HookPhase.AFTER_DDL

    def execute(self, conn, context):
        result = conn.execute("INSERT INTO jam VALUES ('fig')")
        return HookResult(phase="AFTER_DDL", hook_name="Write", rows_affected=result.rowcount)


def test_hook_executor_begins_and_ends_its_own_transaction(conn, database):
    database.execute("CREATE TABLE jam (fruit text)")
    context = HookContext(migration_name="jam", migration_version="7")

    results = HookExecutor().execute_phase(conn, HookPhase.AFTER_DDL, [Write(), Write()], context)

    assert [(result.hook_name, result.rows_affected) for result in results] == [("Write", 1), ("Write", 1)]
    assert idle(conn)
    assert database.execute("SELECT count(*) FROM jam").fetchone() == (2,)


def test_hook_executor_calls_on_commit_callbacks_after_its_commit(plain, database):
    seen = []

    class Bell(Hook):
        phase = HookPhase.CLEANUP

        def execute(self, conn, context):
            conn.execute("CREATE TABLE bell ()")
            context.on_commit(lambda: seen.append(exists(database, "bell")))

    HookExecutor().execute_phase(plain, HookPhase.CLEANUP, [Bell()], HookContext("jam", "7"))

    assert seen == [True]


def test_a_hook_of_another_phase_is_refused_before_any_runs(plain, database):
    database.execute("CREATE TABLE jam (fruit text)")

    class Late(Write):
        phase = HookPhase.CLEANUP

    with pytest.raises(TypeError, match="Late"):
        HookExecutor().execute_phase(plain, HookPhase.AFTER_DDL, [Write(), Late()], HookContext("jam", "7"))

    assert database.execute("SELECT count(*) FROM jam").fetchone() == (0,)
    assert idle(plain)


class Batches(Migration):
    version = "10"
    name = "batches"
    transactional = False

    def up(self) -> None:
        self.execute("INSERT INTO jam VALUES ('fig')")
        self.execute(
            "DO $$ BEGIN INSERT INTO jam VALUES ('plum'); COMMIT; PERFORM 1 / count(*) FROM lid; END $$"
        )


def test_an_application_is_told_what_a_failed_no_transaction_migration_has_committed(database):
    database.execute("CREATE TABLE jam (fruit text); CREATE TABLE lid ()")

    with psycopg.connect(**read_parameters(database)) as conn:
        with pytest.raises(psycopg.errors.DivisionByZero) as failed:
            Migrator(conn).apply(Batches(conn))
        database.execute("INSERT INTO lid DEFAULT VALUES")
        result = Migrator(conn).apply(Batches(conn))

    (note,) = failed.value.__notes__
    assert note.startswith("of 10 batches, 1 statement is committed; ")
    assert "may be committed, whole or in part: it had ended 1 transaction when it failed" in note
    assert "it starts over and repeats the statements that had run before it was stopped: 1" in (
        result.report.warnings
    )
