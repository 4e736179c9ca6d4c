"""What a migration requires is checked before it begins."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import pq
from structlog.testing import capture_logs

from confiture.hooks.api import HookError, HookResult
from confiture.hooks.hook_context import HookContext
from confiture.plugins.kit import PluginSettingsFault
from confiture.testing import run_hook
from confiture_checks import plugin
from confiture_checks.errors import CheckRefused, PreconditionFailed

Database = psycopg.Connection[Any]


def before(conn: Database, require: Any = None, **context: Any) -> list[HookResult]:
    """Run the hook as migration ``005 add_value`` does."""
    call = HookContext(**{"migration_name": "add_value", "migration_version": "005"} | context)
    config = {} if require is None else {"require": require}
    return run_hook(plugin, "before_validation", conn=conn, context=call, config=config, name="checks")


def the_error(conn: Database, require: Any) -> Any:
    with pytest.raises(HookError) as caught:
        before(conn, require)
    return caught.value.error


@pytest.fixture
def shop(database: Database) -> Database:
    database.execute("CREATE TABLE orders (id int PRIMARY KEY, status text, gone int)")
    database.execute("ALTER TABLE orders DROP COLUMN gone")
    database.execute('CREATE SCHEMA "Old"')
    database.execute('CREATE TABLE "Old"."T.x" ("a b" int)')
    database.execute("CREATE VIEW open_orders AS SELECT * FROM orders")
    return database


class TestTablesAndColumns:
    """``tables`` and ``columns``."""

    def test_nothing_is_required_until_it_is_configured(self, shop: Database) -> None:
        assert before(shop) == []
        assert before(shop, []) == []

    def test_what_is_there_is_found_as_postgresql_reads_names(self, shop: Database) -> None:
        tables = ["orders", "PUBLIC.Orders", '"Old"."T.x"', "open_orders"]

        (result,) = before(
            shop, {"tables": tables, "columns": ["orders.status", "public.orders.ID", '"Old"."T.x"."a b"']}
        )

        assert (result.hook_name, result.phase) == ("Preconditions", "BEFORE_VALIDATION")

    def test_everything_that_is_missing_is_named_at_once(self, shop: Database) -> None:
        columns = ["public.orders.gone", "nowhere.orders.id", "status", "orders.ctid"]

        error = the_error(shop, {"tables": ["orders", "invoices", "orders_pkey"], "columns": columns})

        assert isinstance(error, PreconditionFailed)
        assert error.unmet == (
            "there is no table invoices",
            "there is no table orders_pkey",
            "there is no column public.orders.gone",
            "there is no column nowhere.orders.id",
            "there is no column status",
            "there is no column orders.ctid",
        )
        assert str(error).startswith("6 preconditions are not met:\n  there is no table invoices\n")

    @pytest.mark.parametrize("key", ["tables", "columns"])
    def test_a_name_that_is_none_is_shown(self, shop: Database, key: str) -> None:
        error = the_error(shop, {key: ["orders", "a..b; DROP"]})

        assert isinstance(error, CheckRefused)
        assert f'plugin.checks.require.{key}: string is not a valid identifier: "a..b; DROP"' in str(error)

    @pytest.mark.parametrize("migration", ["5", "0005", "add_value", "005_add_value"])
    def test_what_one_migration_needs_is_asked_of_that_one(self, shop: Database, migration: str) -> None:
        require = [{"tables": ["orders"]}, {"migration": migration, "tables": ["invoices"]}]

        error = the_error(shop, require)

        assert error.unmet == ("there is no table invoices",)

    def test_what_another_migration_needs_is_not_asked(self, shop: Database) -> None:
        assert before(shop, {"migration": "50", "tables": ["invoices"]}) == []

    def test_going_backward_nothing_is_asked(self, shop: Database) -> None:
        assert before(shop, {"tables": ["invoices"]}, direction="backward") == []


class TestInvalidIndexes:
    """``no_invalid_indexes``."""

    def test_an_index_that_a_failed_build_left_stops_the_migration(self, shop: Database) -> None:
        shop.execute("INSERT INTO orders VALUES (1, 'x'), (2, 'x')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            shop.execute("CREATE UNIQUE INDEX CONCURRENTLY one_status ON orders (status)")

        error = the_error(shop, {"no_invalid_indexes": True})

        assert error.unmet == ("index public.one_status is invalid",)
        assert before(shop, {"no_invalid_indexes": False}) == []

    def test_valid_ones_do_not(self, shop: Database) -> None:
        assert len(before(shop, {"no_invalid_indexes": True})) == 1


class TestConnections:
    """``connection_headroom``."""

    def test_what_is_free_is_reported(self, shop: Database) -> None:
        (result,) = before(shop, {"connection_headroom": 1})

        assert result.stats is not None
        assert 1 <= result.stats["free_connections"] < _setting(shop, "max_connections")

    def test_each_session_takes_one(self, shop: Database, database_url: str) -> None:
        (alone,) = before(shop, {"connection_headroom": 1})

        with psycopg.connect(database_url), psycopg.connect(database_url):
            (together,) = before(shop, {"connection_headroom": 1})

        assert alone.stats is not None
        assert together.stats is not None
        assert alone.stats["free_connections"] - together.stats["free_connections"] == 2

    def test_a_role_that_sees_nothing_of_the_others_counts_them_too(self, shop: Database) -> None:
        (seeing,) = before(shop, {"connection_headroom": 1})
        shop.execute("CREATE ROLE sees_little")
        try:
            shop.execute("SET ROLE sees_little")
            (blind,) = before(shop, {"connection_headroom": 1})
        finally:
            shop.execute("RESET ROLE")
            shop.execute("DROP ROLE sees_little")

        assert seeing.stats is not None
        assert blind.stats == seeing.stats

    def test_too_few_stop_the_migration(self, shop: Database) -> None:
        error = the_error(shop, {"connection_headroom": 100_000})

        assert "connections are free, 100000 must be" in str(error)


class TestReplicationLag:
    """``max_replication_lag``; the replica is one that answers when it is told to."""

    def test_without_a_replica_there_is_no_lag_to_report(self, shop: Database) -> None:
        (result,) = before(shop, {"max_replication_lag": "10s"})

        assert result.stats == {"replicas": 0, "replication_lag_ms": None}

    def test_a_replica_that_is_behind_stops_the_migration(self, shop: Database, replica: Replica) -> None:
        replica.answer_late(shop)

        error = the_error(shop, {"max_replication_lag": "100ms"})

        assert "replica late_one is " in str(error)
        assert " ms behind, 100 are allowed" in str(error)

    def test_one_within_bounds_does_not(self, shop: Database, replica: Replica) -> None:
        replica.answer_late(shop)

        (result,) = before(shop, {"max_replication_lag": "1min"})

        assert result.stats is not None
        assert result.stats["replicas"] == 1
        assert 200 < result.stats["replication_lag_ms"] < 60_000

    def test_where_the_role_may_not_see_it_that_is_said(self, shop: Database, replica: Replica) -> None:
        replica.answer_late(shop)
        shop.execute("CREATE ROLE blind")
        try:
            shop.execute("SET ROLE blind")
            with capture_logs() as logs:
                (result,) = before(shop, {"max_replication_lag": "100ms"})
        finally:
            shop.execute("RESET ROLE")
            shop.execute("DROP ROLE blind")

        assert result.stats is not None
        assert result.stats["replication_lag_ms"] is None
        assert "the role may not see it" in result.stats["unknown"][0]
        assert [log["event"] for log in logs] == ["precondition.unknown"]


class TestRefused:
    """What cannot be used is named."""

    @pytest.mark.parametrize(
        "require, said, hint",
        [
            ("orders", "plugin.checks.require must be a table, not a string", "write require = { … }"),
            ({"tabels": []}, "unknown key 'tabels' in plugin.checks.require", "did you mean 'tables'?"),
            ({"tables": "orders"}, "plugin.checks.require.tables must be a list of names", 'tables = ["…"]'),
            ({"migration": 5}, "plugin.checks.require.migration must be a string", 'migration = "…"'),
            ({"no_invalid_indexes": 1}, "no_invalid_indexes must be true or false, not a number", "= true"),
            ({"max_replication_lag": "soon"}, "max_replication_lag must be a time", '= "2s"'),
            ({"max_replication_lag": 10}, '10 has no unit; write "10s"', '= "2s"'),
            ({"max_replication_lag": []}, 'must be a time such as "2s", not a list', '= "2s"'),
            ({"connection_headroom": -1}, "connection_headroom must be a whole number, 0 or more", "= 0"),
            ({"connection_headroom": True}, "0 or more, not a boolean", "connection_headroom = 0"),
        ],
    )
    def test_a_faulty_table(self, shop: Database, require: Any, said: str, hint: str) -> None:
        error = the_error(shop, require)

        assert isinstance(error, PluginSettingsFault)
        assert said in str(error)
        assert hint in str(error.hint)


def _setting(conn: Database, name: str) -> int:
    row = conn.execute("SELECT current_setting(%s)::int", [name]).fetchone()
    assert row is not None
    return int(row[0])


class Replica:
    """A standby as the server sees one: it receives the log, and says how far it has come."""

    def __init__(self, url: str) -> None:
        whole = f"{url}{'&' if '?' in url else '?'}replication=true&application_name=late_one"
        self.link = pq.PGconn.connect(whole.encode())
        assert self.link.status == pq.ConnStatus.OK, self.link.error_message

    def begin(self, conn: Database) -> None:
        """Follow from where the server is now."""
        answer = self.link.exec_(f"START_REPLICATION PHYSICAL {_lsn(conn)}".encode())
        assert answer.status == pq.ExecStatus.COPY_BOTH, answer.error_message

    def answer_late(self, conn: Database) -> None:
        """Say that everything has come, 300 ms after it was sent, until the server shows that lag."""
        # Else the log is not sent until the server gets round to flushing it.
        conn.execute("SET synchronous_commit = on")
        for number in range(20):
            conn.execute("INSERT INTO orders VALUES (%s)", [1000 + number])
            time.sleep(0.3)
            self._answer(_lsn(conn))
            if self._seen(conn):
                return
        raise AssertionError("the server shows no lag of its replica")

    def _answer(self, lsn: str) -> None:
        high, low = (int(half, 16) for half in lsn.split("/"))
        at = (high << 32) + low
        self.link.put_copy_data(struct.pack("!cQQQqB", b"r", at, at, at, 0, 0))
        while self.link.flush():
            time.sleep(0.01)

    def _seen(self, conn: Database) -> bool:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            if conn.execute(_LATE).fetchone():
                return True
            time.sleep(0.02)
        return False


_LATE = "SELECT 1 FROM pg_stat_replication WHERE application_name = 'late_one' AND replay_lag > '200ms'"


def _lsn(conn: Database) -> str:
    row = conn.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture
def replica(shop: Database, database_url: str) -> Iterator[Replica]:
    it = Replica(database_url)
    it.begin(shop)
    yield it
    it.link.finish()
