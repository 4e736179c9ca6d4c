"""CONTRACT, The Python API, on a connection already in a transaction: nothing of the caller's is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from confiture.api.migrator import DeferredConstraintFault
from confiture.config.settings import Settings
from confiture.core import (
    DryRunError,
    DryRunExecutor,
    Hook,
    HookContext,
    HookError,
    HookExecutor,
    HookPhase,
    Migrator,
)
from confiture.exceptions import ConfitureError, RightsFault, UsageFault
from confiture.models.migration import Migration
from tests.project import exists

pytestmark = pytest.mark.slow


class Jam(Migration):
    version = "7"
    name = "jam"

    def up(self) -> None:
        self.execute("CREATE TABLE jam (fruit text)")

    def down(self) -> None:
        self.execute("DROP TABLE jam")


class Burnt(Migration):
    version = "8"
    name = "burnt"

    def up(self) -> None:
        self.execute("CREATE TABLE burnt ()")
        self.execute("SELECT 1/0")


CONNECTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dict_row and ClientCursor": {"row_factory": dict_row, "cursor_factory": psycopg.ClientCursor},
}


@pytest.fixture(params=CONNECTIONS.values(), ids=tuple(CONNECTIONS))
def conn(request, database, database_url) -> Iterator[psycopg.Connection[Any]]:
    """An application's connection, in a transaction that has written a row."""
    database.execute("CREATE TABLE mine (i int)")
    with psycopg.connect(database_url, **request.param) as opened:
        opened.execute("INSERT INTO mine VALUES (1)")
        yield opened
        opened.rollback()


def in_transaction(conn: psycopg.Connection[Any]) -> bool:
    """Whether its transaction goes on."""
    return conn.info.transaction_status == TransactionStatus.INTRANS


def value(conn: psycopg.Connection[Any], query: str) -> Any:
    """Return the one value of a query."""
    with psycopg.Cursor(conn, row_factory=psycopg.rows.tuple_row) as cursor:
        (found,) = cursor.execute(query).fetchall()
    return found[0]


def shown(conn: psycopg.Connection[Any], *names: str) -> list[Any]:
    """Return these settings."""
    return [value(conn, f"SELECT current_setting('{name}')") for name in names]


def apply(conn: psycopg.Connection[Any], migration: type[Migration]) -> Any:
    return Migrator(connection=conn).apply(migration(connection=conn))


def dry_run(conn: psycopg.Connection[Any], migration: type[Migration]) -> Any:
    return DryRunExecutor().run(conn, migration(connection=conn))


WAYS = pytest.mark.parametrize("way", [apply, dry_run])


# The end of the transaction is the caller's.


def test_apply_leaves_the_commit_to_the_caller(conn, database):
    apply(conn, Jam)

    assert in_transaction(conn)
    assert not exists(database, "jam")
    conn.commit()
    assert exists(database, "jam")
    assert database.execute("SELECT version FROM confiture.ledger").fetchall() == [("7",)]
    assert database.execute("SELECT i FROM mine").fetchall() == [(1,)]


def test_the_callers_rollback_takes_migration_and_ledger_row_with_it(conn, database):
    apply(conn, Jam)

    conn.rollback()

    assert not exists(database, "jam")
    assert not exists(database, "confiture.ledger")


def test_rollback_is_the_callers_to_commit_too(conn, database):
    apply(conn, Jam)
    conn.commit()
    conn.execute("INSERT INTO mine VALUES (2)")

    Migrator(connection=conn).rollback(Jam(connection=conn))

    assert in_transaction(conn)
    assert exists(database, "jam")
    conn.commit()
    assert not exists(database, "jam")


def test_inside_conn_transaction_of_an_autocommit_connection(database, database_url):
    with psycopg.connect(database_url, autocommit=True) as conn:
        with conn.transaction():
            apply(conn, Jam)

            assert not exists(database, "jam")

        assert conn.autocommit is True
        assert exists(database, "jam")


