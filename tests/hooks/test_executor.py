"""``Hook`` classes through ``HookExecutor`` and ``Migrator``, on an application's own connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from confiture.core import (
    Hook,
    HookContext,
    HookError,
    HookExecutor,
    HookPhase,
    HookRegistry,
    HookResult,
    Migrator,
    get_hook,
    register_hook,
)
from confiture.models.migration import Migration

Do = Callable[[Any, Any], Any]


def hook(function: Do, name: str = "Given") -> Hook:
    """A hook of ``after_ddl`` that does what ``function`` does."""
    members = {"phase": HookPhase.AFTER_DDL, "execute": lambda self, conn, context: function(conn, context)}
    made: Hook = type(name, (Hook,), members)()
    return made


def put(conn: Any, fruit: str) -> None:
    conn.execute("INSERT INTO jam VALUES (%s)", (fruit,))


def execute(conn: Any, *functions: Do, context: HookContext | None = None) -> list[HookResult]:
    hooks = [hook(function) for function in functions]
    return HookExecutor().execute_phase(
        conn, HookPhase.AFTER_DDL, hooks, context or HookContext("stalls", "1")
    )


@pytest.fixture(params=[True, False], ids=["autocommit", "no autocommit"])
def idle(request, database_url, jam):
    """An application's idle connection."""
    with psycopg.connect(database_url, autocommit=request.param) as conn:
        yield conn


@pytest.fixture(params=["begun", "block"])
def busy(request, database_url, jam):
    """An application's connection in a transaction, in which it has put a plum."""
    with psycopg.connect(database_url, autocommit=request.param == "block") as conn:
        if request.param == "begun":
            put(conn, "plum")
            yield conn
            conn.rollback()
        else:
            with conn.transaction(force_rollback=True):
                put(conn, "plum")
                yield conn


def status(conn: Any) -> Any:
    return conn.info.transaction_status


# On an idle connection.


def test_on_an_idle_connection_the_hooks_are_committed(idle, jam):
    results = execute(
        idle,
        lambda conn, context: put(conn, "fig"),
        lambda conn, context: HookResult(HookPhase.AFTER_DDL, "Fill", rows_affected=7),
    )

    assert jam() == ["fig"]
    assert [(result.phase, result.hook_name, result.rows_affected) for result in results] == [
        (HookPhase.AFTER_DDL, "Fill", 7)
    ]
    assert status(idle) == TransactionStatus.IDLE


def test_a_hook_that_does_not_say_how_long_it_took_is_measured(idle):
    silent, saying = execute(
        idle,
        lambda conn, context: conn.execute("SELECT pg_sleep(0.02)") and HookResult("after_ddl", "Silent"),
        lambda conn, context: HookResult("after_ddl", "Saying", execution_time_ms=7),
    )

    assert silent.execution_time_ms >= 20
    assert saying.execution_time_ms == 7


def test_on_an_idle_connection_a_failed_hook_undoes_them_all(idle, jam):
    def burn(conn, context):
        put(conn, "burnt")
        raise ValueError("burnt")

    with pytest.raises(HookError) as caught:
        execute(idle, lambda conn, context: put(conn, "fig"), burn)

    assert jam() == []
    assert status(idle) == TransactionStatus.IDLE
    assert (caught.value.hook_name, caught.value.phase) == ("Given", HookPhase.AFTER_DDL)
    assert isinstance(caught.value.error, ValueError)
    assert caught.value.__cause__ is caught.value.error


def test_on_an_idle_connection_on_commit_is_called_after_the_commit(idle, jam):
    seen = []
    context = HookContext("stalls", "1")

    def fill(conn, context):
        put(conn, "fig")
        context.on_commit(lambda: seen.append(jam()))

    execute(idle, fill, context=context)

    assert seen == [["fig"]]
    assert context.callbacks == []


def test_on_commit_of_failed_hooks_is_not_called(idle):
    called = []

    def burn(conn, context):
        raise ValueError("burnt")

    with pytest.raises(HookError):
        execute(idle, lambda conn, context: context.on_commit(lambda: called.append(1)), burn)

    assert called == []


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "COMMIT AND CHAIN"])
def test_on_an_idle_connection_raw_transaction_control_is_detected(idle, statement):
    called = []

    with pytest.raises(HookError, match="ended the transaction"):
        execute(
            idle,
            lambda conn, context: conn.execute(statement) and None,
            lambda conn, context: called.append(1),
        )

    assert called == []
    assert status(idle) == TransactionStatus.IDLE


