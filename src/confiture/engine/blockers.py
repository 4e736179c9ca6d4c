"""Watch which sessions block a migration, while it waits: after a timeout PostgreSQL no longer knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import psycopg
from attrs import define, field, frozen
from psycopg import Connection
from psycopg.pq import TransactionStatus

from confiture.ledger.migration_lock import MigrationLock, describe_sessions
from confiture.migrations.prepare import PreparedMigration
from confiture.models.report import MigrationReport
from confiture.postgres.connect import read_server_pid
from confiture.postgres.locks import HELD_BY_SQL
from confiture.postgres.session import fetch_rows

# A run only reports who blocks it, and polls less and less often. A rehearsal measures how long it waits:
# every 10 ms in the first second of a statement, then every 50 ms.
_POLL_S = 0.05
_FREQUENT_POLL_S = 0.01
_FREQUENT_POLLS = 100
# In a rehearsal nobody asks about a statement that has just begun: most end within a millisecond.
_YOUNG_S = 0.005
# Locks taken inside an EXCEPTION block may last a fraction of a millisecond.
_SAMPLE_POLL_S = 0.0005


@frozen
class Activity:
    """The statement that runs at this moment.

    Attributes:
        version: The migration's version.
        label: The migration, as a person reads it.
        stage: The phase, ``up``, ``down``, ``validation`` or ``commit``.
        elapsed_ms: Time since the migration began, in milliseconds.
        line: The statement's line in the file.
        sql: Its text; ``None`` between statements.
        blocked_by: The sessions that block it, ``None`` if none does.
        message: What the server has said last while it runs, such as a loop's progress; ``None`` if nothing.
    """

    version: str
    label: str
    stage: str
    elapsed_ms: float
    line: int | None = None
    sql: str | None = None
    blocked_by: str | None = None
    message: str | None = None


class ProgressListener(Protocol):
    """Shows the progress of a run."""

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Begin; ``read_activity`` returns what runs, at any time and from any thread."""

    def report_migration(self, report: MigrationReport) -> None:
        """Show that a migration has ended."""


