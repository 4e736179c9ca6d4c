"""What a rehearsal says of each statement."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from confiture.models.report import IndexBuild, MigrationReport
from tests.project import Project, until

from .conftest import modes

pytestmark = pytest.mark.slow


def test_a_statement_has_the_locks_it_took_first_or_strengthened(rehearse: Any) -> None:
    migration = rehearse(
        "CREATE INDEX ON orders (note);\nCREATE INDEX ON orders (customer);\nALTER TABLE orders ADD x int;\n"
        "ALTER TABLE orders ADD y int;\n"
    )

    assert [modes(statement.locks) for statement in migration.statements] == [
        {"public.orders": "ShareLock"},
        {},
        {"public.orders": "AccessExclusiveLock"},
        {},
    ]
    assert modes(migration.locks) == {"public.orders": "AccessExclusiveLock"}


def test_a_lock_is_held_until_the_migrations_end_its_hooks_included(rehearse: Any) -> None:
    from tests.project import plugin

    def slow(conn: psycopg.Connection[Any]) -> None:
        conn.execute("SELECT pg_sleep(0.2)")

    migration = rehearse("ALTER TABLE orders ADD x int; SELECT pg_sleep(0.1);", plugin(cleanup=slow))

    (lock,) = migration.locks
    assert lock.held_ms >= 300
    assert lock.held_ms <= migration.duration_ms
    assert not lock.transient


def test_waiting_for_a_lock_is_told_apart(
    rehearse: Any, database: psycopg.Connection[Any], database_url: str
) -> None:
    """Somebody holds the table for a while; most of the statement's time is waiting."""
    waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass"
    with psycopg.connect(database_url) as other:

        def let_go() -> None:
            until(lambda: database.execute(waits).fetchone(), "the rehearsal to wait")
            time.sleep(1)
            other.rollback()

        other.execute("LOCK TABLE orders IN SHARE MODE")
        release = threading.Thread(target=let_go)
        release.start()

        migration: MigrationReport = rehearse("ALTER TABLE orders ADD x int;")
        release.join()

    (statement,) = migration.statements
    assert statement.lock_wait_ms is not None
    assert 100 < statement.lock_wait_ms <= statement.duration_ms
    (lock,) = statement.locks
    assert lock.held_ms is not None
    assert lock.held_ms < statement.duration_ms


def test_a_rewrite_says_why_and_which_indexes_it_built_again(rehearse: Any) -> None:
    migration = rehearse("ALTER TABLE orders ALTER customer TYPE int;")

    (statement,) = migration.statements
    assert statement.rewrites == migration.rewrites == ("public.orders",)
    assert statement.index_builds == (IndexBuild("public.orders_pkey", "public.orders", new=False),)
    assert migration.scans == migration.long_blocks == ("public.orders",)


def test_a_do_block_says_why_a_table_was_rewritten(rehearse: Any) -> None:
    migration = rehearse("DO $$ BEGIN EXECUTE 'ALTER TABLE orders ALTER customer TYPE int'; END $$;")

    assert migration.statements[0].reasons == {"public.orders": "a column's type changes"}


def test_a_look_at_a_few_rows_is_no_scan(rehearse: Any) -> None:
    migration = rehearse(
        "SELECT * FROM orders LIMIT 3; SELECT * FROM orders WHERE id = 7; UPDATE empty SET id = 1;"
    )

    assert migration.scans == ()


def test_reading_a_whole_table_through_its_index_is_one(rehearse: Any) -> None:
    migration = rehearse(
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM orders WHERE id > 0;"
    )

    assert migration.scans == ("public.orders",)


def test_a_scan_before_the_lock_is_no_long_block(rehearse: Any) -> None:
    migration = rehearse("SELECT count(*) FROM orders; ALTER TABLE orders ADD x int;")

    assert (migration.scans, migration.long_blocks) == (("public.orders",), ())


def test_a_scan_before_the_lock_in_one_do_block_is_none_either(rehearse: Any) -> None:
    migration = rehearse("DO $$ BEGIN PERFORM count(*) FROM orders; ALTER TABLE orders ADD x int; END $$;")

    assert (migration.scans, migration.long_blocks) == (("public.orders",), ())


def test_a_scan_under_an_earlier_statements_lock_is_a_long_block(rehearse: Any) -> None:
    migration = rehearse("ALTER TABLE orders ADD x int; UPDATE orders SET x = 1;")

    assert migration.long_blocks == ("public.orders",)


def test_what_the_migration_made_itself_blocks_nobody(rehearse: Any) -> None:
    migration = rehearse("CREATE TABLE fresh AS SELECT * FROM orders; CREATE INDEX ON fresh (id);")

    assert (migration.locks, migration.index_builds, migration.rewrites) == ((), (), ())
    assert migration.scans == ("public.orders",)


def test_truncate_empties_and_is_no_long_block(rehearse: Any) -> None:
    migration = rehearse("TRUNCATE orders;")

    assert migration.rewrites == migration.scans == ("public.orders",)
    assert migration.blocks.reads == migration.blocks.writes == ("public.orders",)
    assert migration.long_blocks == ()


def test_a_truncate_inside_a_do_block_is_none_either(rehearse: Any) -> None:
    migration = rehearse("DO $$ BEGIN TRUNCATE orders; END $$;")

    assert migration.rewrites == ("public.orders",)
    assert migration.long_blocks == ()


def test_wal_is_counted(rehearse: Any) -> None:
    migration = rehearse("UPDATE orders SET note = note || '!'; SELECT 1;")

    assert migration.statements[0].wal_bytes > 10_000