def test_a_closed_connection_is_a_failed_hook(idle):
    with pytest.raises(HookError, match="closed or lost the connection"):
        execute(idle, lambda conn, context: conn.close())


def test_a_copy_left_open_is_a_failed_hook_and_no_hang(idle, jam):
    errors = []

    def run():
        try:
            execute(idle, lambda conn, context: conn.pgconn.exec_(b"COPY jam FROM STDIN") and None)
        except HookError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)

    assert not thread.is_alive()
    assert "left a COPY" in errors[0]
    assert status(idle) == TransactionStatus.IDLE


# Inside a caller's transaction.


def test_inside_a_transaction_its_end_is_the_callers(busy, jam):
    execute(busy, lambda conn, context: put(conn, "fig"))

    assert status(busy) == TransactionStatus.INTRANS
    assert jam() == []
    assert busy.execute("SELECT fruit FROM jam ORDER BY 1").fetchall() == [("fig",), ("plum",)]


def test_inside_a_transaction_a_failed_hook_leaves_the_callers_rows(busy):
    def burn(conn, context):
        put(conn, "burnt")
        raise ValueError("burnt")

    with pytest.raises(HookError):
        execute(busy, burn)

    assert status(busy) == TransactionStatus.INTRANS
    assert busy.execute("SELECT fruit FROM jam").fetchall() == [("plum",)]


def test_a_swallowed_sql_error_never_poisons_the_callers_transaction(busy):
    def swallow(conn, context):
        try:
            conn.execute("SELECT 1/0")
        except psycopg.Error:
            return

    with pytest.raises(HookError, match="caught an SQL error"):
        execute(busy, swallow)

    assert busy.execute("SELECT fruit FROM jam").fetchall() == [("plum",)]


def test_rollback_undoes_only_that_hook(busy):
    def undo(conn, context):
        put(conn, "burnt")
        raise psycopg.Rollback

    execute(busy, undo, lambda conn, context: put(conn, "fig"))

    assert busy.execute("SELECT fruit FROM jam ORDER BY 1").fetchall() == [("fig",), ("plum",)]


@pytest.mark.parametrize("hold", ["", "WITH HOLD"])
def test_a_hooks_cursors_are_closed_and_the_callers_are_not(busy, hold):
    busy.execute(f'DECLARE "the caller\'s" CURSOR {hold} FOR SELECT 7')

    execute(busy, lambda conn, context: conn.execute(f"DECLARE pot CURSOR {hold} FOR SELECT 1") and None)

    assert busy.execute("SELECT name FROM pg_cursors WHERE name <> ''").fetchall() == [("the caller's",)]
    assert busy.execute('FETCH "the caller\'s"').fetchall() == [(7,)]


def test_a_hook_that_closes_the_callers_cursor_is_not_the_guards_failure(busy):
    busy.execute("DECLARE pot CURSOR FOR SELECT 7")

    execute(busy, lambda conn, context: conn.execute("CLOSE pot") and None)

    assert busy.execute("SELECT name FROM pg_cursors WHERE name <> ''").fetchall() == []


def test_a_setting_of_the_callers_is_put_back(busy):
    busy.execute("SET TimeZone = 'Asia/Tokyo'")

    execute(busy, lambda conn, context: conn.execute("SET TimeZone = 'UTC'") and None)

    assert busy.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo",)


def test_inside_a_transaction_on_commit_is_returned_and_not_called(busy):
    called = []
    context = HookContext("stalls", "1")

    execute(busy, lambda conn, context: context.on_commit(lambda: called.append(1)), context=context)

    assert called == []
    assert len(context.callbacks) == 1


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "COMMIT AND CHAIN"])
def test_inside_a_transaction_raw_transaction_control_is_detected(database_url, jam, statement):
    with psycopg.connect(database_url) as conn:
        put(conn, "plum")

        with pytest.raises(HookError, match="ended the transaction"):
            execute(conn, lambda conn, context: conn.execute(statement) and None)

        conn.rollback()


