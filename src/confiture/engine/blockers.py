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

from confiture.ledger.migration_lock import Keeper, describe_sessions
from confiture.migrations.prepare import Work
from confiture.models.report import MigrationReport
from confiture.postgres.connect import server_pid
from confiture.postgres.locks import HELD_BY
from confiture.postgres.session import rows

_INTERVAL_S = 0.05
_CLOSE_INTERVAL_S = 0.01
_CLOSE_LOOKS = 100
_SAMPLING_INTERVAL_S = 0.0005


@frozen
class Now:
    """What runs at this moment.

    Attributes:
        label: The migration, as a person reads it.
        stage: The phase, ``up``, ``down``, ``validation`` or ``commit``.
        elapsed_ms: Since the migration began, in milliseconds.
        line: Of the statement that runs, in the file.
        sql: Its text; ``None`` between statements.
        waits_for: Who holds the lock that it waits for, else ``None``.
    """

    label: str
    stage: str
    elapsed_ms: float
    line: int | None = None
    sql: str | None = None
    waits_for: str | None = None


class Watcher(Protocol):
    """Somebody who looks on while migrations run."""

    def begins(self, look: Callable[[], Now | None]) -> None:
        """Take what tells, at any time and from any thread, what runs."""

    def ended(self, report: MigrationReport) -> None:
        """Take note that a migration has ended."""


@define
class Blockers:
    """Looks, from the keeper's connection, at what the migration's session waits for.

    Attributes:
        keeper: The connection that asks; see ``looking``.
        watched: The one that may wait; asked about only while a statement of it runs.
        pid: Of its server process.
        waits_for: Who holds what it waits for right now.
        closely: Whether waiting is measured, as in a rehearsal: looks more often.
    """

    keeper: Connection[Any]
    watched: Connection[Any]
    pid: int = 0
    waits_for: str | None = None
    closely: bool = False
    _sampling: bool = False
    _sampled: set[tuple[int, str]] = field(factory=set)
    _waiting_ms: float = 0.0
    _waited_ms: float = 0.0
    _seen: str | None = None
    _call: threading.Event = field(factory=threading.Event)
    _over: bool = False
    _thread: threading.Thread | None = None

    def __enter__(self) -> Blockers:
        """Begin to watch."""
        self.pid = server_pid(self.watched)
        self._thread = threading.Thread(target=self._watch, name="confiture-blockers", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, before the connections are closed."""
        self._over = True
        self._call.set()
        if self._thread:
            self._thread.join()

    def last_seen(self) -> str | None:
        """Return who held the lock when last looked at, and forget it."""
        seen, self._seen = self._seen, None
        return seen

    def waited_ms(self) -> float:
        """Return how long the watched one has waited for locks since last asked; right to the interval."""
        waited_ms = self._waited_ms + self._waiting_ms
        self._waited_ms = self._waiting_ms = 0.0
        return waited_ms

    def sample(self) -> None:
        """Look from now on, as often as can be, at what the watched one holds."""
        self._sampling = True
        self._call.set()

    def sampled(self) -> set[tuple[int, str]]:
        """Stop that, and return the strong locks that were seen."""
        self._sampling = False
        sampled, self._sampled = self._sampled, set()
        return sampled

    def _watch(self) -> None:
        waits = 0
        while not self._ended(self._interval_s(waits)):
            busy = (
                not self.watched.closed and self.watched.pgconn.transaction_status == TransactionStatus.ACTIVE
            )
            waits = waits + 1 if busy else 0
            self.waits_for = self.waits_for if busy else None
            if busy:
                try:
                    self._sample() if self._sampling else self._look()
                except psycopg.Error:
                    return  # the keeper is gone; the run itself will say so

    def _ended(self, after_s: float) -> bool:
        """Wait a while, or until called; whether it is over."""
        self._call.wait(after_s)
        self._call.clear()
        return self._over

    def _sample(self) -> None:
        self._sampled.update((oid, mode) for oid, mode in rows(self.keeper, HELD_BY.format(pid=self.pid)))

    def _interval_s(self, waits: int) -> float:
        """Look less and less often at what takes long."""
        if self._sampling:
            return _SAMPLING_INTERVAL_S
        if self.closely and waits < _CLOSE_LOOKS:
            return _CLOSE_INTERVAL_S
        return _INTERVAL_S if self.closely else _INTERVAL_S * min(4, 1 + waits // 4)

    def _look(self) -> None:
        ((pids, waiting_ms),) = rows(self.keeper, _BLOCKED.format(pid=self.pid))
        if waiting_ms is None or waiting_ms < self._waiting_ms:
            self._waited_ms += self._waiting_ms
        self._waiting_ms = waiting_ms or 0.0
        self.waits_for = describe_sessions(self.keeper, pids) if pids else None
        self._seen = self.waits_for or self._seen


_BLOCKED = """
    SELECT pg_blocking_pids({pid}), (
        SELECT (1000 * extract(epoch FROM clock_timestamp() - waitstart))::float8
        FROM pg_locks WHERE pid = {pid} AND NOT granted AND waitstart IS NOT NULL LIMIT 1
    )
"""


@contextmanager
def looking(
    keeper: Keeper, works: Iterable[Work], connected: Callable[[], AbstractContextManager[Connection[Any]]]
) -> Iterator[Connection[Any]]:
    """Lend the connection to look from: the keeper's, or one of its own where CONCURRENTLY may run.

    Whoever looks has a snapshot for that moment. CONCURRENTLY that meets it waits for the end of the
    transaction which has it, and the keeper's ends with the run: they would wait for each other for ever.
    """
    if all(work.transactional for work in works):
        yield keeper.conn
        return
    with connected() as conn:
        yield conn
