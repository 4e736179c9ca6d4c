"""A migration that would hurt is refused before its DDL, in words that say what to do."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pluggy
import psycopg
import pytest
from psycopg import sql

from confiture.hooks.api import HookError, HookResult
from confiture.hooks.hook_context import HookContext
from confiture.plugins.kit import PluginSettingsFault
from confiture.server import open_embedded_server
from confiture.testing import run_hook
from confiture_guard import plugin
from confiture_guard.errors import MigrationRefused

pytestmark = pytest.mark.slow

Database = psycopg.Connection[Any]


def before_ddl(conn: Database, config: dict[str, Any] | None = None, **context: Any) -> list[HookResult]:
    told = HookContext("add_value", "5", **context)
    return run_hook(plugin, "before_ddl", conn=conn, context=told, config=config, name="guard")


def the_error(conn: Database, config: dict[str, Any]) -> Any:
    """Return what the hook raised."""
    with pytest.raises(HookError) as caught:
        before_ddl(conn, config)
    return caught.value.error


@pytest.fixture
def orders(database: Database) -> Database:
    database.execute("CREATE TABLE orders (id int)")
    return database


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """A role that may do little; roles are the whole server's."""
    name = f"migrator {database.info.dbname}"
    database.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield name
    database.execute("RESET ROLE")
    database.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


class TestUnconfigured:
    """Installed and nothing more."""

    def test_nothing_is_changed_and_nothing_refused(self, orders: Database, second: Database) -> None:
        everything = "SELECT name, setting FROM pg_settings"
        with second.transaction(), orders.transaction():
            second.execute("LOCK TABLE orders")
            before = orders.execute(everything).fetchall()

            assert before_ddl(orders) == []

            assert orders.execute(everything).fetchall() == before


class TestSettings:
    """Role and timeouts, until the migration's end."""

    def test_role_and_timeouts_are_set_and_reported(self, database: Database, role: str) -> None:
        config = {"role": role, "lock_timeout": "3s", "statement_timeout": "15min"}

        with database.transaction():
            (result,) = before_ddl(database, config)

            assert database.execute("SELECT current_user::text").fetchone() == (role,)
            assert database.execute("SHOW lock_timeout").fetchone() == ("3s",)
            assert database.execute("SHOW statement_timeout").fetchone() == ("15min",)

        assert (result.hook_name, result.stats) == ("Guard", config)
        assert database.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert database.execute("SELECT current_user = session_user").fetchone() == (True,)

    @pytest.mark.parametrize("direction", ["forward", "backward"])
    def test_they_hold_on_the_way_down_too(self, database: Database, direction: str) -> None:
        with database.transaction():
            before_ddl(database, {"lock_timeout": "3s"}, direction=direction)

            assert database.execute("SHOW lock_timeout").fetchone() == ("3s",)

    @pytest.mark.parametrize(
        "key, value, said",
        [
            ("role", "nobody at all", 'role "nobody at all" does not exist'),
        ],
    )
    def test_what_the_server_does_not_take_is_named(
        self, database: Database, key: str, value: str, said: str
    ) -> None:
        error = the_error(database, {key: value})

        assert isinstance(error, PluginSettingsFault)
        assert f"plugin.guard.{key} is refused by the server: " in str(error)
        assert said in str(error)
        assert str(error.hint).startswith(("The role that", "How long a statement"))

    def test_it_comes_before_other_hooks(self) -> None:
        options = pluggy.PluginManager("confiture").parse_hookimpl_opts(plugin, "before_ddl")

        assert options
        assert options["tryfirst"]