def test_an_index_that_is_not_used_yet_is_said(rehearse: Any, database: psycopg.Connection[Any]) -> None:
    """PostgreSQL leaves an index alone where an UPDATE has broken the chains of its rows."""
    database.execute(
        "CREATE TABLE loose (id int, note text) WITH (fillfactor = 50); "
        "INSERT INTO loose SELECT n, n FROM generate_series(1, 500) n"
    )

    migration = rehearse("UPDATE loose SET note = 'x'; CREATE INDEX later ON loose (note);")

    assert any("public.later is not used until" in warning for warning in migration.warnings)


def test_the_rows_of_a_python_migration_count_like_those_of_sql(rehearse: Any) -> None:
    migration = rehearse(
        """
        from confiture.models.migration import Migration

        class It(Migration):
            def up(self):
                self.execute("UPDATE orders SET note = %s WHERE id <= 100", ("x",))
                self.execute("ALTER TABLE orders ADD x int; DELETE FROM orders WHERE id <= 10")
        """,
        python=True,
    )

    assert [statement.rows for statement in migration.statements] == [100, None, 10]
    assert migration.rows_affected == 110
    assert modes(migration.statements[1].locks) == {"public.orders": "AccessExclusiveLock"}


@pytest.mark.parametrize(
    "sql, said",
    [
        ("ALTER TABLE orders ADD FOREIGN KEY (id) REFERENCES customers;", "Key (id)=(201) is not present"),
        ("CREATE UNIQUE INDEX ON orders (customer);", "is duplicated"),
        (
            "ALTER TABLE orders ADD CONSTRAINT theirs FOREIGN KEY (id) REFERENCES customers "
            "DEFERRABLE INITIALLY DEFERRED NOT VALID; UPDATE orders SET id = id + 1000 WHERE id = 500;",
            "Key (id)=(1500) is not present",
        ),
    ],
    ids=["validated", "unique", "deferred"],
)
def test_a_violation_says_the_key_as_the_server_gives_it(rehearse: Any, sql: str, said: str) -> None:
    migration = rehearse(sql)

    assert migration.outcome == "failed"
    assert said in migration.error.detail


class TestAPlanOfSeveral:
    """Locks that an earlier migration of the plan holds already."""

    def rehearsed(self, project: Project, *texts: str, **more: Any) -> list[MigrationReport]:
        for number, text in enumerate(texts, 1):
            project.write(f"{number}_it.sql", text)
        return list(project.rehearse(**more).migrations)

    def test_the_same_mode_again_is_read_from_the_text(self, project: Project) -> None:
        first, second = self.rehearsed(
            project, "ALTER TABLE orders ADD x int;", "ALTER TABLE orders ADD y int;"
        )

        assert (first.locks[0].seen, second.locks[0].seen) == ("measured", "held-before")
        assert modes(second.locks) == {"public.orders": "AccessExclusiveLock"}
        assert second.blocks.reads == ("public.orders",)

    def test_a_weaker_mode_is_seen_all_the_same(self, project: Project) -> None:
        _, second = self.rehearsed(project, "ALTER TABLE orders ADD x int;", "CREATE INDEX ON orders (note);")

        assert modes(second.locks) == {"public.orders": "ShareLock"}
        assert second.locks[0].seen == "held-before"
        assert second.long_blocks == ("public.orders",)

    def test_what_an_earlier_migration_has_filled_is_populated(self, project: Project) -> None:
        """Nobody has counted its rows yet."""
        _, second = self.rehearsed(
            project,
            "CREATE TABLE fresh (id int); INSERT INTO fresh SELECT generate_series(1, 100);",
            "ALTER TABLE fresh ALTER id TYPE bigint;",
        )

        assert second.rewrites == second.scans == second.long_blocks == ("public.fresh",)

    def test_an_earlier_migrations_lock_does_not_make_a_scan_a_long_block(self, project: Project) -> None:
        _, second = self.rehearsed(project, "ALTER TABLE orders ADD x int;", "UPDATE orders SET x = 1;")

        assert (second.scans, second.locks, second.long_blocks) == (("public.orders",), (), ())

    def test_a_name_without_a_schema_is_found_as_the_server_finds_it(
        self, project: Project, database: psycopg.Connection[Any]
    ) -> None:
        database.execute("CREATE SCHEMA shop; CREATE TABLE shop.orders (id int)")
        _, second = self.rehearsed(
            project,
            "ALTER TABLE shop.orders ADD x int; ALTER TABLE public.orders ADD x int;",
            "SET search_path = shop, public; ALTER TABLE orders ADD y int;",
        )

        assert modes(second.locks) == {"shop.orders": "AccessExclusiveLock"}

    def test_what_stands_in_a_do_block_is_read_too(self, project: Project) -> None:
        _, second = self.rehearsed(
            project,
            "ALTER TABLE orders ADD x int;",
            "DO $$ BEGIN IF true THEN ALTER TABLE orders ADD y int; END IF; END $$;",
        )

        assert modes(second.locks) == {"public.orders": "AccessExclusiveLock"}

    def test_what_is_put_together_while_it_runs_is_said_not_to_be_seen(self, project: Project) -> None:
        _, second = self.rehearsed(
            project,
            "ALTER TABLE orders ADD x int;",
            "DO $$ BEGIN EXECUTE format('ALTER TABLE %I ADD y int', 'orders'); END $$;",
        )

        assert [unseen.what for unseen in second.not_seen] == ["locks of statements run inside"]
        assert "--in clone" in second.not_seen[0].reason
