"""Allow one run at a time: a second connection, the keeper, holds an advisory lock during the run.

The lock belongs to a transaction and not to the session: a pooler in transaction mode shares sessions, and
behind PgBouncer two clients both got the same session lock. The transaction is READ COMMITTED and idle, so
it holds no snapshot. A REPEATABLE READ transaction would, and CREATE INDEX CONCURRENTLY, REINDEX CONCURRENTLY
and DETACH PARTITION CONCURRENTLY would wait for it until the run ends, which waits for them.

The keeper may be disconnected during a run. Each migration therefore checks in ``pg_locks``, just before its
commit, that the lock is still held.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen
from psycopg import Connection, Error

from confiture.exceptions import LockFault
from confiture.postgres.session import fetch_rows, send
from confiture.postgres.wait_notice import announce_wait


@frozen
class MigrationLock:
    """The held migration lock and the connection that holds it, the keeper.

    Attributes:
        conn: The keeper, in a read-only transaction that ends with the run.
        pid: The process id of its server process.
        key: The lock's key as ``pg_locks`` shows it: ``classid`` and ``objid``.
    """

    conn: Connection[Any]
    pid: int
    key: tuple[int, int]

    def render_condition(self) -> str:
        """Return an SQL condition on ``pg_locks`` that is true for this lock while it is held."""
        # With the pid: if the keeper is gone, another run may hold the same key by now.
        return f"granted AND pid = {self.pid} AND {_render_key_condition(self.key)}"


@contextmanager
def take_migration_lock(conn: Connection[Any], schema: str, wait_s: float) -> Iterator[MigrationLock]:
    """Hold the migration lock of this database and schema on ``conn`` during the block, then close ``conn``.

    Raises:
        LockFault: Another run still holds it after ``wait_s``.
    """
    key = _derive_key(schema)
    try:
        yield MigrationLock(conn, _acquire(conn, key, wait_s), key)
    finally:
        conn.close()


def build_lock_lost_fault() -> LockFault:
    """Return the fault for a run whose keeper is gone."""
    return LockFault(
        "the migration lock was lost: the connection that held it is gone; rolled back",
        hint="run again; if it happens again, find out what closes idle connections (a proxy, a pooler)",
    )


def _derive_key(schema: str) -> tuple[int, int]:
    digest = hashlib.sha256(f"confiture:{schema}".encode()).digest()
    return int.from_bytes(digest[:4]), int.from_bytes(digest[4:8])


def _render_key_condition(key: tuple[int, int]) -> str:
    # objsubid is 1 for a lock with one 64-bit key, and 2 for one with two 32-bit keys.
    return f"locktype = 'advisory' AND classid = {key[0]} AND objid = {key[1]} AND objsubid = 1"


_THIS_DATABASE_SQL = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"


def _acquire(conn: Connection[Any], key: tuple[int, int], wait_s: float) -> int:
    signed = int.from_bytes(key[0].to_bytes(4) + key[1].to_bytes(4), signed=True)
    # Poll instead of blocking in pg_advisory_xact_lock: a blocked query holds a snapshot, so the other run's
    # CREATE INDEX CONCURRENTLY would wait for us while we wait for its lock: a deadlock.
    attempt = f"SELECT pg_try_advisory_xact_lock({signed}), pg_backend_pid()"
    # The isolation level is explicit because default_transaction_isolation may be REPEATABLE READ. Without
    # the timeouts set to 0, the server could end the idle keeper during a long migration.
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; " + "".join(
        f"SET LOCAL {name} = 0; " for name in _list_timeouts(conn)
    )
    deadline = time.monotonic() + wait_s
    granted, pid = send(conn, begin + attempt)[-1][0]
    announced = False
    while not granted:
        if time.monotonic() >= deadline:
            raise _build_busy_fault(conn, key, wait_s)
        if not announced:
            _announce_holder(conn, key, deadline - time.monotonic())
            announced = True
        # Random, so that several waiting runs do not all try at the same moment.
        time.sleep(min(0.1 + random.random() / 5, max(0.0, deadline - time.monotonic())))
        granted, pid = fetch_rows(conn, attempt)[0]
    return int(pid)


def _list_timeouts(conn: Connection[Any]) -> tuple[str, ...]:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    return (*names, "transaction_timeout") if conn.info.server_version >= 170000 else names


IDLE_ON_PURPOSE = (
    "that connection only keeps the lock and is idle on purpose, while its run works on another connection"
)


def _build_busy_fault(conn: Connection[Any], key: tuple[int, int], wait_s: float) -> LockFault:
    holder = _find_holder(conn, key) or "a session that has just ended"
    return LockFault(
        f"another run holds the migration lock: {holder}; waited {wait_s:g} s",
        hint=f"wait until it has ended, or wait longer for the lock: --lock-wait SECONDS; {IDLE_ON_PURPOSE}",
    )


def find_lock_holder(conn: Connection[Any], schema: str) -> str | None:
    """Return a description of the session that holds the migration lock; ``None`` if nobody holds it."""
    return _find_holder(conn, _derive_key(schema))


def _find_holder(conn: Connection[Any], key: tuple[int, int]) -> str | None:
    holders = fetch_rows(
        conn,
        f"SELECT pid FROM pg_locks WHERE granted AND {_render_key_condition(key)} AND {_THIS_DATABASE_SQL}",
    )
    return describe_sessions(conn, [pid for (pid,) in holders]) if holders else None


def _announce_holder(conn: Connection[Any], key: tuple[int, int], left_s: float) -> None:
    if holder := _find_holder(conn, key):
        announce_wait(
            f"waiting up to {left_s:.0f} s for the migration lock, which another run holds: {holder}; "
            f"{IDLE_ON_PURPOSE}"
        )


def describe_sessions(conn: Connection[Any], pids: list[int]) -> str:
    """Return what a person needs to find the sessions: pid, user, program, host, state and age."""
    sessions = fetch_rows(
        conn,
        # In a transaction pg_stat_activity keeps the rows of its first read; clear them to see the present.
        "SELECT pg_stat_clear_snapshot();"
        "SELECT pid, usename, application_name, coalesce(host(client_addr), 'local socket'), state,"
        " round(extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start)))"
        f" FROM pg_stat_activity WHERE pid = ANY(ARRAY[{', '.join(map(str, pids))}]::int[]) ORDER BY pid",
    )
    return "; ".join(
        f"pid {pid} (user {user}, {program or 'no application_name'}, {host}, {state or 'state not visible'}"
        f"{'' if age is None else f', for {age} s'})"
        for pid, user, program, host, state, age in sessions
    ) or ", ".join(f"pid {pid}" for pid in pids)


def is_lock_held(lock: MigrationLock) -> bool:
    """Return True if the keeper's connection still answers and holds the lock."""
    try:
        return bool(fetch_rows(lock.conn, f"SELECT 1 FROM pg_locks WHERE {lock.render_condition()}"))
    except Error:
        return False