def test_applying_an_applied_version_does_nothing(conn, database):
    apply(conn, Jam)
    apply(conn, Jam)

    conn.commit()

    assert database.execute("SELECT count(*) FROM confiture.ledger").fetchone() == (1,)


# Nothing of the caller's is lost.


def test_a_failure_loses_nothing_but_the_migration(conn, database):
    with pytest.raises(psycopg.errors.DivisionByZero):
        apply(conn, Burnt)

    assert in_transaction(conn)
    assert value(conn, "SELECT count(*) FROM mine") == 1
    assert value(conn, "SELECT to_regclass('burnt') IS NULL")
    conn.commit()
    assert database.execute("SELECT i FROM mine").fetchall() == [(1,)]


def test_a_failed_dry_run_loses_nothing_of_the_callers(conn):
    with pytest.raises(DryRunError):
        dry_run(conn, Burnt)

    assert in_transaction(conn)
    assert value(conn, "SELECT count(*) FROM mine") == 1


def test_a_dry_run_leaves_nothing_and_the_callers_rows(conn, database):
    result = dry_run(conn, Jam)

    assert result.success
    assert in_transaction(conn)
    assert value(conn, "SELECT to_regclass('jam') IS NULL AND to_regclass('confiture.ledger') IS NULL")
    assert value(conn, "SELECT count(*) FROM mine") == 1


class Leaky(Jam):
    def up(self) -> None:
        super().up()
        self.execute("SET search_path = pg_catalog; SET work_mem = '9MB'; SET LOCAL TimeZone = 'Asia/Tokyo'")
        self.execute("SET lock_timeout = '1s'; SET statement_timeout = '1h'")
        self.execute("CREATE TEMPORARY TABLE spill (); CREATE TEMPORARY VIEW glance AS SELECT 1 AS i")
        self.execute("DECLARE theirs CURSOR FOR SELECT 1; DECLARE held CURSOR WITH HOLD FOR SELECT 1")


@WAYS
def test_settings_are_as_they_were_also_after_the_commit(conn, way):
    """What the caller has set for its session is there, in the transaction and after it."""
    conn.rollback()
    conn.execute("SET work_mem = '7MB'; SET lock_timeout = '17s'; SET TimeZone = 'Europe/Vienna'")
    conn.commit()
    conn.execute("INSERT INTO mine VALUES (1)")
    names = ("work_mem", "lock_timeout", "statement_timeout", "TimeZone", "search_path")

    way(conn, Leaky)

    expected = ["7MB", "17s", "0", "Europe/Vienna", '"$user", public']
    assert shown(conn, *names) == expected
    conn.commit()
    assert shown(conn, *names) == expected


@WAYS
def test_set_local_of_the_callers_holds_until_its_end_and_no_longer(conn, way):
    conn.execute("SET LOCAL lock_timeout = '17s'; SET LOCAL statement_timeout = '19s'")
    conn.execute("SET LOCAL work_mem = '7MB'")

    way(conn, Jam)

    names = ("lock_timeout", "statement_timeout", "work_mem")
    assert shown(conn, *names) == ["17s", "19s", "7MB"]
    conn.commit()
    assert shown(conn, *names)[:2] == ["0", "0"]
    assert shown(conn, *names)[2] != "7MB"


@WAYS
def test_what_a_hook_sets_with_set_local_is_the_migrations_alone(conn, way):
    conn.rollback()
    conn.execute("SET work_mem = '7MB'")
    conn.commit()
    conn.execute("SET LOCAL work_mem = '8MB'")

    class Roomy(Hook):
        phase = HookPhase.BEFORE_DDL

        def execute(self, conn, context):
            context.set_local("work_mem", "9MB")
            context.set_local("lock_timeout", "3s")

    class Roomier(Jam):
        before_ddl_hooks = (Roomy(),)

        def up(self) -> None:
            assert shown(conn, "work_mem", "lock_timeout") == ["9MB", "3s"]

    way(conn, Roomier)

    assert shown(conn, "work_mem", "lock_timeout") == ["8MB", "0"]
    conn.commit()
    assert shown(conn, "work_mem", "lock_timeout") == ["7MB", "0"]


