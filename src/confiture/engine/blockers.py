"""See who holds what a migration waits for: afterwards it is too late to ask."""

from __future__ import annotations

import threading
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
from confiture.postgres.connect import server_pid
from confiture.postgres.locks import HELD_BY_SQL
from confiture.postgres.session import fetch_rows

_POLL_S = 0.05
_FREQUENT_POLL_S = 0.01
_FREQUENT_POLLS = 100
_SAMPLE_POLL_S = 0.0005


@frozen
class Activity:
    """What runs at this moment.

    Attributes:
        label: The migration, as a person reads it.
        stage: The phase, ``up``, ``down``, ``validation`` or ``commit``.
        elapsed_ms: Since the migration began, in milliseconds.
        line: Of the statement that runs, in the file.
        sql: Its text; ``None`` between statements.
        blocked_by: Who holds the lock that it waits for, else ``None``.
    """

    label: str
    stage: str
    elapsed_ms: float
    line: int | None = None
    sql: str | None = None
    blocked_by: str | None = None


class ProgressListener(Protocol):
    """Somebody who looks on while migrations run."""

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Take what tells, at any time and from any thread, what runs."""

    def report_migration(self, report: MigrationReport) -> None:
        """Take note that a migration has ended."""


@define
class LockWaitMonitor:
    """Looks, from the keeper's connection, at what the migration's session waits for.

    Attributes:
        observer_conn: The connection that asks; see ``open_monitor_connection``.
        migration_conn: The one that may wait; asked about only while a statement of it runs.
        pid: Of its server process.
        blocked_by: Who holds what it waits for right now.
        measures_waits: Whether waiting is measured, as in a rehearsal: looks more often.
    """

    observer_conn: Connection[Any]
    migration_conn: Connection[Any]
    pid: int = 0
    blocked_by: str | None = None
    measures_waits: bool = False
    _sampling: bool = False
    _sampled: set[tuple[int, str]] = field(factory=set)
    _waiting_ms: float = 0.0
    _waited_ms: float = 0.0
    _last_blocker: str | None = None
    _wake_up: threading.Event = field(factory=threading.Event)
    _stopped: bool = False
    _thread: threading.Thread | None = None

    def __enter__(self) -> LockWaitMonitor:
        """Begin to watch."""
        self.pid = server_pid(self.migration_conn)
        self._thread = threading.Thread(target=self._watch, name="confiture-blockers", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, before the connections are closed."""
        self._stopped = True
        self._wake_up.set()
        if self._thread:
            self._thread.join()

    def take_last_blocker(self) -> str | None:
        """Return who held the lock when last looked at, and forget it."""
        seen, self._last_blocker = self._last_blocker, None
        return seen

    def take_waited_ms(self) -> float:
        """Return how long the watched one has waited for locks since last asked; right to the interval."""
        waited_ms = self._waited_ms + self._waiting_ms
        self._waited_ms = self._waiting_ms = 0.0
        return waited_ms

    def start_sampling(self) -> None:
        """Look from now on, as often as can be, at what the watched one holds."""
        self._sampling = True
        self._wake_up.set()

    def take_sampled_locks(self) -> set[tuple[int, str]]:
        """Stop that, and return the strong locks that were seen."""
        self._sampling = False
        sampled, self._sampled = self._sampled, set()
        return sampled

    def _watch(self) -> None:
        waits = 0
        while not self._wait_for_stop(self._choose_interval_s(waits)):
            busy = (
                not self.migration_conn.closed
                and self.migration_conn.pgconn.transaction_status == TransactionStatus.ACTIVE
            )
            waits = waits + 1 if busy else 0
            self.blocked_by = self.blocked_by if busy else None
            if busy:
                try:
                    self._sample_locks() if self._sampling else self._read_blockers()
                except psycopg.Error:
                    return  # the keeper is gone; the run itself will say so

    def _wait_for_stop(self, after_s: float) -> bool:
        """Wait a while, or until called; whether it is over."""
        self._wake_up.wait(after_s)
        self._wake_up.clear()
        return self._stopped

    def _sample_locks(self) -> None:
        self._sampled.update(
            (oid, mode) for oid, mode in fetch_rows(self.observer_conn, HELD_BY_SQL.format(pid=self.pid))
        )

    def _choose_interval_s(self, waits: int) -> float:
        """Look less and less often at what takes long."""
        if self._sampling:
            return _SAMPLE_POLL_S
        if self.measures_waits and waits < _FREQUENT_POLLS:
            return _FREQUENT_POLL_S
        return _POLL_S if self.measures_waits else _POLL_S * min(4, 1 + waits // 4)

    def _read_blockers(self) -> None:
        ((pids, waiting_ms),) = fetch_rows(self.observer_conn, _BLOCKERS_SQL.format(pid=self.pid))
        if waiting_ms is None or waiting_ms < self._waiting_ms:
            self._waited_ms += self._waiting_ms
        self._waiting_ms = waiting_ms or 0.0
        self.blocked_by = describe_sessions(self.observer_conn, pids) if pids else None
        self._last_blocker = self.blocked_by or self._last_blocker


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
    """Lend the connection to look from: the keeper's, or one of its own where CONCURRENTLY may run.

    Whoever looks has a snapshot for that moment. CONCURRENTLY that meets it waits for the end of the
    transaction which has it, and the keeper's ends with the run: they would wait for each other for ever.
    """
    if all(work.transactional for work in works):
        yield keeper.conn
        return
    with open_connection() as conn:
        yield conn
