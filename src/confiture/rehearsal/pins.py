"""Hold a statement up at the moments that matter, so that its locks can be looked at.

A statement with transactions of its own is over before its locks can be read. Two kinds of pins make it
wait for an instant: a table lock and an old snapshot, which CONCURRENTLY waits for in each of its phases,
and row locks in ``pg_class``, which whatever swaps or drops a file must wait for while it holds its
strongest locks. A pin never waits for anybody, so that it cannot deadlock.
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

_MOST_TIMES = 20


@define
class TablePin:
    """An old transaction with a lock on the tables: CONCURRENTLY waits for it, again and again.

    Attributes:
        conns: Two sessions; the next one holds before the last one lets go.
        pids: Of their server processes.
        tables: The names of the tables.
        times: How often it has been waited for.
    """

    conns: tuple[Connection[Any], Connection[Any]]
    pids: tuple[int, int]
    tables: tuple[str, ...] = ()
    times: int = 0

    def hold(self, tables: Iterable[str]) -> None:
        """Begin to hold."""
        self.tables, self.times = tuple(tables), 0
        if self.tables:
            self._begin(self.conns[0])

    def advance(self) -> None:
        """Let the statement go on to its next phase, which finds another one holding."""
        last, self.times = self.conns[self.times % 2], self.times + 1
        if self.times < _MOST_TIMES:
            self._begin(self.conns[self.times % 2])
        release(last)

    def _begin(self, conn: Connection[Any]) -> None:
        locks = "".join(f"LOCK TABLE {name} IN ROW EXCLUSIVE MODE NOWAIT;" for name in self.tables)
        try:
            send(conn, f"BEGIN ISOLATION LEVEL REPEATABLE READ; {locks} SELECT 1 FROM pg_class LIMIT 1")
        except psycopg.DatabaseError:
            # Not a table, not ours, or locked already: there is nothing to hold with.
            release(conn)


@define
class RowPins:
    """Row locks on the ``pg_class`` rows of what a statement may touch, held by two sessions in turn.

    Attributes:
        conns: The two; one holds while the other takes over what is still to come.
        pids: Of their server processes.
        possible: Whether the role may lock rows of ``pg_class``.
        lost: Whether they could not be held to the end.
    """

    conns: tuple[Connection[Any], Connection[Any]]
    pids: tuple[int, int]
    possible: bool = True
    lost: bool = False
    _oids: frozenset[int] = frozenset()
    _holder: int = 0

    def hold(self, members: Iterable[NamedRelation]) -> None:
        """Begin to hold."""
        self._oids, self._holder, self.lost = frozenset(member.oid for member in members), 0, False
        if self.possible and self._oids:
            self._lock_rows(0)

    @property
    def has_rows(self) -> bool:
        """Whether there was anything to hold."""
        return bool(self._oids)

    def advance(self, waiter_pid: int, read_locked: Callable[[], frozenset[int]]) -> None:
        """Let the statement reach its next row; ``read_locked`` tells which locks it holds by then."""
        other = 1 - self._holder
        try:
            left = self._oids - read_locked() - self._find_waited_row(waiter_pid)
        except psycopg.DatabaseError:
            self.lost, left = True, frozenset()
        if left and left != self._oids:
            self._oids = left
            self._lock_rows(other)
        release(self.conns[self._holder])
        self._holder = other

    def _find_waited_row(self, waiter_pid: int) -> frozenset[int]:
        """Return the row that the statement waits for, by its place in the file."""
        found = fetch_rows(
            self.conns[1 - self._holder],
            "SELECT c.oid::bigint FROM pg_locks l JOIN pg_class c ON"
            " c.ctid = format('(%s,%s)', l.page, l.tuple)::tid"
            f" WHERE l.pid = {waiter_pid} AND l.locktype = 'tuple' AND l.relation = 'pg_class'::regclass",
        )
        return frozenset(oid for (oid,) in found)

    def _lock_rows(self, which: int) -> None:
        conn = self.conns[which]
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
    """All pins of one sampler."""

    table: TablePin
    rows: RowPins
    conns: tuple[Connection[Any], ...] = field(init=False)

    @conns.default
    def _collect_conns(self) -> tuple[Connection[Any], ...]:
        return (*self.table.conns, *self.rows.conns)

    def release(self) -> None:
        """Let go of everything; a connection that cannot be asked is closed, which lets go too."""
        for conn in self.conns:
            release(conn)


def release(conn: Connection[Any]) -> None:
    """End a pin's transaction."""
    try:
        send(conn, "ROLLBACK")
    except psycopg.Error:
        conn.close()


def open_pins(connect: Callable[[], Connection[Any]]) -> Pins:
    """Open the connections that hold."""
    conns = [connect() for _ in range(4)]
    first, second, third, fourth = (conn.info.backend_pid for conn in conns)
    for conn in conns:
        # A lock on pg_class itself (VACUUM FULL of everything) is not waited for either.
        send(
            conn,
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;"
            "SET lock_timeout = '50ms'",
        )
    return Pins(
        TablePin((conns[0], conns[1]), (first, second)), RowPins((conns[2], conns[3]), (third, fourth))
    )
