"""Who looks on while CONCURRENTLY runs has no transaction of its own that it would wait for."""

from __future__ import annotations

import psycopg
from attrs import evolve
from psycopg.pq import TransactionStatus

from confiture.engine.blockers import open_monitor_connection
from confiture.ledger.migration_lock import take_migration_lock
from confiture.migrations.prepare import prepare_instance
from confiture.models.migration import Migration
from confiture.postgres.session import fetch_rows


class Empty(Migration):
    version, name = "1", "empty"

    def up(self):
        """Do nothing."""


def test_beside_concurrently_the_keeper_is_never_asked(database, second, database_url):

    work = evolve(prepare_instance(Empty(database), "forward"), transactional=False)

    def connect():
        return psycopg.connect(database_url, autocommit=True)

    with (
        take_migration_lock(second, "confiture", 1) as keeper,
        open_monitor_connection(keeper, (work,), connect) as asked,
    ):
        fetch_rows(asked, "SELECT pg_blocking_pids(1)")

        assert asked is not keeper.conn
        assert asked.info.transaction_status == TransactionStatus.IDLE


def test_otherwise_no_further_connection_is_taken(database, second):
    work = prepare_instance(Empty(database), "forward")

    def no_other() -> psycopg.Connection:
        raise AssertionError("a third connection")

    with (
        take_migration_lock(second, "confiture", 1) as keeper,
        open_monitor_connection(keeper, (work,), no_other) as asked,
    ):
        assert asked is keeper.conn
