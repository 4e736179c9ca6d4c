"""Change only the ledger, in one transaction and under the migration lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import ConnectionFault, RightsFault
from confiture.ledger.migration_lock import (
    MigrationLock,
    build_lock_lost_fault,
    is_lock_held,
    take_migration_lock,
)
from confiture.ledger.refused_row import describe_refusal, find_refusing_table
from confiture.ledger.table import Ledger, build_read_only_fault
from confiture.models.ledger import LedgerEntry
from confiture.postgres.connect import connect, open_connection
from confiture.postgres.session import Session, send

_UNANSWERED = "the server did not answer COMMIT, and it is not known whether the ledger was changed"
_UNANSWERED_HINT = "when the server answers again, look: confiture status"


@frozen
class LedgerWriter:
    """Writes to the ledger while it holds the migration lock.

    Attributes:
        conn: The connection that writes.
        ledger: The ledger.
        lock: The migration lock.
    """

    conn: Connection[Any]
    ledger: Ledger
    lock: MigrationLock

    def read_entries(self) -> tuple[LedgerEntry, ...]:
        """Return the ledger's entries; under the lock nobody else changes them."""
        return self.ledger.read(self.conn)

    def write(self, sql: str) -> None:
        """Run SQL in one transaction.

        Raises:
            RightsFault: The role may not write, or the database is read-only.
            LockFault: The migration lock was lost; nothing is changed.
            ConnectionFault: The server did not answer COMMIT.
        """

        def check_lock() -> None:
            if not is_lock_held(self.lock):
                raise build_lock_lost_fault()

        self.ledger.create(self.conn)
        session = Session(self.conn, owned=True)
        try:
            with session.transaction(before_commit=check_lock):
                send(self.conn, sql)
        except (psycopg.OperationalError, KeyboardInterrupt) as error:
            if not session.commit_unanswered:
                raise
            if isinstance(error, KeyboardInterrupt):
                error.add_note(f"{_UNANSWERED}; {_UNANSWERED_HINT}")
                raise
            raise ConnectionFault(_UNANSWERED, hint=_UNANSWERED_HINT) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise build_read_only_fault(error) from error
        except psycopg.DatabaseError as error:
            denied = (error.diag.message_primary or "").startswith("permission denied")
            table = None if denied else find_refusing_table(self.conn, error, self.ledger.schema)
            if table:
                message, hint = describe_refusal(table, error.diag.message_primary or str(error))
                raise RightsFault(message, hint=hint) from error
            if isinstance(error, psycopg.errors.InsufficientPrivilege):
                raise self.ledger.build_write_fault(self.conn) from error
            raise


@contextmanager
def open_ledger_writer(settings: Settings) -> Iterator[LedgerWriter]:
    """Hold the migration lock during the block, and yield a writer.

    Raises:
        ConnectionFault: The server cannot be reached.
        LockFault: Another run holds the lock.
    """
    with (
        open_connection(settings) as conn,
        take_migration_lock(connect(settings), settings.schema, settings.lock_wait_s) as migration_lock,
    ):
        yield LedgerWriter(conn, Ledger(settings.schema), migration_lock)
