"""What a migration changed is analyzed after its commit, and how it grew is reported."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from confiture.hooks.api import HookError, HookResult
from confiture.hooks.hook_context import HookContext
from confiture.plugins.kit import PluginSettingsFault
from confiture.testing import run_hook
from confiture_analyze import plugin
from confiture_analyze.errors import NotAnalyzed

Database = psycopg.Connection[Any]

GROW = "INSERT INTO orders SELECT n, 'x' FROM generate_series(11, 5000) AS n"


@pytest.fixture
def shop(database: Database) -> Database:
    """Ten orders, analyzed; and customers, who never were."""
    database.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status text) WITH (autovacuum_enabled = false)"
    )
    database.execute("INSERT INTO orders SELECT n, 'x' FROM generate_series(1, 10) AS n")
    database.execute("ANALYZE orders")
    database.execute("CREATE TABLE customers (id int) WITH (autovacuum_enabled = false)")
    return database


class Migration:
    """One migration round the hooks, in one transaction, or in several."""

    def __init__(self, conn: Database, config: dict[str, Any], **context: Any) -> None:
        self.conn, self.config = conn, config
        self.context = HookContext("grow", "7", **context)

    def hook(self, phase: str) -> list[HookResult]:
        return run_hook(
            plugin, phase, conn=self.conn, context=self.context, config=self.config, name="analyze"
        )

    def run(self, ddl: str = GROW) -> list[HookResult]:
        """Run it, commit, and call what is to be called then; return what ``cleanup`` reports."""
        with self.conn.transaction(force_rollback=self.context.dry_run):
            self.before = self.hook("before_ddl")
            self.conn.execute(ddl.encode())
            results = self.hook("cleanup")
        if not self.context.dry_run:
            for callback in self.context.callbacks:
                callback()
        return results

    def run_in_pieces(self, ddl: str = GROW) -> list[HookResult]:
        """Run it as a no-transaction migration: each phase in a separate transaction."""
        self.hook("before_ddl")
        self.conn.execute(ddl.encode())
        return self.hook("cleanup")


def tables(results: list[HookResult]) -> dict[str, Any]:
    (result,) = results
    assert result.stats is not None
    return dict(result.stats["tables"])


def estimated_rows(conn: Database, table: str) -> Any:
    row = conn.execute("SELECT reltuples::int FROM pg_class WHERE oid = %s::regclass", [table]).fetchone()
    assert row is not None
    return row[0]


class TestWhateverChanged:
    """``analyze = true``."""

    @pytest.mark.parametrize(
        "config", [{}, {"analyze": False}, {"tables": []}, {"analyze": False, "tables": ["orders"]}]
    )
    def test_nothing_happens_until_it_is_configured(self, shop: Database, config: dict[str, Any]) -> None:
        migration = Migration(shop, config)

        assert migration.run() == []

        assert migration.before == []
        assert migration.context.callbacks == []
        assert estimated_rows(shop, "orders") == 10

    def test_what_changed_is_analyzed_and_its_growth_reported(self, shop: Database) -> None:
        results = Migration(shop, {"analyze": True}).run()

        grown = tables(results)["public.orders"]
        assert list(tables(results)) == ["public.orders"]
        assert estimated_rows(shop, "orders") == 5000
        assert (grown["rows_before"], grown["rows_after"]) == (10, 5000)
        assert grown["bytes_before"] == 3 * 8192
        assert grown["bytes_after"] == _pages(shop) * 8192 > grown["bytes_before"]

    def test_what_was_never_analyzed_or_is_new_had_unknown_figures(self, shop: Database) -> None:
        results = Migration(shop, {"analyze": True}).run(
            "INSERT INTO customers VALUES (1); CREATE TABLE fresh AS SELECT 1 AS id"
        )

        unknown = {"rows_before": None, "bytes_before": None, "rows_after": 1, "bytes_after": 8192}
        assert tables(results) == {"public.customers": unknown, "public.fresh": unknown}

    def test_what_is_no_table_or_gone_is_left_alone(self, shop: Database) -> None:
        results = Migration(shop, {"analyze": True}).run(
            "CREATE VIEW v AS SELECT 1; CREATE SEQUENCE s; CREATE TEMP TABLE t (); DROP TABLE orders"
        )

        assert tables(results) == {}

    def test_a_partitioned_table_is_analyzed_once_with_its_partitions(self, shop: Database) -> None:
        shop.execute("CREATE TABLE log (id int) PARTITION BY RANGE (id)")
        shop.execute("CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10)")
        shop.execute("CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (10) TO (20)")
        shop.execute("INSERT INTO log VALUES (1), (11)")
        shop.execute("ANALYZE log")

        results = Migration(shop, {"analyze": True}).run("INSERT INTO log VALUES (2), (12), (13)")

        assert tables(results) == {
            "public.log": {"rows_before": 2, "bytes_before": 16384, "rows_after": 5, "bytes_after": 16384}
        }
        assert [estimated_rows(shop, table) for table in ("log", "log_1", "log_2")] == [5, 2, 3]

    def test_names_are_quoted_where_they_must_be(self, shop: Database) -> None:
        results = Migration(shop, {"analyze": True}).run('CREATE TABLE "Odd; ""Table" AS SELECT 1 AS id')

        assert tables(results)['public."Odd; ""Table"']["rows_after"] == 1

    def test_a_rehearsal_analyzes_nothing_and_lists_what_it_would(self, shop: Database) -> None:
        migration = Migration(shop, {"analyze": True}, dry_run=True)

        grown = tables(migration.run())["public.orders"]

        assert list(map(repr, migration.context.callbacks)) == ["ANALYZE public.orders"]
        assert (grown["rows_before"], grown["rows_after"], grown["bytes_after"]) == (10, None, None)
        assert estimated_rows(shop, "orders") == 10

    def test_going_backward_it_analyzes_too(self, shop: Database) -> None:
        results = Migration(shop, {"analyze": True}, direction="backward").run("DELETE FROM orders")

        assert tables(results)["public.orders"]["rows_after"] == 0

    def test_in_a_no_transaction_migration_it_says_that_it_does_not_know(self, shop: Database) -> None:
        migration = Migration(shop, {"analyze": True})

        with capture_logs() as logs:
            (result,) = migration.run_in_pieces()

        assert result.stats is not None
        assert "name tables in plugin.analyze.tables" in result.stats["unknown"]
        assert [log["event"] for log in logs] == ["changes.unknown"]
        assert migration.context.callbacks == []

    def test_an_application_with_rows_of_its_own_kind_is_no_obstacle(self, shop: Database) -> None:
        shop.row_factory = psycopg.rows.dict_row

        grown = tables(Migration(shop, {"analyze": True}).run())["public.orders"]

        assert grown["rows_after"] == 5000

    def test_a_connection_without_autocommit_is_left_idle(self, shop: Database, database_url: str) -> None:
        with psycopg.connect(database_url) as conn:
            Migration(conn, {"analyze": True}).run()

            assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

        assert estimated_rows(shop, "orders") == 5000


class TestNamedTables:
    """``tables``."""

    def test_their_sizes_are_noted_before(self, shop: Database) -> None:
        migration = Migration(shop, {"tables": ["orders", "later"]})
        size = _whole_size(shop)

        migration.run()

        assert tables(migration.before) == {"public.orders": {"rows": 10, "bytes": size}}

    def test_their_files_are_measured_before_and_after(self, shop: Database) -> None:
        size_before = _whole_size(shop)

        grown = tables(Migration(shop, {"tables": ["PUBLIC.Orders"]}).run())["public.orders"]

        size_after = _whole_size(shop)
        assert grown == {
            "rows_before": 10,
            "rows_after": 5000,
            "bytes_before": size_before,
            "bytes_after": size_after,
        }

    def test_those_that_a_migration_leaves_alone_are_left_alone(self, shop: Database) -> None:
        results = Migration(shop, {"tables": ["orders"]}).run("INSERT INTO customers VALUES (1)")

        assert tables(results) == {}
        assert estimated_rows(shop, "customers") == -1

    def test_others_that_it_changes_are_not_analyzed(self, shop: Database) -> None:
        Migration(shop, {"tables": ["orders"]}).run(f"INSERT INTO customers VALUES (1); {GROW}")

        assert estimated_rows(shop, "customers") == -1
        assert estimated_rows(shop, "orders") == 5000

    def test_a_named_one_is_changed_where_a_partition_of_it_is(self, shop: Database) -> None:
        shop.execute("CREATE TABLE log (id int) PARTITION BY RANGE (id)")
        shop.execute("CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10)")

        results = Migration(shop, {"tables": ["log"]}).run("INSERT INTO log_1 VALUES (1)")

        assert tables(results)["public.log"]["rows_after"] == 1

    def test_in_a_no_transaction_migration_all_of_them_are_analyzed(self, shop: Database) -> None:
        results = Migration(shop, {"tables": ["orders", "customers"]}).run_in_pieces()

        assert {name: table["rows_after"] for name, table in tables(results).items()} == {
            "public.customers": 0,
            "public.orders": 5000,
        }

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_rows_are_counted_where_asked_for(self, shop: Database, dry_run: bool) -> None:
        config = {"tables": ["customers"], "exact_rows": True}

        results = Migration(shop, config, dry_run=dry_run).run("INSERT INTO customers VALUES (1), (2), (3)")

        grown = tables(results)["public.customers"]
        assert (grown["rows_before"], grown["rows_after"]) == (0, 3)


class TestWhatGoesWrong:
    """After the commit nothing can be undone: it is said."""

    def test_a_lock_that_is_not_granted_is_named_and_the_others_are_analyzed(
        self, shop: Database, second: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("confiture_analyze.analyze_tables.LOCK_TIMEOUT", "50ms")
        migration = Migration(shop, {"analyze": True})
        with shop.transaction():
            migration.hook("before_ddl")
            shop.execute(f"INSERT INTO customers VALUES (1); {GROW}".encode())
            migration.hook("cleanup")
        (callback,) = migration.context.callbacks

        with second.transaction():
            second.execute("LOCK TABLE customers IN SHARE ROW EXCLUSIVE MODE")
            with pytest.raises(NotAnalyzed) as caught:
                callback()

        assert caught.value.reasons == {"public.customers": "canceling statement due to lock timeout"}
        assert "ANALYZE public.customers" in str(caught.value)
        assert estimated_rows(shop, "orders") == 5000

    def test_what_the_role_may_not_analyze_is_named(self, shop: Database) -> None:
        shop.execute("CREATE ROLE inserts_only")
        try:
            shop.execute("GRANT INSERT ON customers TO inserts_only")
            shop.execute("SET ROLE inserts_only")
            with pytest.raises(NotAnalyzed) as caught:
                Migration(shop, {"analyze": True}).run("INSERT INTO customers VALUES (1)")
        finally:
            shop.execute("RESET ROLE")
            shop.execute("DROP OWNED BY inserts_only")
            shop.execute("DROP ROLE inserts_only")

        assert list(caught.value.reasons) == ["public.customers"]
        assert estimated_rows(shop, "customers") == -1

    def test_the_role_of_the_migration_is_the_one_that_analyzes(
        self, shop: Database, database_url: str
    ) -> None:
        """A role that must be set, because what it may do is not inherited, still owns what it made."""
        shop.execute("CREATE ROLE owns_it")
        shop.execute("CREATE ROLE logs_in LOGIN NOINHERIT IN ROLE owns_it")
        try:
            shop.execute("ALTER TABLE customers OWNER TO owns_it")
            shop.execute("SET SESSION AUTHORIZATION logs_in")
            Migration(shop, {"analyze": True}).run("SET LOCAL ROLE owns_it; INSERT INTO customers VALUES (1)")
            assert estimated_rows(shop, "customers") == 1
        finally:
            shop.execute("RESET SESSION AUTHORIZATION")
            shop.execute("DROP OWNED BY owns_it")
            shop.execute("DROP ROLE logs_in, owns_it")

    @pytest.mark.parametrize(
        "config, said, hint",
        [
            ({"analyze": "yes"}, "plugin.analyze.analyze must be true or false", "analyze = true"),
            ({"tables": "orders"}, "plugin.analyze.tables must be a list of names", 'tables = ["…"]'),
            (
                {"tables": ["a..b"]},
                "plugin.analyze.tables has a name that PostgreSQL cannot read: string is not",
                "as PostgreSQL",
            ),
            (
                {"exact_rows": True},
                "plugin.analyze.exact_rows needs plugin.analyze.tables",
                "name the tables",
            ),
        ],
    )
    def test_a_faulty_table_of_the_configuration(
        self, shop: Database, config: dict[str, Any], said: str, hint: str
    ) -> None:
        with pytest.raises(HookError) as caught:
            Migration(shop, config).run()

        error = caught.value.error
        assert isinstance(error, PluginSettingsFault)
        assert said in str(error)
        assert hint in str(error.hint)


def _pages(conn: Database) -> int:
    row = conn.execute(
        "SELECT (pg_relation_size('orders') + pg_relation_size('orders_pkey')) / 8192"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _whole_size(conn: Database) -> int:
    row = conn.execute("SELECT pg_total_relation_size('orders')").fetchone()
    assert row is not None
    return int(row[0])
