"""Locks that are gone before the migration's end, and what a role without rights loses."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from attrs import evolve

from tests.project import Project, plugin

from .conftest import modes

pytestmark = pytest.mark.slow

UNDONE = """
    DO $$ BEGIN
        BEGIN
            {sql};
            RAISE 'never mind';
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        {then};
    END $$;
"""
DDL = UNDONE.format(sql="ALTER TABLE orders ALTER customer TYPE int", then="NULL")


def test_ddl_that_an_exception_block_undoes_is_seen(rehearse: Any) -> None:
    migration = rehearse(DDL)

    assert modes(migration.locks) == dict.fromkeys(
        ("public.orders", "public.orders_pkey"), "AccessExclusiveLock"
    )
    assert all(lock.transient for lock in migration.locks)
    assert migration.long_blocks == migration.rewrites == ("public.orders",)
    assert migration.not_seen == ()


def test_what_is_gone_blocks_nobody_at_the_end(rehearse: Any) -> None:
    migration = rehearse(DDL)

    assert (migration.blocks.reads, migration.blocks.writes) == ((), ())


def test_a_lock_that_lasts_counts_before_one_that_was_given_back(rehearse: Any) -> None:
    migration = rehearse(DDL + "ALTER TABLE orders ADD x int;")

    lock = next(lock for lock in migration.locks if lock.relation == "public.orders")
    assert not lock.transient
    assert migration.statements[1].locks == (lock,)


def test_a_function_that_gives_locks_back_is_seen(rehearse: Any, database: psycopg.Connection[Any]) -> None:
    database.execute(
        f"CREATE FUNCTION try() RETURNS void LANGUAGE plpgsql AS $f$ {UNDONE.strip()[6:-3]} $f$".format(
            sql="ALTER TABLE orders ADD x int", then="NULL"
        )
    )

    migration = rehearse("SELECT try();")

    assert [(lock.relation, lock.transient) for lock in migration.locks] == [("public.orders", True)]


def test_a_lock_statement_that_an_observer_catches_is_sampled(rehearse: Any) -> None:
    """LOCK fires no event trigger; here it is held for long enough to be seen from outside."""
    migration = rehearse(UNDONE.format(sql="LOCK TABLE orders; PERFORM pg_sleep(3)", then="NULL"))

    (lock,) = migration.locks
    assert (lock.relation, lock.mode, lock.seen, lock.transient) == (
        "public.orders",
        "AccessExclusiveLock",
        "sampled",
        True,
    )
    assert migration.not_seen == ()


@pytest.mark.parametrize("sql", ["LOCK TABLE orders", "TRUNCATE orders", "ALTER TABLE orders ADD id int"])
def test_what_may_have_come_and_gone_is_seen_or_said(rehearse: Any, sql: str) -> None:
    """LOCK, TRUNCATE and DDL that fails; whether an observer catches them is chance."""
    migration = rehearse(UNDONE.format(sql=sql, then="NULL"))

    sampled = [lock.relation for lock in migration.locks if lock.transient]
    said = [item.relation for item in migration.not_seen]
    assert "public.orders" in sampled or "public.orders" in said


def test_a_savepoint_of_a_python_migration_that_is_rolled_back_is_seen(rehearse: Any) -> None:
    migration = rehearse(
        """
        import psycopg
        from confiture.models.migration import Migration

        class It(Migration):
            def up(self):
                with self.connection.transaction(force_rollback=True):
                    self.execute("ALTER TABLE orders ADD x int")
                self.execute("SELECT 1")
        """,
        python=True,
    )

    (lock,) = migration.statements[0].locks
    assert (lock.relation, lock.transient) == ("public.orders", True)


class TestHooks:
    """A hook's savepoint gives its locks back where it is undone."""

    def test_a_hook_has_its_locks(self, rehearse: Any) -> None:
        def lock(conn: psycopg.Connection[Any]) -> None:
            conn.execute("LOCK TABLE customers IN SHARE MODE")

        migration = rehearse("ALTER TABLE orders ADD x int;", plugin(before_ddl=lock))

        assert modes(migration.hooks[0].locks) == {"public.customers": "ShareLock"}
        assert modes(migration.statements[0].locks) == {"public.orders": "AccessExclusiveLock"}
        assert migration.blocks.writes == ("public.customers", "public.orders")

    def test_what_an_undone_hook_had_locked_is_transient(self, rehearse: Any) -> None:
        def lock(conn: psycopg.Connection[Any]) -> None:
            conn.execute("LOCK TABLE customers")
            raise psycopg.Rollback

        migration = rehearse("SELECT 1;", plugin(before_ddl=lock))

        (hook,) = migration.hooks
        assert hook.outcome == "undone"
        assert [(lock.relation, lock.transient) for lock in hook.locks] == [("public.customers", True)]
        assert migration.blocks.reads == ()

    def test_ddl_of_a_hook_that_fails_in_sql_is_seen(self, project: Project) -> None:
        def alter(conn: psycopg.Connection[Any]) -> None:
            conn.execute("ALTER TABLE customers ADD x int")
            conn.execute("SELECT 1 / 0")

        project.write("1_it.sql", "SELECT 1;")
        report = project.rehearse(plugin(after_ddl=alter), plugin_tables={"jam": {"on_failure": "continue"}})

        (hook,) = report.migrations[0].hooks
        assert [(lock.relation, lock.transient) for lock in hook.locks] == [("public.customers", True)]


class TestAPlainRole:
    """It may not create event triggers."""

    @pytest.fixture
    def plain(self, project: Project, database: psycopg.Connection[Any]) -> Project:
        name = f"plain_{database.info.dbname}"
        database.execute(
            f"CREATE ROLE {name} LOGIN; GRANT ALL ON SCHEMA public TO {name}; "
            f"GRANT CREATE ON DATABASE {database.info.dbname} TO {name}; "
            f"ALTER TABLE orders OWNER TO {name}; ALTER TABLE customers OWNER TO {name}"
        )
        return evolve(project, url=psycopg.conninfo.make_conninfo(project.url, user=name))

    def test_it_sees_all_that_lasts(self, plain: Project) -> None:
        plain.write(
            "1_it.sql", "ALTER TABLE orders ALTER customer TYPE int; UPDATE customers SET mail = 'x';"
        )

        (migration,) = plain.rehearse().migrations

        assert migration.rewrites == migration.long_blocks == ("public.orders",)
        assert migration.scans == ("public.customers", "public.orders")
        assert migration.not_seen == ()

    def test_it_is_told_what_that_costs(self, plain: Project) -> None:
        """Whether an observer catches the lock itself is chance."""
        plain.write("1_it.sql", DDL)

        (migration,) = plain.rehearse().migrations

        said = [(unseen.what, unseen.reason) for unseen in migration.not_seen]
        sampled = [lock.relation for lock in migration.locks if lock.seen == "sampled"]
        assert any("this role may not create event triggers" in reason for _, reason in said)
        assert "public.orders" in [*sampled, *(unseen.relation for unseen in migration.not_seen)]
