"""Decide whose connection and whose transaction it is, and restore a caller's connection.

*Ours*: confiture opened the connection and may reset everything on it. *The caller's*: an application
passed it in; its settings, cursors and temporary tables are restored one by one, its prepared statements,
advisory locks and channels stay, and a transaction that it began is left for it to end. *Lost*: the
connection is closed, broken or in the middle of a command.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define, field, frozen
from psycopg import Connection, Cursor
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import tuple_row

from confiture.postgres.open_copy import end_copy
from confiture.postgres.signals import hold_signals
from confiture.sql.quote import quote_ident

Row = tuple[Any, ...]

KEPT_PLAN = "confiture_reading"
"""A prepared statement of ours that stays from one migration to the next."""

# Restore in this order: the session user decides which roles may be set, and setting it resets the role.
_IDENTITY = ("session_authorization", "role")


def send(conn: Connection[Any], message: str) -> list[list[Row]]:
    """Send statements in one message, and return the rows of each statement that returns rows.

    Takes one round trip, and ignores the connection's row factory and cursor class.
    """
    # Without parameters psycopg uses the simple query protocol, which accepts several statements.
    with Cursor(conn, row_factory=tuple_row) as cursor:
        cursor.execute(message.encode(), prepare=False)
        return fetch_results(cursor)


def fetch_results(cursor: Cursor[Any]) -> list[list[Row]]:
    """Return the rows of each statement of an executed message that returns rows."""
    # Not `if description`: for that, psycopg makes an object of each column.
    return [
        result.fetchall()
        for result in cursor.results()
        if result.pgresult and result.pgresult.status == ExecStatus.TUPLES_OK
    ]


def fetch_rows(conn: Connection[Any], message: str) -> list[Row]:
    """Send one query and return its rows."""
    return send(conn, message)[-1]


def quote_literal(value: str) -> str:
    """Quote a string as an SQL literal.

    A string with a backslash becomes ``E''``, which does not depend on standard_conforming_strings.
    """
    quoted = "'" + value.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


@define
class CallerState:
    """The state of a caller's connection before a migration."""

    settings: dict[str, str]
    identity: dict[str, str]
    temporary: tuple[int, ...]
    cursors: frozenset[str]
    leftovers: Leftovers


@frozen
class Leftovers:
    """State of a session that a rollback does not undo.

    Attributes:
        prepared: The names of prepared statements; those of the driver are left out.
        locks: The advisory locks: classid, objid, objsubid and mode.
        channels: The channels listened to.
    """

    prepared: frozenset[str]
    locks: frozenset[Row]
    channels: frozenset[str]

    @classmethod
    def read(cls, conn: Connection[Any]) -> Leftovers:
        """Read it from the server."""
        prepared, locks, channels = send(conn, _LEFTOVERS_SQL)
        return cls(
            frozenset(name for (name,) in prepared), frozenset(locks), frozenset(name for (name,) in channels)
        )

    def render_release_sql(self, before: Leftovers) -> str:
        """Return SQL that removes what was not there ``before``."""
        statements = [render_deallocate_sql(sorted(self.prepared - before.prepared))]
        statements += [_render_unlock_sql(lock) for lock in sorted(self.locks - before.locks)]
        statements += [f"UNLISTEN {quote_ident(name)};" for name in sorted(self.channels - before.channels)]
        return " ".join(filter(None, statements))


