"""Change what the ledger says, and nothing else: under the migration lock, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import RightsFault
from confiture.ledger.migration_lock import Keeper, lock_lost, migration_lock, still_held
from confiture.ledger.table import Ledger, read_only
from confiture.models.ledger import Entry
from confiture.postgres.connect import connect, connected
from confiture.postgres.session import Session, send


@frozen
class Recorder:
    """Writes to the ledger, as long as it holds the migration lock.

    Attributes:
        conn: The connection that writes.
        ledger: Where to.
        keeper: Who holds the lock.
    """

    conn: Connection[Any]
    ledger: Ledger
    keeper: Keeper

    def entries(self) -> tuple[Entry, ...]:
        """Return what the ledger knows now that nobody else writes to it."""
        return self.ledger.read(self.conn)

    def write(self, sql: str) -> None:
        """Send these changes in one transaction.

        Raises:
            RightsFault: The role may not, or the database is read-only.
            LockFault: The migration lock was lost; nothing is changed.
        """

        def committing() -> None:
            if not still_held(self.keeper):
                raise lock_lost()

        self.ledger.create(self.conn)
        try:
            with Session(self.conn, ours=True).transaction(at_end=committing):
                send(self.conn, sql)
        except psycopg.errors.InsufficientPrivilege as error:
            raise _may_not_write(self.conn, self.ledger.schema) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise read_only(error) from error


@contextmanager
def recorder(settings: Settings) -> Iterator[Recorder]:
    """Hold the migration lock, and lend what writes to the ledger.

    Raises:
        ConnectionFault: The server cannot be reached.
        LockFault: Another run holds the lock.
    """
    with (
        connected(settings) as conn,
        migration_lock(connect(settings), settings.schema, settings.lock_wait_s) as keeper,
    ):
        yield Recorder(conn, Ledger(settings.schema), keeper)


def _may_not_write(conn: Connection[Any], schema: str) -> RightsFault:
    return RightsFault(
        f"role {conn.info.user!r} may not write the ledger in database {conn.info.dbname!r}",
        hint=f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} to it, or connect as its owner",
    )
