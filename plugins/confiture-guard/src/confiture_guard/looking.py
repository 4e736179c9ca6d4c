"""Ask the server what it is, what time it is, and who is in the way."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen
from psycopg import Connection, Cursor, errors
from psycopg.rows import tuple_row

from confiture_guard.rules import misconfigured

_QUERY_CHARACTERS = 80

# A name that means no table yet is no lock either: on a new database it comes with a later migration.
# Sessions of roles whose details are hidden from us have no age: they are returned, with NULL.
# A prepared transaction's locks have no pid; the lock on its own transaction id tells whose they are.
_HOLDERS = """
    WITH named AS (
        SELECT name, to_regclass(name)::oid AS oid FROM unnest(%(tables)s::text[]) AS name
    ), watched AS (
        SELECT name, oid FROM named WHERE oid IS NOT NULL
        UNION SELECT name, relid::oid FROM named, pg_partition_tree(oid)
    ), locks AS MATERIALIZED (
        SELECT * FROM pg_locks WHERE granted AND pid IS DISTINCT FROM pg_backend_pid()
    ), prepared AS (
        SELECT x.virtualtransaction, p.gid, p.owner, p.prepared
        FROM pg_prepared_xacts p JOIN locks x ON x.transactionid = p.transaction
        WHERE x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.pid IS NULL
    ), holders AS (
        SELECT w.name, l.mode, l.pid, coalesce(a.usename, p.owner)::text AS who,
            a.application_name AS program, a.state, a.query, p.gid,
            statement_timestamp() - coalesce(a.xact_start, p.prepared) AS age
        FROM locks l JOIN watched w ON w.oid = l.relation
        LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        LEFT JOIN prepared p ON l.pid IS NULL AND p.virtualtransaction = l.virtualtransaction
        WHERE l.locktype = 'relation'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (p.gid IS NOT NULL OR a.usesysid IS NOT NULL
                AND coalesce(a.backend_type, 'client backend') = 'client backend')
    )
    SELECT DISTINCT ON (age, pid, gid) name, mode, pid, who, program, state, query, gid, age FROM holders
    WHERE age IS NULL OR age > %(after)s::interval
    ORDER BY age DESC NULLS LAST, pid, gid, array_position(%(modes)s::text[], mode) DESC, name
"""
_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)


@frozen
class Holder:
    """A session, or a prepared transaction, that holds a lock on a watched table.

    Attributes:
        table: As it was configured.
        mode: PostgreSQL's name of the lock.
        pid: Of its server process; ``None`` for a prepared transaction.
        user: Whose it is.
        program: Its application_name.
        state: ``"idle in transaction"``; ``None`` where that is hidden from us.
        query: What it runs, or ran last.
        gid: The name of the prepared transaction.
        age: How long its transaction has been open; ``None`` where that is hidden from us.
    """

    table: str
    mode: str
    pid: int | None
    user: str | None
    program: str | None
    state: str | None
    query: str | None
    gid: str | None
    age: timedelta | None

    def __str__(self) -> str:
        """Everything a person needs to find it."""
        since = f"open for {_span(self.age)}" if self.age is not None else "for how long is hidden from us"
        held = f"holds {self.mode} on {self.table}, {since}"
        if self.gid is not None:
            return f"prepared transaction {self.gid!r} (user {self.user}) {held}"
        program = self.program or "no application_name"
        return f"pid {self.pid} (user {self.user}, {program}) {held}{self._doing()}"

    def _doing(self) -> str:
        if self.state is None:
            return ""
        query = " ".join((self.query or "").split())
        if re.search("password", query, re.IGNORECASE):
            query = "a statement with a password"
        if len(query) > _QUERY_CHARACTERS:
            query = query[:_QUERY_CHARACTERS] + "…"
        return f"; {self.state}: {query}" if query else f"; {self.state}"


def is_replica(conn: Connection[Any]) -> bool:
    """Whether the server is in recovery."""
    return bool(_rows(conn, "SELECT pg_is_in_recovery()")[0][0])


def wall_clock(conn: Connection[Any], timezone: str) -> datetime:
    """Return the server's time, by the clock on the wall there.

    Raises:
        Misconfigured: The server does not know the time zone.
    """
    try:
        # As text: what a timestamp looks like on the wire is a setting of the session's.
        asked = "to_char(clock_timestamp() AT TIME ZONE %(timezone)s, 'YYYY-MM-DD\"T\"HH24:MI:SS')"
        ((now,),) = _rows(conn, f"SELECT {asked}", timezone=timezone)
    except errors.InvalidParameterValue as error:
        expected = 'one that the server knows (SELECT name FROM pg_timezone_names), "Europe/Paris"'
        raise misconfigured("timezone", repr(timezone), expected) from error
    return datetime.fromisoformat(now)


def holders(conn: Connection[Any], tables: tuple[str, ...], after: str) -> tuple[Holder, ...]:
    """Return the others that hold a lock on one of ``tables`` in a transaction older than ``after``.

    Raises:
        Misconfigured: A name or the interval is not one to PostgreSQL.
    """
    # Within a transaction the activity is a snapshot, taken at the first look.
    _rows(conn, "SELECT pg_stat_clear_snapshot()")
    try:
        found = _rows(conn, _HOLDERS, tables=list(tables), after=after, modes=list(_MODES))
    except (errors.InvalidDatetimeFormat, errors.DatetimeFieldOverflow) as error:
        raise misconfigured("busy_after", repr(after), 'a time as PostgreSQL writes it, "1min"') from error
    except (errors.InvalidName, errors.SyntaxError, errors.FeatureNotSupported) as error:
        expected = "names as PostgreSQL reads them, quoted where it would"
        raise misconfigured("busy_tables", repr(list(tables)), expected) from error
    return tuple(Holder(*row) for row in found)


def missing(conn: Connection[Any], tables: tuple[str, ...]) -> list[str]:
    """Return the names that mean no table: a lock on them is nobody's."""
    asked = "SELECT name FROM unnest(%(tables)s::text[]) AS name WHERE to_regclass(name) IS NULL"
    return [name for (name,) in _rows(conn, asked, tables=list(tables))]


def _rows(conn: Connection[Any], query: str, **values: Any) -> list[tuple[Any, ...]]:
    # Whatever rows or cursors the connection makes for the application, ours are plain.
    with Cursor(conn, row_factory=tuple_row) as cursor:
        return cursor.execute(query.encode(), values or None).fetchall()


def _span(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