@define
class Session:
    """A connection on which migrations run.

    Attributes:
        conn: The psycopg connection.
        owned: True if confiture opened it.
        nested: True if the caller had already begun a transaction.
        commit_unanswered: True if the connection was lost before the server had answered a COMMIT.
    """

    conn: Connection[Any]
    owned: bool
    nested: bool = False
    commit_unanswered: bool = False
    _deferred: str = field(default="", init=False)
    _before: CallerState | None = field(default=None, init=False)

    @classmethod
    def adopt(cls, conn: Connection[Any]) -> Session:
        """Return the session of a connection that an application passes in."""
        return cls(conn, owned=False, nested=conn.info.transaction_status != TransactionStatus.IDLE)

    @property
    def lost(self) -> bool:
        """True if nothing more can be sent."""
        return self.conn.closed or self.conn.info.transaction_status in (
            TransactionStatus.UNKNOWN,
            TransactionStatus.ACTIVE,
        )

    @contextmanager
    def transaction(
        self,
        *,
        keep: bool = True,
        before_commit: Callable[[], None] | None = None,
        after_commit: Callable[[], None] | None = None,
    ) -> Iterator[None]:
        """Run the block in a transaction, or in a savepoint if one is open; without ``keep``, roll it back.

        Calls ``before_commit`` just before the commit, which it prevents by raising. Holds back signals until
        the commit has been answered and ``after_commit`` has run.
        """
        commits = keep and self.conn.info.transaction_status == TransactionStatus.IDLE
        self._send_deferred()
        block = self.conn.transaction(force_rollback=not keep)
        ending = False
        try:
            # The try covers begin and end, because a signal may come between any two steps: a transaction
            # that stayed open would be committed with the next one.
            block.__enter__()
            yield
            if before_commit:
                before_commit()
            # Interrupting a COMMIT leaves nobody knowing whether it happened.
            with hold_signals(self.conn):
                ending = True
                try:
                    block.__exit__(None, None, None)
                except psycopg.OperationalError:
                    self.commit_unanswered = commits and self.lost
                    raise
                if after_commit:
                    after_commit()
        except BaseException as error:
            if ending:
                raise
            # With a COPY left open, ROLLBACK would wait forever. A failed rollback must not hide the error.
            end_copy(self.conn)
            with contextlib.suppress(psycopg.Error):
                block.__exit__(type(error), error, error.__traceback__)
            raise

    def defer(self, sql: str) -> None:
        """Send this with the next migration's first message, if the transaction has not ended by then.

        For the end of a migration that has changed no setting and left no cursor, lock or temporary table.
        """
        self._deferred = sql

    def _take_deferred(self) -> str:
        sql, self._deferred = self._deferred, ""
        return sql if self.conn.info.transaction_status == TransactionStatus.INTRANS else ""

    def _send_deferred(self) -> None:
        if sql := self._take_deferred():
            send(self.conn, sql)

    @contextmanager
    def keep_idle(self) -> Iterator[None]:
        """Turn autocommit on for the block, so that no statement opens a transaction implicitly."""
        before = self.conn.autocommit
        if not self.nested:
            self.conn.autocommit = True
        try:
            yield
        finally:
            if not (self.nested or self.lost):
                self.conn.autocommit = before

    def remember(self) -> None:
        """Record the state of a caller's connection, once, before a migration."""
        if self.owned:
            return
        settings, identity, temporary, cursors = send(self.conn, _STATE_SQL)
        self._before = CallerState(
            settings=dict(settings),
            identity=dict(zip(_IDENTITY, identity[0], strict=True)),
            temporary=tuple(oid for oid, _, _ in temporary),
            cursors=frozenset(name for (name,) in cursors),
            leftovers=Leftovers.read(self.conn),
        )

    def get_caller_settings(self) -> dict[str, str]:
        """Return the settings to restore between migrations in a caller's transaction; else nothing.

        On a caller's idle connection, a migration's settings stay in the session until ``restore``.
        """
        if self._before is None or not self.nested:
            return {}
        return dict(self._before.settings)

    def render_reset_sql(self) -> str:
        """Return SQL that removes what a migration left on a connection of ours; empty for a caller's."""
        if not self.owned:
            return ""
        # Not DISCARD ALL: it cannot run inside a transaction block, nor in a message with other statements.
        # UNLISTEN in the transaction of LISTEN: neither takes effect before the commit. Prepared statements,
        # advisory locks and sequences' values outlast a rollback, so the next migration begins without them.
        return "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP; UNLISTEN *;"

    def begin_migration(self, settings: str, query: str = "", savepoint: str = "") -> list[list[Row]]:
        """Begin a migration in the state of a new session, and return its settings and the query's answers.

        Takes one round trip, and one more if an earlier migration has left prepared statements.

        Args:
            settings: SELECT items that set and return settings.
            query: Queries to send with it.
            savepoint: SQL to send before.
        """
        if not self.owned:
            return send(self.conn, f"{savepoint} SELECT {settings}; {query}")
        if deferred := self._take_deferred():
            # The migration before it has left nothing but the last values of sequences.
            return send(self.conn, f"{deferred} {savepoint} DISCARD SEQUENCES; SELECT {settings}; {query}")
        # Not DEALLOCATE ALL: behind a pooler the driver's statements of other clients are in this session.
        first, *answers = send(
            self.conn,
            f"{savepoint} DISCARD SEQUENCES; SELECT pg_advisory_unlock_all(),"
            " ARRAY(SELECT name FROM pg_catalog.pg_prepared_statements"
            f" WHERE from_sql AND name <> '{KEPT_PLAN}'), {settings}; {query}",
        )
        ((_, prepared, *values),) = first
        if prepared:
            send(self.conn, render_deallocate_sql(prepared))
        return [[tuple(values)], *answers]

    def release_leftovers(self) -> None:
        """Release what a migration has left on a caller's connection and a rollback does not undo.

        In a caller's transaction a LISTEN takes effect only with its commit, and stays.
        """
        usable = (TransactionStatus.IDLE, TransactionStatus.INTRANS)
        if self._before is None or self.conn.closed or self.conn.info.transaction_status not in usable:
            return
        with self.conn.transaction():
            if release := Leftovers.read(self.conn).render_release_sql(self._before.leftovers):
                send(self.conn, release)

    def restore(self, local: Mapping[str, str] | None = None) -> None:
        """Restore a caller's settings, and drop new temporary tables and cursors.

        ``local`` are the settings that confiture made with SET LOCAL. One that still has that value is
        restored with SET LOCAL too, so that the caller's session value applies again after its commit.
        """
        if self._before is None or self.lost:
            return
        settings, identity, temporary, cursors = send(self.conn, _STATE_SQL)
        message = [f"CLOSE {quote_ident(name)};" for (name,) in cursors if name not in self._before.cursors]
        message += [
            f"DROP {what} IF EXISTS pg_temp.{quote_ident(name)} CASCADE;"
            for oid, name, what in temporary
            if oid not in self._before.temporary
        ]
        message += self._render_identity_sql(dict(zip(_IDENTITY, identity[0], strict=True)))
        message += self._render_settings_sql(dict(settings), local or {})
        if message:
            send(self.conn, " ".join(message))

    def _render_identity_sql(self, now: dict[str, str]) -> list[str]:
        assert self._before is not None
        before = self._before.identity
        # SET SESSION AUTHORIZATION resets the role, so send both if either differs.
        return (
            [_render_set_config(name, before[name], local=False) for name in _IDENTITY]
            if now != before
            else []
        )

    def _render_settings_sql(self, now: dict[str, str], local: Mapping[str, str]) -> list[str]:
        assert self._before is not None
        return [
            _render_set_config(name, value, local=self.nested and local.get(name) == now.get(name))
            for name, value in self._before.settings.items()
            if now.get(name, value) != value
        ]


