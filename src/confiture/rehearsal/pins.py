"""Pause a statement where it holds its locks, so that a sampler can read them.

CREATE INDEX CONCURRENTLY, VACUUM FULL and others manage their own transactions: a strong lock may last less
than a millisecond. Pins make them wait at two kinds of places:

- A table lock with an old snapshot. CONCURRENTLY waits for both in each of its phases.
- Row locks on ``pg_class``. A statement that swaps or drops a file updates or deletes the file's row there
  while it holds its strongest lock, and waits for the row lock.

A pin itself never waits for a lock, so it cannot deadlock with the statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from attrs import define, field
from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from confiture.postgres.session import fetch_rows, send
from confiture.rehearsal.named_relations import NamedRelation

# A bound: whatever the statement does, it is let go after that many waits.
_MOST_TIMES = 20


@define
class TablePin:
    """A transaction with a lock on tables and an old snapshot; CONCURRENTLY waits for it in each phase.

    Attributes:
        conns: Two connections that hold the pin in turn.
        pids: The process ids of their server processes.
        tables: The names of the tables.
        times: How often the statement has waited for the pin.
    """

    conns: tuple[Connection[Any], Connection[Any]]
    pids: tuple[int, int]
    tables: tuple[str, ...] = ()
    times: int = 0

    def hold(self, tables: Iterable[str]) -> None:
        """Lock the tables, before the statement starts."""
        self.tables, self.times = tuple(tables), 0
        if self.tables:
            self._begin(self.conns[0])

    def advance(self) -> None:
        """Let the statement continue to its next phase, where it waits for the other connection."""
        last, self.times = self.conns[self.times % 2], self.times + 1
        # The next connection takes its snapshot before the last one ends: otherwise the statement could run
        # through its next phase unobserved.
        if self.times < _MOST_TIMES:
            self._begin(self.conns[self.times % 2])
        release(last)

    def _begin(self, conn: Connection[Any]) -> None:
        locks = "".join(f"LOCK TABLE {name} IN ROW EXCLUSIVE MODE NOWAIT;" for name in self.tables)
        try:
            send(conn, f"BEGIN ISOLATION LEVEL REPEATABLE READ; {locks} SELECT 1 FROM pg_class LIMIT 1")
        except psycopg.DatabaseError:
            # It is no table, the role has no right to lock it, or another session has locked it: go without
            # the pin.
            release(conn)


@define
class RowPins:
    """Locks on the ``pg_class`` rows of the relations that a statement may touch.

    Attributes:
        conns: Two connections that hold the locks in turn.
        pids: The process ids of their server processes.
        possible: True if the role may lock rows of ``pg_class``, which needs a superuser.
        lost: True if the locks could not be held until the statement's end.
    """

    conns: tuple[Connection[Any], Connection[Any]]
    pids: tuple[int, int]
    possible: bool = True
    lost: bool = False
    _oids: frozenset[int] = frozenset()
    _holder: int = 0

    def hold(self, members: Iterable[NamedRelation]) -> None:
        """Lock the rows, before the statement starts."""
        self._oids, self._holder, self.lost = frozenset(member.oid for member in members), 0, False
        if self.possible and self._oids:
            self._lock_rows(0)

    @property
    def has_rows(self) -> bool:
        """True if the statement names relations, so that there are rows to lock."""
        return bool(self._oids)

    def advance(self, waiter_pid: int, read_locked: Callable[[], frozenset[int]]) -> None:
        """Let the statement continue to its next row.

        Args:
            waiter_pid: The process id of the statement's server process.
            read_locked: Returns the oids of the relations that the statement has locked exclusively by now.
        """
        other = 1 - self._holder
        try:
            # The sampler has seen the exclusive locks on these relations: no need to pause there again.
            left = self._oids - read_locked() - self._find_waited_row(waiter_pid)
        except psycopg.DatabaseError:
            self.lost, left = True, frozenset()
        if left and left != self._oids:
            self._oids = left
            # Both connections share the row locks (FOR SHARE), so there is no moment without them.
            self._lock_rows(other)
        release(self.conns[self._holder])
        self._holder = other

    def _find_waited_row(self, waiter_pid: int) -> frozenset[int]:
        """Return the oid of the relation whose ``pg_class`` row the statement waits for."""
        # A session that waits for a row lock takes the lock on the tuple first; pg_locks shows its ctid.
        found = fetch_rows(
            self.conns[1 - self._holder],
            "SELECT c.oid::bigint FROM pg_locks l JOIN pg_class c ON"
            " c.ctid = format('(%s,%s)', l.page, l.tuple)::tid"
            f" WHERE l.pid = {waiter_pid} AND l.locktype = 'tuple' AND l.relation = 'pg_class'::regclass",
        )
        return frozenset(oid for (oid,) in found)

    def _lock_rows(self, holder: int) -> None:
        conn = self.conns[holder]
        oids = ", ".join(map(str, sorted(self._oids)))
        try:
            send(
                conn,
                f"BEGIN; SELECT 1 FROM pg_class WHERE oid = ANY(ARRAY[{oids}]::oid[]) FOR SHARE SKIP LOCKED",
            )
        except InsufficientPrivilege:
            self.possible = False
            release(conn)
        except psycopg.DatabaseError:
            self.lost = True
            release(conn)


@define
class Pins:
    """All pins of one sampler.

    Attributes:
        table: The pin on tables.
        rows: The pins on rows of ``pg_class``.
        conns: The connections of all pins.
    """

    table: TablePin
    rows: RowPins
    conns: tuple[Connection[Any], ...] = field(init=False)

    @conns.default
    def _collect_conns(self) -> tuple[Connection[Any], ...]:
        return (*self.table.conns, *self.rows.conns)

    def release(self) -> None:
        """End the transactions of all pins, so that the statement can finish."""
        for conn in self.conns:
            release(conn)


def release(conn: Connection[Any]) -> None:
    """End a pin's transaction; if that fails, close the connection, which ends it too."""
    try:
        send(conn, "ROLLBACK")
    except psycopg.Error:
        conn.close()


def open_pins(connect: Callable[[], Connection[Any]]) -> Pins:
    """Open the four connections of the pins."""
    conns: list[Connection[Any]] = []
    try:
        conns += (connect() for _ in range(4))
    except BaseException:
        for conn in conns:
            conn.close()
        raise
    first, second, third, fourth = (conn.info.backend_pid for conn in conns)
    for conn in conns:
        # VACUUM FULL of the whole database locks pg_class itself: the pins must not wait for that either.
        send(
            conn,
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
            "SET lock_timeout = '50ms'",
        )
    return Pins(
        TablePin((conns[0], conns[1]), (first, second)), RowPins((conns[2], conns[3]), (third, fourth))
    )
