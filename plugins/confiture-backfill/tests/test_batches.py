"""A large read model is filled in batches: none is lost and none comes twice, whatever happens between."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attrs import evolve, field, frozen

import confiture
import confiture_backfill
from confiture.api import operations
from confiture.config.settings import Settings
from confiture.models.report import Report
from confiture.plugins.load import LoadedPlugin
from confiture_backfill.batch import Batch
from confiture_backfill.range_condition import locate_in_original, replace_range

pytestmark = pytest.mark.slow

Database = psycopg.Connection[Any]
Orders = Callable[[int], None]

SOURCES = [str(Path(str(package.__file__)).parents[1]) for package in (confiture, confiture_backfill)]
NO_TRANSACTION = "-- confiture: no-transaction\n"
LOADED = LoadedPlugin("backfill", "confiture-backfill", "0.1.0", confiture_backfill.plugin, ("after_ddl",))
METADATA = "Metadata-Version: 2.1\nName: confiture-backfill\nVersion: 0.1.0\n"
APPEND = "INSERT INTO r_order SELECT id, cents FROM w_order WHERE {range}"
PATIENCE_S = 60.0
TABLE = "CREATE TABLE r_order (id bigint, cents bigint);\n"


@frozen
class Shop:
    """A folder with migrations, the database they are for, and the plugin's table of settings."""

    root: Path
    url: str
    config: dict[str, Any] = field(factory=dict)

    @property
    def migrations(self) -> Path:
        return self.root / "migrations"

    def write(self, name: str, text: str) -> None:
        (self.migrations / name).write_text(text)

    def backfill(self, insert: str, **directives: object) -> None:
        """Write migration ``1 orders``, and the file that fills ``r_order``."""
        given = {"table": "r_order", "batch_source": "w_order", "batch_column": "id", **directives}
        lines = "".join(
            f"-- backfill: {key.replace('_', '-')}={value}\n"
            for key, value in given.items()
            if value is not None
        )
        if not list(self.migrations.glob("1_orders.up.sql")):
            self.write("1_orders.up.sql", NO_TRANSACTION + TABLE)
        self.write("1_orders.backfill.sql", lines + insert)

    def run(self, *more: LoadedPlugin, dry_run: bool = False, **settings: Any) -> Report:
        """Apply what is pending, in this process."""
        given = {"root": self.root, "url": self.url, "migrations": self.migrations}
        tables = {"plugin_tables": {"backfill": self.config}}
        return operations.run(
            Settings(**{**given, **tables, **settings}), plugins=(LOADED, *more), dry_run=dry_run
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the real command, with the plugin installed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        path = os.pathsep.join([*SOURCES, str(self._site())])
        return subprocess.Popen(
            [sys.executable, "-m", "confiture", *words],
            cwd=self.root,
            env={**kept, "PYTHONPATH": path, "CONFITURE_DATABASE_URL": self.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _site(self) -> Path:
        """Return a folder in which the plugin is installed as pip leaves an editable one."""
        info = self.root / "site" / "confiture_backfill-0.1.0.dist-info"
        if not info.exists():
            info.mkdir(parents=True)
            (info / "METADATA").write_text(METADATA)
            (info / "entry_points.txt").write_text("[confiture]\nbackfill = confiture_backfill:plugin\n")
        return info.parent


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Shop:
    """An empty folder of migrations and an empty database."""
    (tmp_path / "migrations").mkdir()
    return Shop(tmp_path, database_url)


@pytest.fixture
def orders(database: psycopg.Connection[Any]) -> Callable[[int], None]:
    """Fill a write table with so many orders."""

    def fill(number: int) -> None:
        database.execute("CREATE TABLE w_order (id bigint PRIMARY KEY, cents bigint)")
        database.execute("INSERT INTO w_order SELECT n, n %% 997 FROM generate_series(1, %s) n", [number])

    return fill


def the_hook(report: Report) -> Any:
    (migration,) = report.migrations
    (hook,) = migration.hooks
    return hook


def rows(database: Database, table: str = "r_order") -> Any:
    """Return how many rows a table holds, and what they are."""
    return database.execute(
        f"SELECT count(*), md5(string_agg(r::text, ';' ORDER BY r)) FROM {table} r"
    ).fetchone()


def stored(database: Database, table: str = "r_order") -> dict[str, Any]:
    """Return what is stored of the walk; nothing where nothing is."""
    if database.execute("SELECT to_regclass('confiture.hook_progress')").fetchone() == (None,):
        return {}
    found = database.execute("SELECT progress -> %s -> 'walked' FROM confiture.hook_progress", [table])
    row = found.fetchone()
    return (row[0] if row else None) or {}


class TestBatches:
    """Filled in batches, in a no-transaction migration."""

    def test_all_rows_are_written_each_batch_by_itself(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(105)
        database.execute("CREATE TABLE transactions (id xid8 DEFAULT pg_current_xact_id(), key bigint)")
        insert = f"{APPEND}; INSERT INTO transactions (key) SELECT id FROM w_order WHERE {{range}}"
        shop.backfill(insert, mode="truncate", batch_rows=10, count="SELECT count(*) FROM w_order")

        report = shop.run()

        assert report.exit_code == 0
        assert rows(database) == rows(database, "w_order")
        sizes = database.execute("SELECT count(*) FROM transactions GROUP BY id ORDER BY min(key)").fetchall()
        assert [size for (size,) in sizes] == [10] * 10 + [5]

    def test_the_report_has_batches_rows_and_seconds(self, shop: Shop, orders: Orders) -> None:
        orders(25)
        shop.backfill(APPEND, mode="truncate", batch_rows=10, count="SELECT count(*) FROM w_order")

        hook = the_hook(shop.run())

        seconds = hook.stats.pop("seconds")
        assert hook.stats == {"table": "r_order", "rows": 25, "expected": 25, "found": 25, "batches": 3}
        assert hook.rows_affected == 25
        assert 0 < seconds < hook.duration_ms / 1000

    def test_the_configuration_may_ask_for_it(self, shop: Shop, orders: Orders, database: Database) -> None:
        orders(25)
        shop.write("1_orders.up.sql", NO_TRANSACTION + TABLE)
        batch = {"source": "public.w_order", "column": "ID", "key": "o.id", "rows": 10, "pause": "1ms"}
        insert = "INSERT INTO r_order SELECT o.id, o.cents FROM w_order o WHERE {range} AND o.cents > 0"
        shop.config["models"] = {
            "r_order": {"migration": "1", "mode": "truncate", "insert": insert, "batch": batch}
        }

        hook = the_hook(shop.run())

        assert hook.stats["batches"] == 3
        assert rows(database) == rows(database, "w_order")

    def test_what_is_written_after_the_begin_is_left_to_the_application(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(25)
        database.execute(
            "CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN INSERT INTO w_order SELECT max(id) + 1, 0 FROM w_order; RETURN NULL; END'"
        )
        trigger = "CREATE TRIGGER more AFTER INSERT ON r_order FOR EACH STATEMENT EXECUTE FUNCTION more();"
        shop.write("1_orders.up.sql", NO_TRANSACTION + TABLE + trigger)
        shop.backfill(APPEND, mode="truncate", batch_rows=10)

        hook = the_hook(shop.run())

        assert hook.rows_affected == 25
        assert database.execute("SELECT max(id) FROM r_order").fetchone() == (25,)
        assert database.execute("SELECT count(*) FROM w_order").fetchone() == (28,)

    @pytest.mark.parametrize("up", [NO_TRANSACTION, ""], ids=["no-transaction", "transactional"])
    def test_a_rehearsal_walks_without_a_pause_and_keeps_nothing(
        self, shop: Shop, orders: Orders, database: Database, up: str
    ) -> None:
        orders(25)
        shop.write("1_orders.up.sql", up + TABLE)
        shop.backfill(APPEND, mode="truncate", batch_rows=10, batch_pause="1h")

        report = shop.run(dry_run=True)

        assert the_hook(report).stats["batches"] == 3
        assert database.execute("SELECT to_regclass('r_order')").fetchone() == (None,)

    def test_a_transactional_migration_walks_in_its_one_transaction(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(25)
        shop.write("1_orders.up.sql", TABLE)
        shop.backfill(APPEND, mode="truncate", batch_rows=10, batch_pause="1h")

        report = shop.run()

        assert the_hook(report).stats["batches"] == 3
        assert database.execute("SELECT count(DISTINCT xmin::text) FROM r_order").fetchone() == (1,)

    def test_between_batches_that_are_committed_it_pauses(self, shop: Shop, orders: Orders) -> None:
        orders(25)
        shop.backfill(APPEND, mode="truncate", batch_rows=10, batch_pause="150ms")

        hook = the_hook(shop.run())

        assert hook.duration_ms > 300
        assert hook.duration_ms > hook.stats["seconds"] * 1000 + 300

    def test_an_empty_table_has_no_batches(self, shop: Shop, orders: Orders, database: Database) -> None:
        orders(0)
        shop.backfill(APPEND, mode="truncate", count="SELECT count(*) FROM w_order")

        hook = the_hook(shop.run())

        assert (hook.stats["batches"], hook.stats["rows"], hook.stats["found"]) == (0, 0, 0)

    def test_another_table_filled_in_one_piece_is_filled_once(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(25)
        shop.write("1_orders.up.sql", f"{NO_TRANSACTION}CREATE TABLE r_total (cents bigint);{TABLE}")
        shop.config["models"] = {
            "r_total": {
                "migration": "1",
                "mode": "truncate",
                "insert": "INSERT INTO r_total SELECT sum(cents) FROM w_order",
            }
        }
        database.execute("ALTER TABLE w_order ADD spoilt boolean CHECK (NOT spoilt)")
        shop.backfill(
            f"UPDATE w_order SET spoilt = id = 15 WHERE {{range}}; {APPEND}", mode="truncate", batch_rows=10
        )
        failed = shop.run()
        shop.backfill(APPEND, mode="truncate", batch_rows=10)
        database.execute("UPDATE w_order SET cents = 0")

        report = shop.run()

        assert (failed.exit_code, report.exit_code) == (5, 0)
        assert database.execute("SELECT cents FROM r_total").fetchall() == [(325,)]
        assert [stats["table"] for stats in the_hook(report).stats["models"]] == ["r_total", "r_order"]


KEYS = {
    "bigint": "n",
    "numeric": "n / 3.0",
    "double precision": "n / 3.0::double precision",
    "text": r"""repeat(chr(65 + n % 50), 2) || E'\'\n-- \\' || n""",
    "varchar(40)": "'é' || n",
    "character(9)": "n::text",
    "date": "DATE '0044-03-15 BC' + n * 1000",
    "timestamp": "TIMESTAMP '2026-01-31 12:00:00.123457' + n * INTERVAL '1.000003 s'",
    "timestamptz": "TIMESTAMPTZ '2026-03-29 00:30:00.5+01' + n * INTERVAL '7 min'",
    "interval": "n * INTERVAL '1 day -2 hours'",
    "uuid": "md5(n::text)::uuid",
    "boolean": "n % 2 = 0",
    '"Odd type"': "n",
}


class TestKeys:
    """Any type that has an order is walked, whatever the session makes of its text."""

    @pytest.mark.parametrize("type, value", KEYS.items(), ids=KEYS)
    def test_no_row_is_lost_and_none_comes_twice(
        self, shop: Shop, database: Database, type: str, value: str
    ) -> None:
        """Neither where several rows have the same key."""
        database.execute('CREATE DOMAIN "Odd type" AS int')
        database.execute(f'CREATE TABLE w_odd ("Key" {type} NOT NULL, n int)')
        database.execute(
            f"INSERT INTO w_odd SELECT {value}, n FROM generate_series(1, 50) n, generate_series(1, 2)"
        )
        database.execute('CREATE INDEX ON w_odd ("Key" DESC)')
        shop.write(
            "1_orders.up.sql",
            f"{NO_TRANSACTION}SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kolkata';\n"
            "CREATE TABLE r_order (n int);",
        )
        insert = "INSERT INTO r_order SELECT n FROM w_odd WHERE {range} -- and not {range} again\n"
        shop.backfill(insert, mode="truncate", batch_source="w_odd", batch_column='"Key"', batch_rows=7)

        report = shop.run()

        assert report.exit_code == 0, report.migrations[0].error
        assert the_hook(report).stats["batches"] > 1
        assert (
            rows(database)
            == database.execute(
                "SELECT count(*), md5(string_agg(r::text, ';' ORDER BY r)) FROM (SELECT n FROM w_odd) r"
            ).fetchone()
        )


class TestRefused:
    """What cannot be filled in batches is named, with the way to correct it."""

    @pytest.mark.parametrize(
        "insert, directives, said, hint",
        [
            (
                APPEND.replace("{range}", "true"),
                {},
                "the SQL has no {range}",
                "in the part of the INSERT that reads w_order",
            ),
            (
                f"{APPEND} --".replace("{range}", "'{range}' > ''"),
                {},
                "the SQL has no {range}",
                "WHERE {range} AND",
            ),
            (APPEND, {"batch_source": None, "batch_column": None}, "the SQL has a {range}", "add a batch"),
            (
                APPEND,
                {"batch_source": None},
                ": batch-source is missing",
                "write batch-source = …. The write table",
            ),
            (APPEND, {"batch_colum": "id"}, "no directive 'batch-colum'", "did you mean 'batch-column'?"),
            (APPEND, {"batch_rows": "0"}, "batch-rows must be a whole number above 0", "batch-rows = 10000"),
            (APPEND, {"batch_rows": "1e3"}, "batch-rows must be a whole number above 0", "rows of the"),
            (APPEND, {"batch_time": "soon"}, "'soon' is not a time", "500ms"),
            (APPEND, {"batch_time": "0s"}, "batch-time must be a time above 0", "write batch-time = 500ms."),
            (APPEND, {"batch_pause": "1 day"}, "'1 day' is not a time", "100ms"),
            (APPEND, {"batch_source": "w_gone"}, "there is no table w_gone, which", "source and column"),
            (APPEND, {"batch_column": "gone"}, "there is no column gone in w_order", "source and column"),
            (APPEND, {"batch_column": "ctid"}, "there is no column ctid in w_order", "source and column"),
            (
                APPEND,
                {"batch_column": "cents"},
                "w_order has no index that begins with cents",
                "CREATE INDEX CONCURRENTLY ON w_order (cents);",
            ),
        ],
    )
    def test_faulty_directives(
        self, shop: Shop, orders: Orders, insert: str, directives: dict[str, Any], said: str, hint: str
    ) -> None:
        orders(25)
        shop.backfill(insert, mode="truncate", **directives)

        report = shop.run()

        assert report.exit_code == 5
        error = report.migrations[0].error
        assert error is not None
        assert said in error.message
        assert "1_orders.backfill.sql" in error.message
        assert hint in str(error.hint)

    @pytest.mark.parametrize(
        "batch, said",
        [
            (5, "r_order.batch must be a table, not a number"),
            ({"source": "w_order"}, "r_order.batch.column is missing"),
            ({"source": "w_order", "column": 3}, "r_order.batch.column must be a string, not a number"),
            (
                {"source": "w_order", "column": "id", "size": 3},
                "unknown key 'size' in plugin.backfill.models.r_order.batch",
            ),
            (
                {"source": "w_order", "column": "id", "rows": True},
                "r_order.batch.rows must be a whole number above 0",
            ),
            (
                {"source": "w_order", "column": "id", "time": []},
                "r_order.batch.time must be a time above 0",
            ),
        ],
    )
    def test_a_faulty_table_of_the_configuration(self, shop: Shop, batch: object, said: str) -> None:
        shop.write("1_orders.up.sql", NO_TRANSACTION + TABLE)
        given = {"migration": "1", "mode": "truncate", "insert": APPEND, "batch": batch}
        shop.config["models"] = {"r_order": given}

        report = shop.run()

        assert report.exit_code == 5
        assert report.migrations[0].error is not None
        assert said in report.migrations[0].error.message

    @pytest.mark.parametrize("index", ["(cents) WHERE id > 3", "USING hash (cents)", "(id, cents)"])
    def test_an_index_that_does_not_lead_to_the_end_of_a_batch(
        self, shop: Shop, orders: Orders, database: Database, index: str
    ) -> None:
        orders(25)
        database.execute(f"CREATE INDEX ON w_order {index}")
        shop.backfill(APPEND, mode="truncate", batch_column="cents")

        report = shop.run()

        assert report.exit_code == 5
        assert "has no index that begins with cents" in str(report.migrations[0].error)

    def test_rows_without_a_key_would_be_lost(self, shop: Shop, orders: Orders, database: Database) -> None:
        orders(25)
        database.execute("CREATE INDEX ON w_order (cents); UPDATE w_order SET cents = NULL WHERE id = 7")
        shop.backfill(APPEND, mode="truncate", batch_column="cents")

        report = shop.run()

        assert report.exit_code == 5
        assert "w_order has rows without a cents" in str(report.migrations[0].error)

    def test_a_view_is_walked_and_a_warning_says_that_no_index_helps(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(25)
        database.execute("CREATE VIEW w_view AS SELECT * FROM w_order")
        shop.backfill(APPEND, mode="truncate", batch_source="w_view", batch_rows=10)

        process = shop.start("run", "--plugins", "backfill")

        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        assert "backfill.unindexed" in err
        assert rows(database) == rows(database, "w_order")

    def test_an_sql_error_is_placed_where_it_was_written(self, shop: Shop, orders: Orders) -> None:
        orders(25)
        shop.backfill(
            "INSERT INTO r_order SELECT id, cents\nFROM w_order WHERE {range} AND nope", mode="truncate"
        )

        report = shop.run()

        assert report.exit_code == 5
        assert "(1_orders.backfill.sql, line 6, column 32)" in str(report.migrations[0].error)


class TestInterrupted:
    """What was committed is kept, and the next run goes on from there."""

    def test_a_batch_that_fails_leaves_those_before_it_and_is_done_again_once_mended(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(100)
        database.execute("UPDATE w_order SET cents = -1 WHERE id = 55")
        shop.write(
            "1_orders.up.sql",
            NO_TRANSACTION + TABLE.replace("cents bigint", "cents bigint CHECK (cents >= 0)"),
        )
        shop.backfill(APPEND, mode="truncate", batch_rows=10, count="SELECT count(*) FROM w_order")

        failed = shop.run()
        kept = database.execute("SELECT count(*), max(id) FROM r_order").fetchone()
        database.execute("UPDATE w_order SET cents = 1 WHERE id = 55")
        done = shop.run()

        assert failed.exit_code == 5
        assert "violates check constraint" in str(failed.migrations[0].error)
        assert kept == (50, 50)
        assert (done.exit_code, the_hook(done).stats["batches"]) == (0, 10)
        assert rows(database) == rows(database, "w_order")

    def test_truncate_empties_the_table_at_the_very_beginning_only(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(100)
        shop.write("1_orders.up.sql", f"{NO_TRANSACTION}{TABLE}INSERT INTO r_order VALUES (-1, -1);")
        shop.backfill(APPEND.replace("cents", "1/(id - 55)", 1), mode="truncate", batch_rows=10)

        shop.run()
        kept = database.execute("SELECT min(id), max(id) FROM r_order").fetchone()
        shop.backfill(APPEND, mode="truncate", batch_rows=30)
        done = shop.run()

        assert kept == (1, 50)
        assert (done.exit_code, the_hook(done).stats["batches"]) == (0, 7)
        assert database.execute("SELECT count(*), count(DISTINCT id) FROM r_order").fetchone() == (100, 100)

    def test_a_lock_that_is_not_granted_is_tried_again_from_the_last_batch(
        self, shop: Shop, orders: Orders, database: Database, second: Database
    ) -> None:
        orders(100)
        shop.backfill(
            f"LOCK TABLE w_order IN SHARE MODE; {APPEND}; SELECT pg_sleep(0.02)",
            mode="truncate",
            batch_rows=5,
        )
        shop.write("1_orders.up.sql", f"-- confiture: lock_timeout=50ms\n{NO_TRANSACTION}{TABLE}")

        def hold() -> None:
            until(lambda: stored(database).get("batches", 0) >= 3)
            with second.transaction():
                second.execute("LOCK TABLE w_order IN ROW EXCLUSIVE MODE")
                time.sleep(0.2)

        with in_background(hold):
            report = shop.run()

        hook = the_hook(report)
        assert report.exit_code == 0
        assert hook.stats["batches"] == 20
        assert rows(database) == rows(database, "w_order")

    def test_a_run_that_lost_the_migration_lock_stops_at_the_next_batch(
        self, shop: Shop, orders: Orders, database: Database, second: Database
    ) -> None:
        orders(1000)
        shop.backfill(f"{APPEND}; SELECT pg_sleep(0.02)", mode="truncate", batch_rows=5)

        def end_the_keeper() -> None:
            until(lambda: stored(database).get("batches", 0) >= 3)
            second.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'"
                " AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )

        with in_background(end_the_keeper):
            stopped = shop.run()
        kept = stored(database)
        held = database.execute("SELECT count(*), max(id)::text FROM r_order").fetchone()
        done = shop.run()

        assert (stopped.exit_code, done.exit_code) == (6, 0)
        assert 3 <= kept["batches"] < 200
        assert held == (kept["rows"], kept["at"])
        assert rows(database) == rows(database, "w_order")

    def test_a_table_that_is_incomplete_at_the_end_is_filled_from_the_beginning_next_time(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(25)
        shop.backfill(
            f"{APPEND} AND id <> 7", mode="truncate", batch_rows=10, count="SELECT count(*) FROM w_order"
        )

        failed = shop.run()
        shop.backfill(APPEND, mode="truncate", batch_rows=10, count="SELECT count(*) FROM w_order")
        done = shop.run()

        assert (failed.exit_code, done.exit_code) == (5, 0)
        assert "25 rows, the table holds 24" in str(failed.migrations[0].error)
        assert "the next run fills it from the beginning" in str(failed.migrations[0].error)
        assert rows(database) == rows(database, "w_order")

    def test_a_table_made_anew_since_is_filled_from_the_beginning(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        """A Python no-transaction migration starts over: what was counted is gone with its table."""
        orders(25)
        shop.write(
            "1_orders.py",
            "from confiture.models.migration import Migration\n"
            "class Orders(Migration):\n"
            "    transactional = False\n"
            "    def up(self):\n"
            "        self.execute('DROP TABLE IF EXISTS r_order')\n"
            "        self.execute('CREATE TABLE r_order (id bigint PRIMARY KEY, cents bigint)')\n",
        )
        insert = f"{APPEND} ON CONFLICT DO NOTHING"
        shop.backfill(insert.replace("cents", "1/(id - 15)", 1), batch_rows=10)
        (shop.migrations / "1_orders.up.sql").unlink()

        failed = shop.run()
        shop.backfill(insert, batch_rows=10)
        (shop.migrations / "1_orders.up.sql").unlink()
        done = shop.run()

        assert (failed.exit_code, done.exit_code) == (5, 0)
        assert rows(database) == rows(database, "w_order")

    @pytest.mark.parametrize(
        "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
    )
    def test_a_run_that_is_told_to_stop_leaves_whole_batches(
        self, shop: Shop, orders: Orders, database: Database, number: signal.Signals, code: int
    ) -> None:
        orders(200)
        shop.backfill(f"{APPEND}; SELECT pg_sleep(0.1)", mode="truncate", batch_rows=10)

        with shop.start("run", "--plugins", "backfill") as process:
            until(lambda: stored(database).get("batches", 0) >= 2 or process.poll() is not None)
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE_S)
        kept = stored(database)
        held = database.execute("SELECT count(*), max(id)::text FROM r_order").fetchone()
        shop.backfill(APPEND, mode="truncate", batch_rows=10)
        done = shop.run()

        assert (process.returncode, "Traceback" in err) == (code, False)
        assert held == (kept["rows"], kept["at"])
        assert (done.exit_code, the_hook(done).stats["batches"]) == (0, 20)
        assert rows(database) == rows(database, "w_order")

    def test_twenty_kills_end_as_one_undisturbed_run(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        """A plain INSERT, which would double the rows of a batch that came twice."""
        orders(200_000)
        count = "SELECT count(*) FROM w_order"
        shop.backfill(APPEND, mode="truncate", batch_rows=400, batch_pause="10ms", count=count)
        chance = random.Random(20)

        reached = [kill(shop, database, chance.randint(1, 25), chance.uniform(0, 0.02)) for _ in range(20)]
        shop.backfill(APPEND, mode="truncate", batch_rows=50_000, count=count)
        done = shop.run()
        shop.write("2_undisturbed.up.sql", NO_TRANSACTION + TABLE.replace("r_order", "r_undisturbed"))
        insert = APPEND.replace("r_order", "r_undisturbed")
        batch = {"source": "w_order", "column": "id", "rows": 50_000}
        given = {"migration": "2", "mode": "truncate", "insert": insert, "count": count, "batch": batch}
        shop.config["models"] = {"r_undisturbed": given}
        undisturbed = shop.run()

        assert reached == sorted(set(reached))
        assert reached[-1] < 500
        assert (done.exit_code, undisturbed.exit_code) == (0, 0)
        assert the_hook(done).rows_affected == 200_000
        assert rows(database) == rows(database, "r_undisturbed")


def kill(shop: Shop, database: Database, batches: int, after_s: float) -> int:
    """Kill a run a moment after some more batches; return how many have been filled by now."""
    before = stored(database).get("batches", 0)
    process = shop.start("run", "--plugins", "backfill")
    with process:
        try:
            until(
                lambda: stored(database).get("batches", 0) >= before + batches or process.poll() is not None
            )
            time.sleep(after_s)
            assert process.poll() is None, process.communicate()
        finally:
            process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    return int(stored(database)["batches"])


class TestProgress:
    """What a run logs while it fills."""

    SLOW = f"{APPEND}; SELECT pg_sleep(0.1)"

    def run_and_read_log(self, shop: Shop, *words: str) -> list[str]:
        process = shop.start("run", "--plugins", "backfill", *words)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        return [line for line in err.splitlines() if "backfill.progressed" in line]

    def test_a_backfill_of_over_a_second_logs_rate_and_time_left(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(250)
        database.execute("ANALYZE w_order")
        shop.backfill(self.SLOW, mode="truncate", batch_rows=10)

        first, *_ = self.run_and_read_log(shop)

        assert "level='info'" in first
        assert "plugin='backfill'" in first
        figures = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", first)}
        assert 0 < figures["rows"] < 250
        assert 0 < figures["rate_rows_s"] <= 100
        assert 0 < figures["left_s"] < 60

    def test_where_the_total_is_not_known_the_time_left_is_not_either(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(250)
        database.execute("ALTER TABLE w_order SET (autovacuum_enabled = false)")
        shop.backfill(self.SLOW, mode="truncate", batch_rows=10)

        first, *_ = self.run_and_read_log(shop)

        assert "left_s=None" in first

    def test_quiet_says_nothing_of_it(self, shop: Shop, orders: Orders) -> None:
        orders(250)
        shop.backfill(self.SLOW, mode="truncate", batch_rows=10)

        assert self.run_and_read_log(shop, "-q") == []


class TestSizes:
    """A time per batch is followed by the number of rows."""

    BATCH = Batch(source="w_order", column="id", key="id", rows=1000, time_ms=500.0)

    @pytest.mark.parametrize(
        "took_ms, then",
        [(500, 1000), (400, 1250), (1000, 500), (750, 667), (100, 2000), (0, 2000), (60_000, 500)],
    )
    def test_it_grows_and_shrinks_at_most_by_two(self, took_ms: float, then: int) -> None:
        assert self.BATCH.compute_next_rows(1000, took_ms) == then

    def test_it_is_never_nothing(self) -> None:
        assert self.BATCH.compute_next_rows(1, 60_000) == 1

    def test_without_a_time_it_stays(self) -> None:
        assert evolve(self.BATCH, time_ms=None).compute_next_rows(1000, 60_000) == 1000

    def test_it_settles_where_a_batch_takes_its_time(self) -> None:
        size = self.BATCH.rows
        for _ in range(20):
            size = self.BATCH.compute_next_rows(size, took_ms=20 + size / 25)

        assert size == pytest.approx(12_000, rel=0.02)

    def test_in_a_run_the_batches_grow_and_a_run_after_it_goes_on_at_that_size(
        self, shop: Shop, orders: Orders, database: Database
    ) -> None:
        orders(2000)
        insert = APPEND.replace("cents", "1/(id - 900)", 1)
        shop.backfill(insert, mode="truncate", batch_rows=10, batch_time="10s")

        shop.run()
        sizes = database.execute(
            "SELECT count(*) FROM r_order GROUP BY xmin::text::bigint ORDER BY min(id)"
        ).fetchall()
        resumed = stored(database)["size_rows"]

        assert [size for (size,) in sizes] == [10, 20, 40, 80, 160, 320]
        assert resumed == 320


class TestRange:
    """``{range}``, and nothing else, is replaced."""

    @pytest.mark.parametrize(
        "text, then",
        [
            ("a {range} b {range}", "a (k > 1) b (k > 1)"),
            ("{Range} {ranges} {{range}} {", "{Range} {ranges} {(k > 1)} {"),
            ("'{range}' \"{range}\" {range}", "'{range}' \"{range}\" (k > 1)"),
            (
                "-- {range}\n/* {range}\n */ $x$ {range} $$ $x$ {range}",
                "-- {range}\n/* {range}\n */ $x$ {range} $$ $x$ (k > 1)",
            ),
            ("'it''s {range}' || '' {range}", "'it''s {range}' || '' (k > 1)"),
        ],
    )
    def test_in_the_code_of_the_sql_only(self, text: str, then: str) -> None:
        assert replace_range(text, "(k > 1)") == then

    def test_what_stood_behind_it_is_found_where_it_was_written(self) -> None:
        text, condition = "a {range} b {range} c", "(key > 1 AND key <= 2)"

        composed = replace_range(text, condition)

        assert [locate_in_original(text, condition, composed.index(letter)) for letter in " abc"] == [
            1,
            0,
            10,
            20,
        ]
        assert locate_in_original(text, condition, composed.index("key <=")) == 2

    def test_a_hostile_key_stays_a_value(self, shop: Shop, database: Database) -> None:
        hostile = "x'); DROP TABLE w_text; --\n\\' {range} %s"
        database.execute("CREATE TABLE w_text (id text PRIMARY KEY)")
        database.execute("INSERT INTO w_text SELECT %s || n FROM generate_series(1, 9) n", [hostile])
        shop.write("1_orders.up.sql", f"{NO_TRANSACTION}CREATE TABLE r_order (id text);")
        insert = "INSERT INTO r_order SELECT id FROM w_text WHERE {range} AND '%' = '%'"
        shop.backfill(insert, mode="truncate", batch_source="w_text", batch_rows=2)

        report = shop.run()

        assert report.exit_code == 0
        assert rows(database) == rows(database, "w_text")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


@contextmanager
def in_background(work: Callable[[], None]) -> Iterator[None]:
    """Do something at the same time; its error is raised here."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result(PATIENCE_S)
