"""A copy of the database on its own server, made by CREATE DATABASE … TEMPLATE and dropped again.

A clone says what it is: a comment names it, its oid and the session that made it. By that comment
alone it is dropped, also by the next rehearsal once that session is gone. Between its creation and its
comment a clone is told by a connection limit made from its name, which the comment then lifts.
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

from confiture.config.settings import Settings
from confiture.exceptions import ConnectionFault, LockFault, RightsFault, UserFault
from confiture.ledger.migration_lock import describe_sessions
from confiture.postgres.connect import connect
from confiture.postgres.session import fetch_rows, quote_literal, send
from confiture.postgres.signals import hold_signals
from confiture.rehearsal.database_settings import copy_rights, copy_settings, read_settings
from confiture.sql.quote import quote_ident

ELSEWHERE = "or rehearse in a copy of its schema on a server of our own: --in embedded"
_PREFIX = "confiture_clone_"
_NAME = re.compile(rf"{_PREFIX}(?P<pid>\d+)_(?P<started>\d+)_[0-9a-f]{{8}}")
_COMMENT = re.compile(r"clone of a database, made by confiture: (?P<name>\S+) (?P<oid>\d+)\b")
_ALONE_TIMEOUT_S = 2.0
_POLL_S = 0.02
_MOST_LISTED = 5


class CloneFault(UserFault):
    """The clone could not be made."""


@frozen
class Clone:
    """A copy of a database.

    Attributes:
        name: Of the copy.
        settings: Lead to it.
        maintenance_conn: The session that made it, and drops it.
        notes: What is not as in the database itself.
    """

    name: str
    settings: Settings = field(repr=False)
    maintenance_conn: Connection[Any] = field(repr=False)
    notes: tuple[str, ...] = ()


@contextmanager
def clone_database(settings: Settings, source: str) -> Iterator[Clone]:
    """Copy the database ``source``, which nobody may be connected to, and drop the copy at the end.

    Raises:
        LockFault: Somebody is connected to it.
        RightsFault: The role may not.
        CloneFault: The server cannot.
    """
    keeper = connect_for_maintenance(settings, source)
    try:
        sweep(keeper)
        _wait_until_alone(keeper, source)
        name = _make_name(keeper)
        try:
            notes = _create(keeper, source, name)
            yield Clone(name, _select_database(settings, name), keeper, notes)
        finally:
            with hold_signals():
                _drop(settings, keeper, source, name)
    finally:
        keeper.close()


def connect_for_maintenance(settings: Settings, source: str) -> Connection[Any]:
    """Connect to another database of the same server.

    Raises:
        ConnectionFault: There is none that lets us in.
    """
    # Last of all template1: whoever makes a database meanwhile needs it to himself.
    for name in dict.fromkeys(("postgres", "template1")):
        if name == source:
            continue
        with contextlib.suppress(ConnectionFault):
            conn = connect(_select_database(settings, name), direct=True)
            _prepare(conn)
            return conn
    raise ConnectionFault(
        f"a clone of {source!r} is made from another database of its server, and neither postgres nor "
        "template1 lets us in",
        hint=f"have the role let in there, {ELSEWHERE}",
    )


def _prepare(conn: Connection[Any]) -> None:
    send(conn, "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0")
    with contextlib.suppress(psycopg.DatabaseError):
        # A copy that takes long ends with us; not every platform can tell.
        send(conn, "SET client_connection_check_interval = '1s'")


def _select_database(settings: Settings, database: str) -> Settings:
    known = conninfo_to_dict(settings.direct_url or settings.url or "")
    return evolve(settings, url=make_conninfo("", **{**known, "dbname": database}), direct_url=None)


def pin_server(settings: Settings, conn: Connection[Any]) -> Settings:
    """Return settings that lead to the very server of a connection, where a URL names several."""
    known = conninfo_to_dict(settings.direct_url or settings.url or "")
    if "," not in f"{known.get('host', '')}{known.get('hostaddr', '')}":
        return settings
    known.pop("hostaddr", None)
    one = {**known, "host": conn.info.host, "port": str(conn.info.port)}
    return evolve(settings, url=make_conninfo("", **one), direct_url=None)


def _make_name(conn: Connection[Any]) -> str:
    ((pid, started),) = fetch_rows(
        conn,
        "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity"
        " WHERE pid = pg_backend_pid()",
    )
    return f"{_PREFIX}{pid}_{started}_{secrets.token_hex(4)}"


def _derive_limit(name: str) -> int:
    """Return the connection limit that tells a clone which has no comment yet."""
    return 10_000 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:3])


def _wait_until_alone(conn: Connection[Any], source: str) -> None:
    """Wait a moment until our own connections are gone; refuse where somebody else stays."""
    deadline = time.monotonic() + _ALONE_TIMEOUT_S
    while others := _find_others(conn, source):
        if time.monotonic() > deadline:
            raise _build_not_alone_fault(conn, source, others)
        time.sleep(_POLL_S)


def _find_others(conn: Connection[Any], source: str) -> list[int]:
    found = fetch_rows(
        conn,
        f"SELECT pid FROM pg_stat_activity WHERE datname = {quote_literal(source)}"
        " AND backend_type IS DISTINCT FROM 'autovacuum worker' ORDER BY pid",
    )
    return [pid for (pid,) in found]


def _build_not_alone_fault(
    conn: Connection[Any], source: str, others: list[int], detail: str = ""
) -> LockFault:
    who = describe_sessions(conn, others[:_MOST_LISTED]) if others else detail
    more = f"; and {len(others) - _MOST_LISTED} more" if len(others) > _MOST_LISTED else ""
    how_many = {1: "1 other session is"}.get(len(others), f"{len(others) or 'other'} sessions are")
    return LockFault(
        f"a clone needs database {source!r} to itself while it is copied, and {how_many} connected: "
        f"{who}{more}",
        hint=f"no session is ended for it: run again when they have left, {ELSEWHERE}",
    )


def _create(conn: Connection[Any], source: str, name: str) -> tuple[str, ...]:
    settings = read_settings(conn, source)
    ((owner,),) = fetch_rows(
        conn,
        f"SELECT quote_ident(pg_get_userbyid(datdba)) FROM pg_database WHERE datname = "
        f"{quote_literal(source)}",
    )
    # Copying files is three times faster for a gigabyte than writing it through the log.
    how = " STRATEGY file_copy" if conn.info.server_version >= 150000 else ""
    try:
        send(
            conn,
            f"CREATE DATABASE {quote_ident(name)} TEMPLATE {quote_ident(source)}{how} OWNER {owner}"
            f" CONNECTION LIMIT {_derive_limit(name)}",
        )
        copy_rights(conn, source, name)
        refused = copy_settings(conn, settings, name)
        _mark(conn, name)
    except psycopg.DatabaseError as error:
        raise _explain_refusal(conn, source, error) from error
    return refused


def _mark(conn: Connection[Any], name: str) -> None:
    ((oid,),) = fetch_rows(conn, f"SELECT oid::bigint FROM pg_database WHERE datname = {quote_literal(name)}")
    comment = f"clone of a database, made by confiture: {name} {oid}; dropped when its rehearsal ends"
    send(
        conn,
        f"COMMENT ON DATABASE {quote_ident(name)} IS {quote_literal(comment)};"
        f"ALTER DATABASE {quote_ident(name)} CONNECTION LIMIT -1",
    )


def _explain_refusal(conn: Connection[Any], source: str, error: psycopg.Error) -> UserFault:
    said = error.diag.message_primary or str(error)
    if isinstance(error, psycopg.errors.ObjectInUse):
        return _build_not_alone_fault(
            conn, source, _find_others(conn, source), error.diag.message_detail or said
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        user = conn.info.user
        return RightsFault(
            f"role {user!r} may not clone database {source!r}: {said}",
            hint=f"ALTER ROLE {quote_ident(user)} CREATEDB, which must own the database too, {ELSEWHERE}",
        )
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        hint = f"point --url at the primary, {ELSEWHERE}"
        return RightsFault(f"the server is read-only: {said}", hint=hint)
    return CloneFault(f"database {source!r} could not be cloned: {said}", hint=f"mend that, {ELSEWHERE}")


def _drop(settings: Settings, conn: Connection[Any], source: str, name: str) -> None:
    """Drop the clone, on a new connection where ours is gone; what stays the next rehearsal drops."""
    with contextlib.suppress(psycopg.Error, UserFault):
        if not conn.closed and not conn.broken:
            drop_clone(conn, name)
            return
        with connect_for_maintenance(settings, source) as again:
            drop_clone(again, name)


def drop_clone(conn: Connection[Any], name: str) -> None:
    """Drop a clone of ours, and whoever is still connected to it."""
    with contextlib.suppress(psycopg.Error):
        send(
            conn,
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            f" WHERE database = {quote_literal(name)}",
        )
    send(conn, f"DROP DATABASE IF EXISTS {quote_ident(name)} WITH (FORCE)")


def sweep(conn: Connection[Any]) -> tuple[str, ...]:
    """Drop the clones whose session is gone; return their names."""
    dropped = []
    for name in find_left_behind(conn):
        with contextlib.suppress(psycopg.DatabaseError):
            drop_clone(conn, name)
            dropped.append(name)
    return tuple(dropped)


def find_left_behind(conn: Connection[Any]) -> tuple[str, ...]:
    """Return the clones whose session is gone, told by their comment alone."""
    found = fetch_rows(
        conn,
        "SELECT d.datname::text, d.oid::bigint, d.datconnlimit, shobj_description(d.oid, 'pg_database')"
        f" FROM pg_database d WHERE d.datname LIKE '{_PREFIX.replace('_', chr(92) + '_')}%'",
    )
    return tuple(
        name
        for name, oid, limit, comment in found
        if is_marked(name, oid, limit, comment) and not _session_lives(conn, name)
    )


def is_marked(name: str, oid: int, limit: int, comment: str | None) -> bool:
    """Whether a database says of itself that it is a clone of ours."""
    if not _NAME.fullmatch(name):
        return False
    said = _COMMENT.match(comment or "")
    if said:
        return said["name"] == name and said["oid"] == str(oid)
    return comment is None and limit == _derive_limit(name)


def _session_lives(conn: Connection[Any], name: str) -> bool:
    made = _NAME.fullmatch(name)
    assert made is not None
    # When a session of another role began is not shown to everybody: then it may be the one.
    return bool(
        fetch_rows(
            conn,
            f"SELECT 1 FROM pg_stat_activity WHERE pid = {made['pid']} AND coalesce("
            f"(extract(epoch FROM backend_start) * 1000000)::bigint = {made['started']}, true)",
        )
    )


IS_CLONE_SQL = f"d.datname LIKE '{_PREFIX.replace('_', chr(92) + '_')}%'"
"""The condition that finds clones among ``pg_database d``."""