@WAYS
def test_what_a_hook_sets_for_the_session_does_not_outlive_the_callers_commit(conn, way):
    conn.rollback()
    conn.execute("SET lock_timeout = '17s'; SET search_path = public")
    conn.commit()
    conn.execute("INSERT INTO mine VALUES (1)")

    class Hasty(Hook):
        phase = HookPhase.BEFORE_DDL

        def execute(self, conn, context):
            conn.execute("SET lock_timeout = '1s'; SET search_path = pg_catalog")

    class Hastier(Jam):
        before_ddl_hooks = (Hasty(),)

    way(conn, Hastier)

    conn.commit()
    assert shown(conn, "lock_timeout", "search_path") == ["17s", "public"]


@WAYS
def test_a_transaction_that_has_failed_already_is_refused(conn, way):
    with pytest.raises(psycopg.errors.DivisionByZero):
        conn.execute("SELECT 1/0")

    with pytest.raises(UsageFault, match="failed already"):
        way(conn, Jam)


@WAYS
def test_set_local_that_the_migration_changes_too_is_as_it_was(conn, way):
    conn.execute("SET LOCAL search_path = public; SET LOCAL work_mem = '7MB'")

    way(conn, Leaky)

    assert shown(conn, "search_path", "work_mem") == ["public", "7MB"]


@WAYS
def test_the_role_is_the_callers(conn, database, way):
    role = f"cook_{conn.info.backend_pid}"
    database.execute(f"CREATE ROLE {role}; GRANT ALL ON SCHEMA public TO {role}")
    database.execute(f"GRANT CREATE ON DATABASE {database.info.dbname} TO {role}")
    try:
        conn.execute(f"SET LOCAL ROLE {role}")

        class Usurping(Jam):
            def up(self) -> None:
                super().up()
                self.execute("RESET ROLE")

        way(conn, Usurping)

        assert value(conn, "SELECT current_user") == role
    finally:
        conn.rollback()
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@WAYS
def test_cursors_of_the_callers_go_on_and_those_of_the_migration_are_closed(conn, way):
    conn.execute("DECLARE mine CURSOR FOR SELECT generate_series(1, 3)")
    conn.execute("DECLARE kept CURSOR WITH HOLD FOR SELECT generate_series(1, 3)")
    conn.execute("FETCH 1 FROM mine")
    conn.execute("FETCH 2 FROM kept")

    way(conn, Leaky)

    assert value(conn, "SELECT string_agg(name, ' ' ORDER BY name) FROM pg_cursors WHERE name <> ''") == (
        "kept mine"
    )
    assert value(conn, "FETCH 1 FROM mine") == 2
    conn.commit()
    assert value(conn, "FETCH 1 FROM kept") == 3
    assert value(conn, "SELECT count(*) FROM pg_cursors WHERE name <> ''") == 1


@WAYS
def test_cursors_of_the_callers_outlast_a_failure(conn, way):
    conn.execute("DECLARE mine CURSOR FOR SELECT generate_series(1, 3)")

    with pytest.raises((psycopg.errors.DivisionByZero, DryRunError)):
        way(conn, Burnt)

    assert value(conn, "FETCH 1 FROM mine") == 1


@WAYS
def test_a_server_side_cursor_of_psycopg_goes_on(conn, way):
    with conn.cursor(name="mine", row_factory=psycopg.rows.tuple_row) as cursor:
        cursor.execute("SELECT generate_series(1, 3)")
        first = cursor.fetchone()

        way(conn, Leaky)

        assert (first, cursor.fetchall()) == ((1,), [(2,), (3,)])


@WAYS
def test_temporary_tables_of_the_callers_stay_and_those_of_the_migration_go(conn, way):
    conn.execute("CREATE TEMPORARY TABLE bowl (i int); INSERT INTO bowl VALUES (1)")

    way(conn, Leaky)

    assert value(conn, "SELECT i FROM bowl") == 1
    assert value(
        conn, "SELECT to_regclass('pg_temp.spill') IS NULL AND to_regclass('pg_temp.glance') IS NULL"
    )


