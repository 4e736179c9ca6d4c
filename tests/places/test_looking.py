"""Who looks on while CONCURRENTLY runs has no transaction of its own that it would wait for."""

from __future__ import annotations

import psycopg
from attrs import evolve
from psycopg.pq import TransactionStatus

from confiture.core.lock import migration_lock
from confiture.core.session import rows
from confiture.core.watching import looking
from confiture.core.work import from_class
from confiture.models.migration import Migration


class Empty(Migration):
    version, name = "1", "empty"

    def up(self):
        """Do nothing."""


def test_beside_concurrently_the_keeper_is_never_asked(database, second, database_url):

    work = evolve(from_class(Empty(database), "forward"), transactional=False)

    def connect():
        return psycopg.connect(database_url, autocommit=True)

    with migration_lock(second, "confiture", 1) as keeper, looking(keeper, (work,), connect) as asked:
        rows(asked, "SELECT pg_blocking_pids(1)")

        assert asked is not keeper.conn
        assert asked.info.transaction_status == TransactionStatus.IDLE


def test_otherwise_no_further_connection_is_taken(database, second):
    work = from_class(Empty(database), "forward")

    def no_other() -> psycopg.Connection:
        raise AssertionError("a third connection")

    with migration_lock(second, "confiture", 1) as keeper, looking(keeper, (work,), no_other) as asked:
        assert asked is keeper.conn