class TestReplica:
    """A server in recovery."""

    @pytest.fixture
    def replica(self) -> Iterator[Database]:
        """A real one: a server that was stopped and started again as a standby."""
        with _folder() as root:
            with open_embedded_server(root) as url, psycopg.connect(url) as conn:
                data = conn.execute("SHOW data_directory").fetchone()
            assert data
            Path(data[0], "standby.signal").touch()
            with open_embedded_server(root) as url, psycopg.connect(url, autocommit=True) as conn:
                yield conn

    def test_a_replica_is_refused_where_that_is_asked_for(self, replica: Database) -> None:
        error = the_error(replica, {"refuse_replica": True})

        assert isinstance(error, MigrationRefused)
        assert "the server is a replica" in str(error)
        assert error.hint == "point --url at the primary"
        assert before_ddl(replica, {"refuse_replica": False}) == []

    def test_a_primary_is_let_through(self, database: Database) -> None:
        assert before_ddl(database, {"refuse_replica": True}) == []


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    # Not tmp_path: as root, the server's user cannot enter pytest's own folder.
    folder = Path(tempfile.mkdtemp(prefix="project-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for note in folder.rglob("embedded.json"):
            shutil.rmtree(Path(json.loads(note.read_text())["data"]).parent, ignore_errors=True)
        shutil.rmtree(folder)


class TestHours:
    """The clock is the server's."""

    def hours(self, begin_h: int, end_h: int) -> str:
        """Return hours around now, in UTC."""
        now = datetime.now(UTC)
        return "-".join(f"{now + timedelta(hours=number):%H:00}" for number in (begin_h, end_h))

    def test_inside_the_hours_a_migration_is_let_through(self, database: Database) -> None:
        assert before_ddl(database, {"hours": self.hours(-2, 3)}) == []

    def test_outside_the_hours_it_is_refused_and_told_when(self, database: Database) -> None:
        hours = self.hours(2, 5)

        error = the_error(database, {"hours": hours})

        assert isinstance(error, MigrationRefused)
        assert f"in UTC, outside {hours}" in str(error)
        assert f"{hours[:5]} (UTC)" in str(error.hint)

    def test_hours_are_those_of_the_time_zone(self, database: Database) -> None:
        """India is at UTC+5:30 all year."""
        hours = self.hours(3, 9)

        assert before_ddl(database, {"hours": hours, "timezone": "Asia/Kolkata"}) == []
        assert isinstance(the_error(database, {"hours": hours}), MigrationRefused)

    def test_other_days_are_refused(self, database: Database) -> None:
        database.execute("SET datestyle = 'German'")
        # Three days off on either side, so that a midnight meanwhile makes no difference.
        far = f"{datetime.now(UTC) + timedelta(days=3):%a}".lower()

        error = the_error(database, {"days": [far]})

        assert isinstance(error, MigrationRefused)
        assert f"outside 00:00-24:00 ({far})" in str(error)

    def test_a_time_zone_that_is_none_is_named(self, database: Database) -> None:
        error = the_error(database, {"hours": "22:00-06:00", "timezone": "Mars/Olympus"})

        assert isinstance(error, PluginSettingsFault)
        assert "plugin.guard.timezone is 'Mars/Olympus', which the server does not know" in str(error)


class TestBusy:
    """Somebody holds a lock on a table, and has for long."""

    CONFIG: ClassVar[dict[str, Any]] = {"busy_tables": ["public.orders"], "busy_after": "0 s"}

    def test_the_session_is_named(self, orders: Database, second: Database) -> None:
        second.execute("SET application_name = 'nightly report'")
        with second.transaction():
            second.execute("SELECT count(*)\n FROM orders")

            error = the_error(orders, self.CONFIG)

        assert isinstance(error, MigrationRefused)
        pid, user = second.info.backend_pid, second.info.user
        assert f"pid {pid} (user {user}, nightly report) holds AccessShareLock on public.orders" in str(error)
        assert re.search(r"open for \d+ s; idle in transaction: SELECT count\(\*\) FROM orders", str(error))
        assert f"pg_terminate_backend({pid})" in str(error.hint)

    def test_the_strongest_lock_is_told(self, orders: Database, second: Database) -> None:
        with second.transaction():
            second.execute(
                "SELECT FROM orders; LOCK TABLE orders IN EXCLUSIVE MODE; INSERT INTO orders SELECT 1"
            )

            error = the_error(orders, self.CONFIG)

        assert "holds ExclusiveLock on public.orders" in str(error)
        assert "more)" not in str(error)

    def test_a_young_transaction_is_let_through(self, orders: Database, second: Database) -> None:
        with second.transaction():
            second.execute("SELECT FROM orders")

            assert before_ddl(orders, {"busy_tables": ["orders"]}) == []

    def test_other_tables_do_not_count(self, orders: Database, second: Database) -> None:
        second.execute("CREATE TABLE customers ()")
        with second.transaction():
            second.execute("SELECT FROM customers")

            assert before_ddl(orders, self.CONFIG) == []

    def test_our_own_locks_do_not_count(self, orders: Database) -> None:
        with orders.transaction():
            orders.execute("LOCK TABLE orders")

            assert before_ddl(orders, self.CONFIG) == []

    def test_once_it_has_ended_the_migration_is_let_through(self, orders: Database, second: Database) -> None:
        """In one transaction too, where the server's activity view is a snapshot: a rehearsal."""
        with orders.transaction():
            with second.transaction():
                second.execute("SELECT FROM orders")
                assert isinstance(the_error(orders, self.CONFIG), MigrationRefused)

            assert before_ddl(orders, self.CONFIG) == []

    def test_a_partition_in_use_counts(self, database: Database, second: Database) -> None:
        database.execute("CREATE TABLE orders (id int) PARTITION BY LIST (id)")
        database.execute("CREATE TABLE orders_1 PARTITION OF orders FOR VALUES IN (1)")
        with second.transaction():
            second.execute("INSERT INTO orders_1 VALUES (1)")

            error = the_error(database, self.CONFIG)

        assert "holds RowExclusiveLock on public.orders" in str(error)

    def test_names_are_read_as_postgresql_reads_them(self, orders: Database, second: Database) -> None:
        orders.execute("""CREATE TABLE "Odd ""Table'" ()""")
        with second.transaction():
            second.execute("""SELECT FROM "Odd ""Table'" """)

            error = the_error(orders, {**self.CONFIG, "busy_tables": ["""public."Odd ""Table'" """]})

        assert isinstance(error, MigrationRefused)

    def test_a_table_that_is_not_there_yet_is_reported_and_passed_over(self, orders: Database) -> None:
        (result,) = before_ddl(orders, {"busy_tables": ["orders", "public.later"]})

        assert result.stats == {"no_such_table": ["public.later"]}

    def test_a_session_whose_details_are_hidden_is_named_as_such(
        self, orders: Database, second: Database, role: str
    ) -> None:
        with second.transaction():
            second.execute("SELECT FROM orders")
            orders.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))

            error = the_error(orders, {"busy_tables": ["orders"]})

        assert f"pid {second.info.backend_pid} " in str(error)
        assert "for an unknown time" in str(error)
        assert "GRANT pg_read_all_stats" in str(error.hint)

    def test_a_prepared_transaction_is_named(self) -> None:
        """It has no session, and keeps its locks until somebody ends it."""
        with _folder() as root:
            with open_embedded_server(root) as url, psycopg.connect(url, autocommit=True) as conn:
                conn.execute("ALTER SYSTEM SET max_prepared_transactions = 1")
                conn.execute("CREATE TABLE orders ()")
            with open_embedded_server(root) as url, psycopg.connect(url, autocommit=True) as conn:
                conn.execute("BEGIN; LOCK TABLE orders IN SHARE MODE; PREPARE TRANSACTION 'forgotten'")

                error = the_error(conn, self.CONFIG)

        assert "prepared transaction 'forgotten' (user postgres) holds ShareLock on public.orders" in str(
            error
        )
        assert "ROLLBACK PREPARED" in str(error.hint)

    def test_a_password_in_its_statement_is_not_shown(self, orders: Database, second: Database) -> None:
        with second.transaction():
            second.execute("SELECT 'password=hunter2' FROM orders")

            error = the_error(orders, self.CONFIG)

        assert "hunter2" not in f"{error} {error.hint}"
        assert "idle in transaction: a statement with a password" in str(error)