# Deferred rows of the caller's.


DEFERRED = """
    CREATE TABLE pot (id int PRIMARY KEY);
    CREATE TABLE lid (pot int REFERENCES pot DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such sugar'; END $$;
    CREATE TABLE sugar ();
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON sugar DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@WAYS
@pytest.mark.parametrize(
    "row, said",
    [("INSERT INTO lid VALUES (1)", "lid_pot_fkey"), ("INSERT INTO sugar DEFAULT VALUES", "no such sugar")],
    ids=["a constraint", "a constraint trigger with an error of its own"],
)
def test_deferred_rows_of_the_callers_are_checked_first_and_reported_as_the_callers(
    conn, database, way, row, said
):
    database.execute(DEFERRED)
    conn.execute(row)
    ran = []

    class Watched(Jam):
        def up(self) -> None:
            ran.append("up")

    with pytest.raises(DeferredConstraintFault, match=said):
        way(conn, Watched)

    assert ran == []
    assert in_transaction(conn)
    assert value(conn, "SELECT count(*) FROM mine") == 1


@WAYS
def test_deferred_rows_that_can_still_be_mended_are_mended_by_the_caller_afterwards(conn, database, way):
    """Their check now does not take the place of the one at the caller's commit."""
    database.execute(DEFERRED)
    conn.execute("INSERT INTO pot VALUES (1); INSERT INTO lid VALUES (1)")

    way(conn, Jam)
    conn.execute("INSERT INTO lid VALUES (2); INSERT INTO pot VALUES (2)")

    conn.commit()
    assert database.execute("SELECT count(*) FROM lid").fetchone() == (2,)


def test_a_deferred_row_of_the_migration_is_its_own_failure(conn, database):
    database.execute(DEFERRED)

    class Lidless(Jam):
        def up(self) -> None:
            self.execute("INSERT INTO lid VALUES (1)")

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        apply(conn, Lidless)

    assert in_transaction(conn)
    assert value(conn, "SELECT count(*) FROM lid") == 0


# on_error, on_commit.


def test_on_error_writes_there(conn, database):
    database.execute("CREATE TABLE alarms (message text)")

    class Alarm(Hook):
        phase = HookPhase.ON_ERROR

        def execute(self, conn, context):
            conn.execute("INSERT INTO alarms VALUES ('fire')")

    class Alarming(Burnt):
        error_hooks = (Alarm(),)

    with pytest.raises(psycopg.errors.DivisionByZero):
        apply(conn, Alarming)

    assert value(conn, "SELECT message FROM alarms") == "fire"
    assert database.execute("SELECT count(*) FROM alarms").fetchone() == (0,)
    conn.commit()
    assert database.execute("SELECT count(*) FROM alarms").fetchone() == (1,)


def test_on_commit_callbacks_are_returned_and_not_called(conn):
    called = []

    class Bell(Hook):
        phase = HookPhase.CLEANUP

        def execute(self, conn, context):
            context.on_commit(lambda: called.append("bell"))

    class Ringing(Jam):
        cleanup_hooks = (Bell(),)

    ran = apply(conn, Ringing)

    assert called == []
    conn.commit()
    for callback in ran.on_commit:
        callback()
    assert called == ["bell"]


# No-transaction migrations, retries, rights.


@pytest.mark.parametrize("way", ["apply", "rollback", "dry_run"])
def test_a_no_transaction_migration_is_refused_before_anything_runs(conn, way):
    ran = []

    class Piecemeal(Jam):
        transactional = False

        def up(self) -> None:
            ran.append("up")

        def down(self) -> None:
            ran.append("down")

    with pytest.raises(UsageFault, match="outside a transaction") as caught:
        getattr(Migrator(connection=conn), way)(Piecemeal(connection=conn))

    assert caught.value.exit_code == 2
    assert "idle connection" in str(caught.value.hint)
    assert ran == []
    assert in_transaction(conn)
    assert value(conn, "SELECT to_regclass('confiture.ledger') IS NULL")


