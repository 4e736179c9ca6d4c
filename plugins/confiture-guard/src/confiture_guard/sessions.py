"""Ask the server whether it is a replica, what time it is, and which sessions hold locks."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen
from psycopg import Connection, Cursor, errors
from psycopg.rows import tuple_row

from confiture_guard.settings import GuardSettings

_QUERY_CHARACTERS = 80

# A name without a table is left out: on a new database a later migration creates the table.
# PostgreSQL hides the details of other roles' sessions: these have no age, and are returned with NULL.
# A prepared transaction's locks have no pid; the lock on its own transaction id says whose they are.
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
class LockHolder:
    """A session, or a prepared transaction, that holds a lock on a watched table.

    Attributes:
        table: As it was configured.
        mode: PostgreSQL's name of the lock.
        pid: Its server process; ``None`` for a prepared transaction.
        user: Its role.
        program: Its application_name.
        state: ``"idle in transaction"``; ``None`` if our role may not see it.
        query: What it runs, or ran last.
        gid: The name of the prepared transaction.
        age: How long its transaction has been open; ``None`` if our role may not see it.
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
        """Return everything a person needs to find it."""
        age = f"open for {_format_age(self.age)}" if self.age is not None else "for an unknown time"
        held = f"holds {self.mode} on {self.table}, {age}"
        if self.gid is not None:
            return f"prepared transaction {self.gid!r} (user {self.user}) {held}"
        program = self.program or "no application_name"
        return f"pid {self.pid} (user {self.user}, {program}) {held}{self._format_activity()}"

    def _format_activity(self) -> str:
        if self.state is None:
            return ""
        query = " ".join((self.query or "").split())
        # The message ends in logs; a statement such as CREATE ROLE … PASSWORD '…' must not.
        if re.search("password", query, re.IGNORECASE):
            query = "a statement with a password"
        if len(query) > _QUERY_CHARACTERS:
            query = query[:_QUERY_CHARACTERS] + "…"
        return f"; {self.state}: {query}" if query else f"; {self.state}"


def is_replica(conn: Connection[Any]) -> bool:
    """Return whether the server is in recovery."""
    return bool(_fetch(conn, "SELECT pg_is_in_recovery()")[0][0])


def read_clock(conn: Connection[Any], settings: GuardSettings) -> datetime:
    """Return the server's time in the configured time zone.

    Raises:
        PluginSettingsFault: The server does not know the time zone.
    """
    # As text: how a timestamp looks on the wire depends on the session's DateStyle.
    clock = "to_char(clock_timestamp() AT TIME ZONE %(timezone)s, 'YYYY-MM-DD\"T\"HH24:MI:SS')"
    try:
        ((now,),) = _fetch(conn, f"SELECT {clock}", timezone=settings.timezone)
    except errors.InvalidParameterValue as error:
        raise settings.table.refuse(
            "timezone",
            f"is {settings.timezone!r}, which the server does not know",
            hint='choose one of SELECT name FROM pg_timezone_names, such as "Europe/Paris"',
        ) from error
    return datetime.fromisoformat(now)


def find_holders(conn: Connection[Any], settings: GuardSettings) -> tuple[LockHolder, ...]:
    """Return the others that hold a lock on a busy table in a transaction older than ``busy_after``.

    Raises:
        PluginSettingsFault: PostgreSQL cannot read a name or the interval.
    """
    # Within a transaction pg_stat_activity is a snapshot, taken at its first use. Without this the second
    # migration of a rehearsal would see the sessions of the first.
    _fetch(conn, "SELECT pg_stat_clear_snapshot()")
    tables, after = settings.busy_tables, settings.busy_after
    try:
        rows = _fetch(conn, _HOLDERS, tables=list(tables), after=after, modes=list(_MODES))
    except (errors.InvalidDatetimeFormat, errors.DatetimeFieldOverflow) as error:
        hint = 'write a time as PostgreSQL does: busy_after = "1min"'
        raise settings.table.refuse("busy_after", f"is {after!r}, which is no time", hint=hint) from error
    except (errors.InvalidName, errors.SyntaxError, errors.FeatureNotSupported) as error:
        reason = f"has a name that PostgreSQL cannot read: {error.diag.message_primary}"
        hint = "quote names as PostgreSQL does: 'sales.\"Daily Totals\"'"
        raise settings.table.refuse("busy_tables", reason, hint=hint) from error
    return tuple(LockHolder(*row) for row in rows)


def find_missing(conn: Connection[Any], tables: tuple[str, ...]) -> list[str]:
    """Return the names for which there is no table, so that nobody can hold a lock on it."""
    query = "SELECT name FROM unnest(%(tables)s::text[]) AS name WHERE to_regclass(name) IS NULL"
    return [name for (name,) in _fetch(conn, query, tables=list(tables))]


def _fetch(conn: Connection[Any], query: str, **values: Any) -> list[tuple[Any, ...]]:
    # The application may have set another row or cursor factory on its connection.
    with Cursor(conn, row_factory=tuple_row) as cursor:
        return cursor.execute(query.encode(), values or None).fetchall()


def _format_age(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