_STATE_SQL = """
    SELECT name, current_setting(name) FROM pg_settings
    WHERE context IN ('user', 'superuser') AND name NOT IN ('transaction_isolation',
        'transaction_read_only', 'transaction_deferrable', 'seed', 'is_superuser');
    SELECT current_setting('session_authorization'), current_setting('role');
    SELECT oid::bigint, relname::text,
        CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END
    FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND pg_my_temp_schema() <> 0
        AND relkind IN ('r', 'p', 'v', 'S', 'f');
    SELECT name FROM pg_cursors WHERE name <> ''
"""

_LEFTOVERS_SQL = """
    SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql;
    SELECT classid::bigint, objid::bigint, objsubid::int, mode FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid();
    SELECT pg_listening_channels()
"""


def render_deallocate_sql(names: Iterable[str]) -> str:
    """Return SQL that drops prepared statements."""
    return " ".join(f"DEALLOCATE {quote_ident(name)};" for name in names)


def _render_unlock_sql(lock: Row) -> str:
    """Return SQL that releases an advisory lock of the session, as often as it was taken."""
    classid, objid, objsubid, mode = lock
    # objsubid is 1 for a key of 64 bits, and 2 for one of two times 32. Both are signed.
    key = f"{_to_signed(classid << 32 | objid, 64)}::bigint"
    if objsubid == 2:
        key = f"{_to_signed(classid, 32)}, {_to_signed(objid, 32)}"
    unlock = f"pg_advisory_unlock{'_shared' if mode == 'ShareLock' else ''}({key})"
    # A transaction's lock is not released, with a WARNING that nobody needs.
    return (
        f"SET LOCAL client_min_messages = error; DO $$ BEGIN WHILE pg_catalog.{unlock} LOOP END LOOP; END $$;"
    )


def _to_signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> (bits - 1) else number


def _render_set_config(name: str, value: str, *, local: bool) -> str:
    return f"SELECT set_config({quote_literal(name)}, {quote_literal(value)}, {str(local).lower()});"