@pytest.mark.parametrize("factory", [psycopg.rows.dict_row, psycopg.rows.scalar_row])
def test_the_connections_row_factory_is_the_applications(database_url, jam, factory):
    with psycopg.connect(database_url, row_factory=factory) as conn:
        execute(conn, lambda conn, context: context.set_local("lock_timeout", "3s"))

        assert conn.row_factory is factory


# What is refused.


def test_a_hook_of_another_phase_is_refused_before_any_runs(idle, jam):
    other = hook(lambda conn, context: None, "Other")
    type(other).phase = HookPhase.CLEANUP

    with pytest.raises(TypeError, match="Other is a hook of cleanup"):
        HookExecutor().execute_phase(
            idle,
            HookPhase.AFTER_DDL,
            [hook(lambda conn, context: put(conn, "fig")), other],
            HookContext("stalls", "1"),
        )

    assert jam() == []


def test_the_phase_may_be_given_by_name(idle, jam):
    HookExecutor().execute_phase(
        idle, "after_ddl", [hook(lambda conn, context: put(conn, "fig"))], HookContext("stalls", "1")
    )

    assert jam() == ["fig"]


def test_no_hooks_do_nothing(idle):
    assert execute(idle) == []


# HookRegistry.


class Fill(Hook):
    phase = HookPhase.AFTER_DDL

    def execute(self, conn, context):
        put(conn, "fig")


def test_a_registry_keeps_classes_by_name():
    registry = HookRegistry()

    registry.register("fill", Fill)
    registry.register("fill", Fill)

    assert registry.get("fill") is Fill
    assert registry.list_hooks() == ["fill"]


def test_a_registry_forgets():
    registry = HookRegistry()
    registry.register("fill", Fill)

    registry.unregister("fill")

    assert registry.get("fill") is None
    with pytest.raises(KeyError):
        registry.unregister("fill")


def test_a_registry_refuses_another_class_of_the_name_and_what_is_no_hook():
    registry = HookRegistry()
    registry.register("fill", Fill)

    with pytest.raises(ValueError, match="already registered as 'fill'"):
        registry.register("fill", type("Other", (Fill,), {}))
    with pytest.raises(TypeError, match="not a subclass of Hook"):
        registry.register("print", print)  # type: ignore[arg-type]


def test_a_hook_from_the_global_registry_runs(idle, jam):
    register_hook("tests.hooks fill", Fill)

    found = get_hook("tests.hooks fill")
    assert found is not None
    HookExecutor().execute_phase(idle, HookPhase.AFTER_DDL, [found()], HookContext("stalls", "1"))

    assert jam() == ["fig"]


# The two snippets.


class BackfillReadModelHook(Hook):
    phase = HookPhase.AFTER_DDL

    def execute(self, conn, context):
        result = conn.execute(
            "INSERT INTO r_customer_lifetime_value (customer, value)"
            " SELECT customer, sum(amount) FROM w_orders GROUP BY customer"
        )
        return HookResult(phase="AFTER_DDL", hook_name="BackfillReadModel", rows_affected=result.rowcount)


class MyMigration(Migration):
    version, name = "1", "customer_lifetime_value"
    after_ddl_hooks = (BackfillReadModelHook(),)

    def up(self) -> None:
        self.execute("CREATE TABLE r_customer_lifetime_value (customer text, value int)")

    def down(self) -> None:
        self.execute("DROP TABLE r_customer_lifetime_value")


@pytest.fixture
def shop(database_url, database):
    """A write side with three orders of two customers."""
    database.execute("CREATE TABLE w_orders (customer text, amount int)")
    database.execute("INSERT INTO w_orders VALUES ('ann', 1), ('ann', 2), ('bob', 4)")
    with psycopg.connect(database_url) as conn:
        yield conn


def test_the_first_snippet_runs_through_the_executor(shop):
    shop.execute("CREATE TABLE r_customer_lifetime_value (customer text, value int)")
    shop.commit()

    (result,) = HookExecutor().execute_phase(
        shop, HookPhase.AFTER_DDL, [BackfillReadModelHook()], HookContext("stalls", "1")
    )

    assert (result.phase, result.hook_name, result.rows_affected) == ("AFTER_DDL", "BackfillReadModel", 2)