@define
class LockWaitMonitor:
    """Polls, from another connection, which sessions block the migration's.

    Attributes:
        observer_conn: The connection that polls; see ``open_monitor_connection``.
        migration_conn: The migration's connection; polled about only while a statement runs on it.
        pid: The migration's server process.
        blocked_by: The sessions that block it now.
        measures_waits: True in a rehearsal, which polls more often to measure how long it waits.
    """

    observer_conn: Connection[Any]
    migration_conn: Connection[Any]
    pid: int = 0
    blocked_by: str | None = None
    measures_waits: bool = False
    _sampling: bool = False
    _sampled: set[tuple[int, str]] = field(factory=set)
    _began_s: float = 0.0
    _waiting_ms: float = 0.0
    _waited_ms: float = 0.0
    _last_blocker: str | None = None
    _wake_up: threading.Event = field(factory=threading.Event)
    _stopped: bool = False
    _thread: threading.Thread | None = None

    def __enter__(self) -> LockWaitMonitor:
        """Start the polling thread."""
        self.pid = read_server_pid(self.migration_conn)
        self._thread = threading.Thread(target=self._watch, name="confiture-blockers", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the polling thread, before the connections are closed."""
        self._stopped = True
        self._wake_up.set()
        if self._thread:
            self._thread.join()

    def take_last_blocker(self) -> str | None:
        """Return the last sessions seen to block the migration, and forget them."""
        seen, self._last_blocker = self._last_blocker, None
        return seen

    def take_waited_ms(self) -> float:
        """Return how long the migration has waited for locks since the last call, to the poll interval."""
        waited_ms = self._waited_ms + self._waiting_ms
        self._waited_ms = self._waiting_ms = 0.0
        return waited_ms

    def note_statement(self) -> None:
        """Note that a statement is about to be sent."""
        self._began_s = time.monotonic()

    def start_sampling(self) -> None:
        """Read the migration's locks from now on, as often as possible."""
        self._sampling = True
        self._wake_up.set()

    def take_sampled_locks(self) -> set[tuple[int, str]]:
        """Stop sampling, and return the strong locks that were seen."""
        self._sampling = False
        sampled, self._sampled = self._sampled, set()
        return sampled

    def _watch(self) -> None:
        waits = 0
        while not self._wait_for_stop(self._choose_interval_s(waits)):
            # Read from libpq, without asking the server: between statements nothing can be blocked.
            busy = (
                not self.migration_conn.closed
                and self.migration_conn.pgconn.transaction_status == TransactionStatus.ACTIVE
            )
            waits = waits + 1 if busy else 0
            self.blocked_by = self.blocked_by if busy else None
            if busy and (self._sampling or not self._is_young()):
                try:
                    self._sample_locks() if self._sampling else self._read_blockers()
                except psycopg.Error:
                    return  # the connection is lost; the run notices it before its commit

    def _is_young(self) -> bool:
        return time.monotonic() - self._began_s < _YOUNG_S

    def _wait_for_stop(self, after_s: float) -> bool:
        """Wait for the interval or until woken; return True if the monitor was stopped."""
        self._wake_up.wait(after_s)
        self._wake_up.clear()
        return self._stopped

    def _sample_locks(self) -> None:
        self._sampled.update(
            (oid, mode) for oid, mode in fetch_rows(self.observer_conn, HELD_BY_SQL.format(pid=self.pid))
        )

    def _choose_interval_s(self, waits: int) -> float:
        """Return the time until the next poll: the longer a statement runs, the longer."""
        if self._sampling:
            return _SAMPLE_POLL_S
        if self.measures_waits and waits < _FREQUENT_POLLS:
            return _YOUNG_S if self._is_young() else _FREQUENT_POLL_S
        return _POLL_S if self.measures_waits else _POLL_S * min(4, 1 + waits // 4)

    def _read_blockers(self) -> None:
        # A wait has gaps of microseconds, at the deadlock check: one that was seen is asked about to its end.
        if self._waiting_ms or self._may_wait():
            ((pids, waiting_ms),) = fetch_rows(self.observer_conn, _BLOCKERS_SQL.format(pid=self.pid))
        else:
            pids, waiting_ms = (), None
        # waitstart belongs to one lock. If the time is shorter than at the last poll, a new wait has begun:
        # add the finished one.
        if waiting_ms is None or waiting_ms < self._waiting_ms:
            self._waited_ms += self._waiting_ms
        self._waiting_ms = waiting_ms or 0.0
        self.blocked_by = describe_sessions(self.observer_conn, pids) if pids else None
        self._last_blocker = self.blocked_by or self._last_blocker

    def _may_wait(self) -> bool:
        """Ask cheaply: to read the blockers holds up all locking, the longer the more locks there are."""
        return bool(fetch_rows(self.observer_conn, _MAY_WAIT_SQL.format(pid=self.pid))[0][0])


# IPC: a parallel worker may wait for the lock, and its leader for the worker. A role that may not see
# another's wait event gets this text for its query; a process that is not listed may wait too.
_MAY_WAIT_SQL = """
    SELECT coalesce(bool_or(coalesce(wait_event_type IN ('Lock', 'IPC'), false)
        OR query = '<insufficient privilege>'), true)
    FROM pg_stat_get_activity({pid})
"""
_BLOCKERS_SQL = """
    SELECT pg_blocking_pids({pid}), (
        SELECT (1000 * extract(epoch FROM clock_timestamp() - waitstart))::float8
        FROM pg_locks WHERE pid = {pid} AND NOT granted AND waitstart IS NOT NULL LIMIT 1
    )
"""


@contextmanager
def open_monitor_connection(
    keeper: MigrationLock,
    works: Iterable[PreparedMigration],
    open_connection: Callable[[], AbstractContextManager[Connection[Any]]],
) -> Iterator[Connection[Any]]:
    """Yield the connection to poll from: the keeper's, or a new one if CONCURRENTLY may run.

    Each poll has a snapshot for a moment. If CONCURRENTLY sees it, it waits until the transaction that has
    it ends. The keeper's transaction ends only with the run, so both would wait for each other for ever.
    """
    if all(work.transactional for work in works):
        yield keeper.conn
        return
    with open_connection() as conn:
        yield conn
