"""What CONCURRENTLY and VACUUM lock, rewrite and build, seen from a clone."""

from __future__ import annotations

import pytest

from confiture.api import operations
from confiture.models.report import IndexBuild
from tests.project import only

LEDGER = (
    "CREATE TABLE ledger (id bigint PRIMARY KEY, memo text, qty int)",
    "INSERT INTO ledger SELECT g, 'm' || g, g FROM generate_series(1, 500) g",
)


@pytest.fixture
def rehearsed(project, sql):
    """Rehearse one statement without a transaction in a clone, and return the migration's report."""

    def rehearse(statement: str, *setup: str):
        sql(*LEDGER, *setup, "ANALYZE")
        project.write("1_it.sql", f"-- confiture: no-transaction\n{statement};\n")
        report = operations.run(project.settings(), dry_run=True, place="clone")
        assert report.exit_code == 0, report
        return only(report)

    return rehearse


def locks(migration):
    return {(lock.relation, lock.mode) for lock in migration.locks}


@pytest.mark.parametrize("unique", ["", "UNIQUE "])
def test_an_index_built_concurrently_blocks_nobody(rehearsed, unique):
    migration = rehearsed(f"CREATE {unique}INDEX CONCURRENTLY ledger_memo ON ledger (memo)")

    assert migration.locks == ()
    assert migration.index_builds == (IndexBuild("public.ledger_memo", "public.ledger", new=True),)
    assert migration.rewrites == ()
    assert migration.long_blocks == ()


def test_what_it_waited_at_is_not_counted_as_the_wait_of_the_next_statement(rehearsed):
    """The rehearsal holds it up to read its locks."""
    migration = rehearsed("CREATE INDEX CONCURRENTLY ledger_memo ON ledger (memo);\nSELECT 1")

    assert [statement.lock_wait_ms for statement in migration.statements] == [None, 0.0]


def test_an_index_dropped_concurrently_is_locked_itself_and_nothing_else(rehearsed):
    migration = rehearsed("DROP INDEX CONCURRENTLY ledger_memo", "CREATE INDEX ledger_memo ON ledger (memo)")

    (lock,) = migration.locks
    assert (lock.relation, lock.kind, lock.mode) == ("public.ledger_memo", "index", "AccessExclusiveLock")
    assert lock.blocks == ()
    assert lock.seen == "sampled"


def test_an_index_rebuilt_concurrently_is_a_new_one(rehearsed):
    migration = rehearsed("REINDEX TABLE CONCURRENTLY ledger")

    assert migration.locks == ()
    assert migration.index_builds == (IndexBuild("public.ledger_pkey", "public.ledger", new=True),)


def test_vacuum_full_locks_the_table_its_indexes_and_its_toast(rehearsed):
    migration = rehearsed(
        "VACUUM FULL ledger",
        "CREATE INDEX ledger_memo ON ledger (memo)",
        "CREATE INDEX ledger_qty ON ledger (qty)",
        "DELETE FROM ledger WHERE id % 2 = 0",
    )

    everything = {lock.relation for lock in migration.locks if lock.kind != "toast"}
    assert everything == {"public.ledger", "public.ledger_pkey", "public.ledger_memo", "public.ledger_qty"}
    assert {lock.mode for lock in migration.locks} == {"AccessExclusiveLock"}
    assert any(lock.kind == "toast" for lock in migration.locks)
    assert migration.rewrites == ("public.ledger",)
    assert {(build.index, build.new) for build in migration.index_builds} == {
        ("public.ledger_pkey", False),
        ("public.ledger_memo", False),
        ("public.ledger_qty", False),
    }
    assert (migration.blocks.reads, migration.blocks.writes) == (("public.ledger",), ("public.ledger",))
    assert migration.long_blocks == ("public.ledger",)


def test_vacuum_locks_nothing_that_matters(rehearsed):
    migration = rehearsed("VACUUM ledger")

    assert migration.locks == ()
    assert migration.index_builds == ()


def test_vacuum_full_of_an_empty_table_blocks_for_a_moment_only(rehearsed):
    migration = rehearsed("VACUUM FULL ledger", "DELETE FROM ledger", "VACUUM ledger")

    assert ("public.ledger", "AccessExclusiveLock") in locks(migration)
    assert migration.long_blocks == ()


def test_what_is_scanned_is_said_to_be_unknown(rehearsed):
    migration = rehearsed("VACUUM ledger")

    (unseen,) = migration.not_seen
    assert unseen.what == "scans"
    assert migration.scans == ()


def test_a_detached_partition_is_locked_at_the_end(rehearsed):
    migration = rehearsed(
        "ALTER TABLE sales DETACH PARTITION sales_1 CONCURRENTLY",
        "CREATE TABLE sales (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM (0) TO (10)",
    )

    assert locks(migration) == {("public.sales_1", "AccessExclusiveLock")}


def test_each_statement_has_its_own_locks(rehearsed):
    migration = rehearsed(
        "VACUUM FULL ledger;\nCREATE INDEX CONCURRENTLY ledger_memo ON ledger (memo);\nVACUUM FULL ledger"
    )

    first, second, third = migration.statements
    assert first.rewrites == third.rewrites == ("public.ledger",)
    assert second.locks == ()
    # The index was not there before the migration.
    assert {lock.relation for lock in third.locks if lock.kind == "index"} == {"public.ledger_pkey"}


def test_of_a_statement_that_names_nothing_what_may_have_been_missed_is_said(rehearsed):
    many = (
        "DO $$ BEGIN FOR i IN 1..120 LOOP EXECUTE 'CREATE TABLE empty_' || i || ' (id int)'; END LOOP; END $$"
    )

    migration = rehearsed("VACUUM FULL", many)

    assert "public.ledger" in migration.rewrites
    assert len(migration.rewrites) >= 121
    assert {item.what for item in migration.not_seen} == {"scans", "locks"}
