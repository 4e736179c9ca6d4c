"""One run at a time: a second connection holds an advisory lock in a transaction of its own.

In a transaction, so that it holds through a pooler in transaction mode; READ COMMITTED and idle, so that
it keeps no snapshot and CREATE INDEX CONCURRENTLY need not wait for it.
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


@frozen
class MigrationLock:
    """The connection that holds the migration lock.

    Attributes:
        conn: In a read-only transaction that ends with the run.
        pid: Of its server process.
        key: The lock's, as ``pg_locks`` shows it: high and low half.
    """

    conn: Connection[Any]
    pid: int
    key: tuple[int, int]

    def render_condition(self) -> str:
        """Return the condition that finds the lock among ``pg_locks``, while it is held."""
        return f"granted AND pid = {self.pid} AND {_render_key_condition(self.key)}"


@contextmanager
def take_migration_lock(conn: Connection[Any], schema: str, wait_s: float) -> Iterator[MigrationLock]:
    """Hold the migration lock of this database and schema on ``conn``, which is closed afterwards.

    Raises:
        LockFault: Another run holds it until the deadline.
    """
    key = _derive_key(schema)
    try:
        yield MigrationLock(conn, _acquire(conn, key, wait_s), key)
    finally:
        conn.close()


def build_lock_lost_fault() -> LockFault:
    """The fault of a run whose keeper is gone."""
    return LockFault(
        "the migration lock was lost: the connection that held it is gone; rolled back",
        hint="run again; if this repeats, look for what ends idle connections (a proxy, a pooler)",
    )


def _derive_key(schema: str) -> tuple[int, int]:
    digest = hashlib.sha256(f"confiture:{schema}".encode()).digest()
    return int.from_bytes(digest[:4]), int.from_bytes(digest[4:8])


def _render_key_condition(key: tuple[int, int]) -> str:
    return f"locktype = 'advisory' AND classid = {key[0]} AND objid = {key[1]} AND objsubid = 1"


_THIS_DATABASE_SQL = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"


def _acquire(conn: Connection[Any], key: tuple[int, int], wait_s: float) -> int:
    signed = int.from_bytes(key[0].to_bytes(4) + key[1].to_bytes(4), signed=True)
    attempt = f"SELECT pg_try_advisory_xact_lock({signed}), pg_backend_pid()"
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; " + "".join(
        f"SET LOCAL {name} = 0; " for name in _list_timeouts(conn)
    )
    deadline = time.monotonic() + wait_s
    granted, pid = send(conn, begin + attempt)[-1][0]
    while not granted:
        if time.monotonic() >= deadline:
            raise _build_busy_fault(conn, key, wait_s)
        time.sleep(min(0.1 + random.random() / 5, max(0.0, deadline - time.monotonic())))
        granted, pid = fetch_rows(conn, attempt)[0]
    return int(pid)


def _list_timeouts(conn: Connection[Any]) -> tuple[str, ...]:
    each = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    return (*each, "transaction_timeout") if conn.info.server_version >= 170000 else each


def _build_busy_fault(conn: Connection[Any], key: tuple[int, int], wait_s: float) -> LockFault:
    holder = _find_holder(conn, key) or "a session that has just ended"
    return LockFault(
        f"another run holds the migration lock: {holder}; waited {wait_s:g} s",
        hint="wait for it to end, or give it longer: --lock-wait SECONDS",
    )


def find_lock_holder(conn: Connection[Any], schema: str) -> str | None:
    """Return who holds the migration lock of this database and schema, ``None`` where nobody does."""
    return _find_holder(conn, _derive_key(schema))


def _find_holder(conn: Connection[Any], key: tuple[int, int]) -> str | None:
    who = fetch_rows(
        conn,
        f"SELECT pid FROM pg_locks WHERE granted AND {_render_key_condition(key)} AND {_THIS_DATABASE_SQL}",
    )
    return describe_sessions(conn, [pid for (pid,) in who]) if who else None


def describe_sessions(conn: Connection[Any], pids: list[int]) -> str:
    """Return what a person needs to find the sessions: pid, user, program, host, since when, doing what."""
    each = fetch_rows(
        conn,
        # Within a transaction the activity is a snapshot, taken at the first look.
        "SELECT pg_stat_clear_snapshot();"
        "SELECT pid, usename, application_name, coalesce(host(client_addr), 'local socket'), state,"
        " round(extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start)))"
        f" FROM pg_stat_activity WHERE pid = ANY(ARRAY[{', '.join(map(str, pids))}]::int[]) ORDER BY pid",
    )
    return "; ".join(
        f"pid {pid} (user {user}, {program or 'no application_name'}, {host}, {state or 'state not visible'}"
        f"{'' if age is None else f', for {age} s'})"
        for pid, user, program, host, state, age in each
    ) or ", ".join(f"pid {pid}" for pid in pids)


def is_lock_held(lock: MigrationLock) -> bool:
    """Whether the keeper's own connection still answers."""
    try:
        return bool(fetch_rows(lock.conn, f"SELECT 1 FROM pg_locks WHERE {lock.render_condition()}"))
    except Error:
        return False
