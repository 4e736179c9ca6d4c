"""Clone the database on its server with CREATE DATABASE … TEMPLATE, and drop the clone again.

A comment marks the clone with its name and oid, and its name holds the session that made it. A rehearsal
drops only databases with such a mark: its own clone, and clones whose session has ended, which a killed
rehearsal has left behind. CREATE DATABASE cannot run in a transaction with the COMMENT, so until the
comment is set, a connection limit derived from the name marks the clone.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import evolve, field, frozen
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from confiture.config.settings import Settings
from confiture.exceptions import ConnectionFault, LockFault, RightsFault, UserFault
from confiture.ledger.migration_lock import describe_sessions
from confiture.postgres.connect import connect
from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.postgres.signals import hold_signals
from confiture.rehearsal.database_settings import copy_rights, copy_settings, read_settings
from confiture.sql.quote import quote_ident

_ELSEWHERE = "or rehearse on an embedded server: --in embedded"
_PREFIX = "confiture_clone_"
_NAME = re.compile(rf"{_PREFIX}(?P<pid>\d+)_(?P<started>\d+)_[0-9a-f]{{8}}")
_COMMENT = re.compile(r"clone of a database, made by confiture: (?P<name>\S+) (?P<oid>\d+)\b")
_ALONE_TIMEOUT_S = 2.0
_END_TIMEOUT_S = 5.0
_POLL_S = 0.02
_MOST_LISTED = 5


class CloneFault(UserFault):
    """The database could not be cloned."""


@frozen
class Clone:
    """A clone of a database.

    Attributes:
        name: The name of the clone.
        settings: The settings that connect to it.
        maintenance_conn: The connection that created it and drops it, to another database of the server.
        notes: What could not be copied.
    """

    name: str
    settings: Settings = field(repr=False)
    maintenance_conn: Connection[Any] = field(repr=False)
    notes: tuple[str, ...] = ()


@contextmanager
def clone_database(settings: Settings, source: str) -> Iterator[Clone]:
    """Clone the database ``source``, and drop the clone when the block ends.

    PostgreSQL copies a database only if no session is connected to it, ours included.

    Raises:
        LockFault: Another session is connected to it.
        RightsFault: The role may not clone it.
        CloneFault: The server cannot clone it.
    """
    maintenance = connect_for_maintenance(settings, source)
    try:
        sweep(maintenance)
        _wait_until_alone(maintenance, source)
        name = _make_name(maintenance)
        try:
            notes = _create(maintenance, source, name)
            yield Clone(name, _select_database(settings, name), maintenance, notes)
        finally:
            # A second Ctrl-C must not leave the clone behind.
            with hold_signals():
                _drop(settings, maintenance, source, name)
    finally:
        maintenance.close()


@contextmanager
def open_empty_database(settings: Settings, source: str) -> Iterator[Settings]:
    """Create an empty database beside ``source`` for the block; yield settings that connect to it.

    It is marked as a clone is, so that the next rehearsal drops what a killed command has left.

    Raises:
        RightsFault: The role may not create a database.
        CloneFault: The server cannot create it.
    """
    maintenance = connect_for_maintenance(settings, source)
    try:
        sweep(maintenance)
        name = _make_name(maintenance)
        try:
            with _explain_refusals(maintenance, source):
                create = f"CREATE DATABASE {quote_ident(name)} TEMPLATE template0"
                send(maintenance, f"{create}{_render_limit(name)}")
                copy_settings(maintenance, read_settings(maintenance, source), name)
                _mark(maintenance, name)
            yield _select_database(settings, name)
        finally:
            with hold_signals():
                _drop(settings, maintenance, source, name)
    finally:
        maintenance.close()


def connect_for_maintenance(settings: Settings, source: str) -> Connection[Any]:
    """Connect to another database of the same server: postgres, else template1.

    Raises:
        ConnectionFault: None accepts the connection.
    """
    # template1 last: CREATE DATABASE of another session fails while anybody is connected to it.
    for name in dict.fromkeys(("postgres", "template1")):
        if name == source:
            continue
        with contextlib.suppress(ConnectionFault):
            conn = connect(_select_database(settings, name), direct=True)
            _prepare(conn)
            return conn
    raise ConnectionFault(
        f"cannot clone {source!r}: that needs a connection to the database postgres or template1 of its "
        "server, and both refuse it",
        hint=f"let this role connect to one of them, {_ELSEWHERE}",
    )


def _prepare(conn: Connection[Any]) -> None:
    send(conn, "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0")
    with contextlib.suppress(psycopg.DatabaseError):
        # If this process is killed, the server notices and ends a long copy. Not every platform can do that.
        send(conn, "SET client_connection_check_interval = '1s'")


def _select_database(settings: Settings, database: str) -> Settings:
    known = conninfo_to_dict(settings.direct_url or settings.url or "")
    return evolve(settings, url=make_conninfo("", **{**known, "dbname": database}), direct_url=None)


def pin_server(settings: Settings, conn: Connection[Any]) -> Settings:
    """Return settings that connect to the server of ``conn``, even if the URL names several servers."""
    known = conninfo_to_dict(settings.direct_url or settings.url or "")
    if "," not in f"{known.get('host', '')}{known.get('hostaddr', '')}":
        return settings
    known.pop("hostaddr", None)
    pinned = {**known, "host": conn.info.host, "port": str(conn.info.port)}
    return evolve(settings, url=make_conninfo("", **pinned), direct_url=None)


def _make_name(conn: Connection[Any]) -> str:
    # A process id alone may be reused by a later session.
    ((pid, started),) = fetch_rows(
        conn,
        "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity"
        " WHERE pid = pg_backend_pid()",
    )
    return f"{_PREFIX}{pid}_{started}_{secrets.token_hex(4)}"


def _derive_limit(name: str) -> int:
    """Return the connection limit that marks a clone until it has its comment."""
    return 10_000 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:3])


def _wait_until_alone(conn: Connection[Any], source: str) -> None:
    """Wait until our own sessions have ended; refuse if another session stays connected."""
    # The server ends a session a moment after the client has closed it.
    deadline = time.monotonic() + _ALONE_TIMEOUT_S
    while others := _find_others(conn, source):
        if time.monotonic() > deadline:
            raise _build_not_alone_fault(conn, source, others)
        time.sleep(_POLL_S)


def _find_others(conn: Connection[Any], source: str) -> list[int]:
    # CREATE DATABASE itself ends the autovacuum workers of its template.
    found = fetch_rows(
        conn,
        f"SELECT pid FROM pg_stat_activity WHERE datname = {quote_literal(source)}"
        " AND backend_type IS DISTINCT FROM 'autovacuum worker' ORDER BY pid",
    )
    return [pid for (pid,) in found]


def _build_not_alone_fault(
    conn: Connection[Any], source: str, others: list[int], detail: str = ""
) -> LockFault:
    sessions = describe_sessions(conn, others[:_MOST_LISTED]) if others else detail
    more = f"; and {len(others) - _MOST_LISTED} more" if len(others) > _MOST_LISTED else ""
    how_many = {1: "1 other session is"}.get(len(others), f"{len(others) or 'other'} sessions are")
    return LockFault(
        f"database {source!r} cannot be cloned while others are connected to it; {how_many} connected: "
        f"{sessions}{more}",
        hint=f"run again when they have disconnected (confiture ends no session), {_ELSEWHERE}",
    )


def _create(conn: Connection[Any], source: str, name: str) -> tuple[str, ...]:
    settings = read_settings(conn, source)
    ((owner,),) = fetch_rows(
        conn,
        f"SELECT quote_ident(pg_get_userbyid(datdba)) FROM pg_database WHERE datname = "
        f"{quote_literal(source)}",
    )
    # Since PostgreSQL 15 the default is wal_log, which writes every page to the WAL. Copying files is three
    # times faster for a gigabyte. Older versions always copy files.
    how = " STRATEGY file_copy" if conn.info.server_version >= 150000 else ""
    with _explain_refusals(conn, source):
        send(
            conn,
            f"CREATE DATABASE {quote_ident(name)} TEMPLATE {quote_ident(source)}{how} OWNER {owner}"
            f"{_render_limit(name)}",
        )
        copy_rights(conn, source, name)
        refused = copy_settings(conn, settings, name)
        _mark(conn, name)
    return refused


def _render_limit(name: str) -> str:
    return f" CONNECTION LIMIT {_derive_limit(name)}"


@contextmanager
def _explain_refusals(conn: Connection[Any], source: str) -> Iterator[None]:
    try:
        yield
    except psycopg.DatabaseError as error:
        raise _explain_refusal(conn, source, error) from error


def _mark(conn: Connection[Any], name: str) -> None:
    ((oid,),) = fetch_rows(conn, f"SELECT oid::bigint FROM pg_database WHERE datname = {quote_literal(name)}")
    comment = f"clone of a database, made by confiture: {name} {oid}; dropped when its rehearsal ends"
    send(
        conn,
        f"COMMENT ON DATABASE {quote_ident(name)} IS {quote_literal(comment)};"
        f"ALTER DATABASE {quote_ident(name)} CONNECTION LIMIT -1",
    )


def _explain_refusal(conn: Connection[Any], source: str, error: psycopg.Error) -> UserFault:
    primary = error.diag.message_primary or str(error)
    if isinstance(error, psycopg.errors.ObjectInUse):
        return _build_not_alone_fault(
            conn, source, _find_others(conn, source), error.diag.message_detail or primary
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        user = conn.info.user
        return RightsFault(
            f"role {user!r} may not clone database {source!r}: {primary}",
            hint=f"ALTER ROLE {quote_ident(user)} CREATEDB (it must own the database too), {_ELSEWHERE}",
        )
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        hint = f"point --url at the primary, {_ELSEWHERE}"
        return RightsFault(f"the server is read-only: {primary}", hint=hint)
    return CloneFault(
        f"database {source!r} could not be cloned: {primary}", hint=f"remove the cause, {_ELSEWHERE}"
    )


def _drop(settings: Settings, conn: Connection[Any], source: str, name: str) -> None:
    """Drop the clone, on a new connection if ours cannot. If that fails, the next rehearsal drops it."""
    # After a signal in the middle of CREATE DATABASE the connection may be lost, or busy with it for ever.
    if conn.info.transaction_status == TransactionStatus.IDLE:
        with contextlib.suppress(psycopg.Error):
            drop_clone(conn, name)
            return
    conn.close()
    with (
        contextlib.suppress(psycopg.Error, UserFault),
        contextlib.closing(connect_for_maintenance(settings, source)) as again,
    ):
        _end_session(again, name)
        drop_clone(again, name)


def _end_session(conn: Connection[Any], name: str) -> None:
    """End the session that makes a clone: nobody else can drop it before it is made or given up."""
    send(
        conn,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_render_session_condition(name)}",
    )
    deadline = time.monotonic() + _END_TIMEOUT_S
    while _is_session_alive(conn, name) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def drop_clone(conn: Connection[Any], name: str) -> None:
    """Drop a clone, and end the sessions that are still connected to it."""
    with contextlib.suppress(psycopg.Error):
        send(
            conn,
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            f" WHERE database = {quote_literal(name)}",
        )
    send(conn, f"DROP DATABASE IF EXISTS {quote_ident(name)} WITH (FORCE)")


def sweep(conn: Connection[Any]) -> tuple[str, ...]:
    """Drop the clones whose session has ended; return their names."""
    dropped = []
    for name in find_left_behind(conn):
        with contextlib.suppress(psycopg.DatabaseError):
            drop_clone(conn, name)
            dropped.append(name)
    return tuple(dropped)


def find_left_behind(conn: Connection[Any]) -> tuple[str, ...]:
    """Return the clones whose session has ended."""
    found = fetch_rows(
        conn,
        "SELECT d.datname::text, d.oid::bigint, d.datconnlimit, shobj_description(d.oid, 'pg_database')"
        f" FROM pg_database d WHERE d.datname LIKE '{_PREFIX.replace('_', chr(92) + '_')}%'",
    )
    return tuple(
        name
        for name, oid, limit, comment in found
        if is_marked(name, oid, limit, comment) and not _is_session_alive(conn, name)
    )


def is_marked(name: str, oid: int, limit: int, comment: str | None) -> bool:
    """Return True if a comment or a connection limit marks the database as a clone."""
    if not _NAME.fullmatch(name):
        return False
    # Name and oid must match: a dump of a clone copies its comment to another database.
    mark = _COMMENT.match(comment or "")
    if mark:
        return mark["name"] == name and mark["oid"] == str(oid)
    return comment is None and limit == _derive_limit(name)


def _is_session_alive(conn: Connection[Any], name: str) -> bool:
    return bool(fetch_rows(conn, f"SELECT 1 FROM pg_stat_activity WHERE {_render_session_condition(name)}"))


def _render_session_condition(name: str) -> str:
    session = _NAME.fullmatch(name)
    assert session is not None
    # pg_stat_activity hides backend_start of other roles' sessions: then assume that the session lives.
    return (
        f"pid = {session['pid']} AND coalesce("
        f"(extract(epoch FROM backend_start) * 1000000)::bigint = {session['started']}, true)"
    )


IS_CLONE_SQL = f"d.datname LIKE '{_PREFIX.replace('_', chr(92) + '_')}%'"
"""The SQL condition on ``pg_database d`` that is true for clones."""