class TestRefusedConfiguration:
    """What cannot be used is named."""

    @pytest.mark.parametrize(
        "config, said, hint",
        [
            ({"role": 5}, "plugin.guard.role must be a string, not a number", "migrations run as"),
            ({"lock_timeout": 3000}, '3000 has no unit; write "3000s", "3000ms" or', '"3s"'),
            ({"lock_timeout": "5 parsecs"}, "lock_timeout must be a time such as", '"3s"'),
            ({"statement_timeout": "-3s"}, "'-3s' is not a time", '"15min"'),
            ({"statement_timeout": ""}, 'must be a time such as "2s", not an empty string', '"15min"'),
            (
                {"refuse_replica": "yes"},
                "refuse_replica must be true or false, not a string",
                "refuse_replica = true",
            ),
            ({"hours": "22-06"}, "'22-06' is not HH:MM-HH:MM", 'write hours = "22:00-06:00"'),
            ({"days": "mon"}, "plugin.guard.days must be a list of days, not a string", '["mon", "tue"]'),
            (
                {"days": ["mnd"]},
                "plugin.guard.days must be a list of days: 'mnd' is no day; did you mean 'mon'?",
                "days",
            ),
            ({"days": [1]}, "plugin.guard.days must be a list of days", '["mon", "tue"]'),
            (
                {"busy_tables": "orders"},
                "busy_tables must be a list of names, not a string",
                '["public.orders"]',
            ),
            (
                {"busy_tables": ["x"], "busy_after": "soon"},
                "plugin.guard.busy_after is 'soon', which is no time",
                '"1min"',
            ),
            (
                {"busy_tables": ["x"], "busy_after": "5"},
                '5 has no unit; write "5s", "5ms" or "5min"',
                'busy_after = "1min"',
            ),
            ({"lock_timeout": "5"}, '5 has no unit; write "5s", "5ms" or "5min"', 'lock_timeout = "2s"'),
            ({"rolle": "x"}, "unknown key 'rolle' in plugin.guard", "did you mean 'role'?"),
        ],
    )
    def test_a_faulty_table_of_the_configuration(
        self, database: Database, config: dict[str, Any], said: str, hint: str
    ) -> None:
        error = the_error(database, config)

        assert isinstance(error, PluginSettingsFault)
        assert isinstance(error, ValueError)
        assert said in str(error)
        assert hint in str(error.hint)