def test_the_second_snippet_leaves_nothing_behind(shop, database):
    conn = shop

    result = Migrator(connection=conn).dry_run(MyMigration(connection=conn))

    assert result.success
    assert (result.migration_name, result.migration_version) == ("customer_lifetime_value", "1")
    assert database.execute(
        "SELECT to_regclass('r_customer_lifetime_value'), to_regnamespace('confiture')"
    ).fetchone() == (None, None)
    assert status(conn) == TransactionStatus.IDLE


def test_applied_and_rolled_back_the_migrations_own_hook_runs_each_time_it_is_listed(shop, database):
    Migrator(connection=shop).apply(MyMigration(connection=shop))

    filled = database.execute("SELECT * FROM r_customer_lifetime_value ORDER BY 1").fetchall()
    assert filled == [("ann", 3), ("bob", 4)]


@pytest.mark.parametrize(
    "how",
    [
        lambda conn: conn.execute("SET lock_timeout = '9s'; SET search_path = pg_temp; SET work_mem = '9MB'"),
        lambda conn: conn.execute("DECLARE pot CURSOR WITH HOLD FOR SELECT 1"),
        lambda conn: conn.execute("CREATE TEMP TABLE pot (fruit text)"),
    ],
    ids=["settings", "cursors", "temporary tables"],
)
def test_nothing_of_a_migrations_hook_stays_on_the_callers_connection(busy, database, how):
    """In his transaction; what is his stays: his settings, his cursor, his temporary table."""

    class Leaver(Hook):
        phase = HookPhase.AFTER_DDL

        def execute(self, conn, context):
            how(conn)

    class Stalls(Migration):
        version, name = "1", "stalls"
        after_ddl_hooks = (Leaver(),)

        def up(self) -> None:
            self.execute("SELECT 1")

    look = """
        SELECT (SELECT array_agg(name ORDER BY name) FROM pg_cursors WHERE name <> ''),
            current_setting('lock_timeout'), current_setting('search_path'), current_setting('work_mem'),
            (SELECT array_agg(relname) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r')
    """
    busy.execute("SET lock_timeout = '8s'; DECLARE his CURSOR FOR SELECT 7; CREATE TEMP TABLE his (id int)")
    before = busy.execute(look).fetchall()

    Migrator(connection=busy).apply(Stalls(connection=busy))

    assert busy.execute(look).fetchall() == before
    assert busy.execute("FETCH his").fetchall() == [(7,)]


@pytest.mark.parametrize("when", ["before", "within"])
@pytest.mark.parametrize("how", ["SET", "SET LOCAL"])
def test_after_the_callers_commit_his_settings_are_what_he_set(database_url, when, how):
    """The guard puts back what the migration has; the commit must not make that the session's."""

    class Changer(Hook):
        phase = HookPhase.AFTER_DDL

        def execute(self, conn, context):
            conn.execute(f"{how} lock_timeout = '9s'; {how} TimeZone = 'UTC'")

    class Stalls(Migration):
        version, name = "1", "stalls"
        after_ddl_hooks = (Changer(),)

        def up(self) -> None:
            self.execute("SELECT 1")

    with psycopg.connect(database_url) as conn:
        conn.execute("SET lock_timeout = '8s'; SET TimeZone = 'Asia/Tokyo'")
        if when == "before":
            conn.commit()
            conn.execute("SELECT 1")

        Migrator(connection=conn).apply(Stalls(connection=conn))
        conn.commit()

        now = "SELECT current_setting('lock_timeout'), current_setting('TimeZone')"
        assert conn.execute(now).fetchone() == ("8s", "Asia/Tokyo")


def test_without_a_transaction_a_hooks_set_leaves_the_migrations_timeout_to_its_statements(idle):
    seen = []

    class Changer(Hook):
        phase = HookPhase.BEFORE_DDL

        def execute(self, conn, context):
            conn.execute("SET lock_timeout = '9s'")

    class Stalls(Migration):
        version, name = "1", "stalls"
        transactional = False
        lock_timeout = "7s"
        before_ddl_hooks = (Changer(),)

        def up(self) -> None:
            seen.append(self.execute("SHOW lock_timeout").fetchone())

    Migrator(connection=idle).apply(Stalls(connection=idle))

    assert seen == [("7s",)]
    assert idle.execute("SHOW lock_timeout").fetchone() == ("0",)
