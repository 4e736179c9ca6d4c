"""Partitions, heirs, TOAST, foreign keys, many relations: whatever a lock may stand on."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from confiture.models.report import MigrationReport

from .conftest import modes

Database = psycopg.Connection[Any]

PARTITIONED = """
    CREATE TABLE metric (at date, v int) PARTITION BY RANGE (at);
    CREATE TABLE metric_old PARTITION OF metric FOR VALUES FROM ('2020-01-01') TO ('2024-01-01');
    CREATE TABLE metric_new PARTITION OF metric FOR VALUES FROM ('2024-01-01') TO ('2030-01-01')
        PARTITION BY RANGE (at);
    CREATE TABLE metric_2024 PARTITION OF metric_new FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    INSERT INTO metric SELECT '2024-01-01'::date + n % 300, n FROM generate_series(1, 1000) n;
    ANALYZE;
"""


def test_an_index_on_a_partitioned_table_locks_every_partition(rehearse: Any, database: Database) -> None:
    database.execute(PARTITIONED)

    migration: MigrationReport = rehearse("CREATE INDEX ON metric (v);")

    tables = ("public.metric", "public.metric_2024", "public.metric_new", "public.metric_old")
    assert modes(migration.locks) == dict.fromkeys(tables, "ShareLock")
    assert migration.blocks.writes == tables
    assert migration.scans == ("public.metric_2024",)
    assert migration.long_blocks == ("public.metric", "public.metric_2024", "public.metric_new")


def test_a_lock_on_a_partition_blocks_who_reads_the_parents(rehearse: Any, database: Database) -> None:
    database.execute(PARTITIONED)

    migration: MigrationReport = rehearse("LOCK TABLE metric_2024;")

    assert migration.blocks.reads == ("public.metric", "public.metric_2024", "public.metric_new")
    assert migration.blocks.writes == ("public.metric_2024",)


def test_a_lock_on_an_heir_blocks_who_writes_to_the_parent_too(rehearse: Any, database: Database) -> None:
    database.execute("CREATE TABLE base (id int); CREATE TABLE heir () INHERITS (base)")

    migration: MigrationReport = rehearse("LOCK TABLE heir IN SHARE MODE;")

    assert (migration.blocks.reads, migration.blocks.writes) == ((), ("public.base", "public.heir"))


def test_a_lock_on_an_index_blocks_its_table(rehearse: Any, database: Database) -> None:
    database.execute("CREATE INDEX note_gin ON orders USING gin (to_tsvector('simple', note))")

    migration: MigrationReport = rehearse("ALTER INDEX note_gin SET (fastupdate = off);")

    assert modes(migration.locks) == {"public.note_gin": "AccessExclusiveLock"}
    assert migration.locks[0].blocks == ()
    assert migration.blocks.reads == migration.blocks.writes == ("public.orders",)


def test_toast_and_its_index_are_listed_as_toast(rehearse: Any) -> None:
    migration: MigrationReport = rehearse("ALTER TABLE orders ALTER customer TYPE int;")

    toast = [lock for lock in migration.locks if lock.kind == "toast"]
    assert len(toast) == 2
    assert {lock.mode for lock in toast} == {"AccessExclusiveLock"}


def test_both_ends_of_a_foreign_key_are_locked(rehearse: Any) -> None:
    migration: MigrationReport = rehearse(
        "ALTER TABLE orders ADD CONSTRAINT theirs FOREIGN KEY (customer) REFERENCES customers;"
    )

    assert modes(migration.locks) == dict.fromkeys(
        ("public.customers", "public.orders"), "ShareRowExclusiveLock"
    )
    assert migration.long_blocks == ("public.customers", "public.orders")


def test_what_is_dropped_is_listed_by_the_name_it_had(rehearse: Any, database: Database) -> None:
    database.execute('CREATE TABLE "Odd Table" ("Key" int PRIMARY KEY)')

    migration: MigrationReport = rehearse('DROP TABLE "Odd Table"; CREATE TABLE "Odd Table" (id int);')

    assert modes(migration.locks) == dict.fromkeys(
        ('public."Odd Table"', 'public."Odd Table_pkey"'), "AccessExclusiveLock"
    )


def test_what_is_renamed_keeps_the_name_it_had(rehearse: Any) -> None:
    migration: MigrationReport = rehearse(
        "ALTER TABLE orders RENAME TO purchases; ALTER TABLE purchases ALTER customer TYPE int;"
    )

    assert migration.rewrites == ("public.orders",)
    assert "public.orders" in modes(migration.locks)


@pytest.mark.slow
def test_hundreds_of_relations_are_followed(rehearse: Any, database: Database) -> None:
    database.execute(
        "DO $$ BEGIN FOR n IN 1..200 LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', n); "
        "EXECUTE format('INSERT INTO t%s VALUES (1), (2)', n); END LOOP; END $$; ANALYZE;"
    )
    # In halves, because of the locks: max_locks_per_transaction.
    each = "".join(f"ALTER TABLE t{n} ADD x int DEFAULT random();\n" for n in range(1, 201))

    migration: MigrationReport = rehearse(each)

    assert len(migration.rewrites) == len(migration.long_blocks) == 200
    assert len(migration.index_builds) == 200
    assert all(len(modes(statement.locks)) == 2 for statement in migration.statements)


def test_a_view_that_is_locked_blocks_its_readers(rehearse: Any, database: Database) -> None:
    database.execute("CREATE VIEW notes AS SELECT note FROM orders")

    migration: MigrationReport = rehearse(
        "CREATE OR REPLACE VIEW notes AS SELECT note, 1 AS one FROM orders;"
    )

    assert (migration.blocks.reads, migration.blocks.writes) == (("public.notes",), ())


def test_a_refreshed_matview_is_rewritten_while_nobody_can_read_it(rehearse: Any, database: Database) -> None:
    database.execute("CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM orders")

    migration: MigrationReport = rehearse("REFRESH MATERIALIZED VIEW totals;")

    assert migration.rewrites == migration.long_blocks == ("public.totals",)
    assert migration.scans == ("public.orders",)
    assert (migration.blocks.reads, migration.blocks.writes) == (("public.totals",), ())