def test_a_lock_timeout_is_not_retried_and_loses_nothing(conn, database, second):
    database.execute("CREATE TABLE busy ()")
    second.execute("BEGIN; LOCK TABLE busy")
    attempts = []

    class Busy(Jam):
        lock_timeout = "100ms"

        def up(self) -> None:
            attempts.append(1)
            self.execute("LOCK TABLE busy")

    with pytest.raises(psycopg.errors.LockNotAvailable):
        apply(conn, Busy)

    assert attempts == [1]
    assert value(conn, "SELECT count(*) FROM mine") == 1


RIGHTS = {
    "none": (),
    "usage": ("USAGE ON SCHEMA confiture",),
    "all but reading": (
        "USAGE ON SCHEMA confiture",
        "INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA confiture",
    ),
}


@pytest.mark.parametrize("grants", RIGHTS.values(), ids=tuple(RIGHTS))
def test_a_role_that_lacks_rights_loses_nothing(conn, database, grants):
    role = f"guest_{conn.info.backend_pid}"
    with psycopg.connect(database.info.dsn, autocommit=True) as other:
        apply(other, Jam)
    database.execute(f"CREATE ROLE {role}")
    for grant in grants:
        database.execute(f"GRANT {grant} TO {role}")
    try:
        conn.execute(f"SET LOCAL ROLE {role}")

        with pytest.raises(RightsFault):
            apply(conn, Jam)

        assert in_transaction(conn)
        assert value(conn, "SELECT current_user") == role
        conn.execute("RESET ROLE")
        assert value(conn, "SELECT count(*) FROM mine") == 1
    finally:
        conn.rollback()
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_another_run_in_progress_loses_nothing(conn, database, database_url, tmp_path):
    settings = Settings(root=tmp_path, lock_wait_s=0.2)

    class Meanwhile(Jam):
        version = "70"

        def up(self) -> None:
            with pytest.raises(ConfitureError, match="another run holds the migration lock"):
                Migrator(connection=conn, settings=settings).apply(Jam(connection=conn))

    with psycopg.connect(database_url) as other:
        apply(other, Meanwhile)

    assert in_transaction(conn)
    assert value(conn, "SELECT count(*) FROM mine") == 1


# HookExecutor.


class Write(Hook):
    phase = HookPhase.AFTER_DDL

    def execute(self, conn, context):
        conn.execute("INSERT INTO mine VALUES (2)")
        conn.execute("DECLARE theirs CURSOR FOR SELECT 1; SET search_path = pg_catalog")
        context.on_commit(lambda: None)


def test_hook_executor_uses_a_savepoint_and_leaves_the_end_to_the_caller(conn, database):
    conn.execute("DECLARE mine CURSOR FOR SELECT generate_series(1, 3)")
    context = HookContext("jam", "7")

    HookExecutor().execute_phase(conn, "after_ddl", [Write()], context)

    assert in_transaction(conn)
    assert database.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    assert shown(conn, "search_path") == ['"$user", public']
    assert value(conn, "SELECT name FROM pg_cursors WHERE name <> ''") == "mine"
    assert len(context.callbacks) == 1
    conn.commit()
    assert database.execute("SELECT count(*) FROM mine").fetchone() == (2,)


def test_a_hook_that_fails_in_hook_executor_loses_only_its_own(conn):
    class Spill(Hook):
        phase = HookPhase.AFTER_DDL

        def execute(self, conn, context):
            conn.execute("DELETE FROM mine")
            raise ValueError("spilt")

    with pytest.raises(HookError, match="spilt"):
        HookExecutor().execute_phase(conn, HookPhase.AFTER_DDL, [Spill()], HookContext("jam", "7"))

    assert in_transaction(conn)
    assert value(conn, "SELECT count(*) FROM mine") == 1
