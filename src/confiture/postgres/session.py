"""Whose connection it is, and whose transaction: decided here once, asked everywhere.

*Ours*: confiture opened the connection; everything on it may be reset. *The caller's*: an application
handed it in; its settings, cursors and temporary tables are put back one by one, and a transaction
that it had begun stays its own. *Lost*: the connection is gone or in the middle of something.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define, field
from psycopg import Connection, Cursor
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from confiture.postgres.signals import hold_signals
from confiture.sql.quote import quote_ident

Row = tuple[Any, ...]

# Put back in this order: who one is decides what one may set.
_IDENTITY = ("session_authorization", "role")


def send(conn: Connection[Any], message: str) -> list[list[Row]]:
    """Send one message of one or more statements; return the rows of each that returns rows at all.

    One round trip, whatever row factory or cursor the connection was given.
    """
    with Cursor(conn, row_factory=tuple_row) as cursor:
        cursor.execute(message.encode(), prepare=False)
        return [result.fetchall() for result in cursor.results() if result.description]


def fetch_rows(conn: Connection[Any], message: str) -> list[Row]:
    """Send one query and return its rows."""
    return send(conn, message)[-1]


def quote_literal(value: str) -> str:
    """Quote a string as an SQL literal.

    ``E''`` where there is a backslash, so that it reads the same whatever standard_conforming_strings says.
    """
    quoted = "'" + value.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


@define
class CallerState:
    """What a caller's connection looked like before a migration touched it."""

    settings: dict[str, str]
    identity: dict[str, str]
    temporary: tuple[int, ...]
    cursors: frozenset[str]


@define
class Session:
    """One connection, and what may be done with it.

    Attributes:
        conn: The psycopg connection.
        owned: Whether confiture opened it.
        nested: Whether its owner had begun a transaction.
    """

    conn: Connection[Any]
    owned: bool
    nested: bool = False
    _before: CallerState | None = field(default=None, init=False)

    @classmethod
    def adopt(cls, conn: Connection[Any]) -> Session:
        """Take a connection as an application hands it in."""
        return cls(conn, owned=False, nested=conn.info.transaction_status != TransactionStatus.IDLE)

    @property
    def lost(self) -> bool:
        """Whether nothing more can be sent."""
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
        """Begin and end a transaction, or a savepoint in one; without ``keep`` it is rolled back.

        ``before_commit`` is called just before the commit, and may still prevent it by raising. A signal
        waits for the commit's answer, and for ``after_commit``, which is called then.
        """
        block = self.conn.transaction(force_rollback=not keep)
        block.__enter__()
        try:
            yield
            if before_commit:
                before_commit()
        except BaseException as error:
            end_copy(self.conn)
            with contextlib.suppress(psycopg.Error):
                block.__exit__(type(error), error, error.__traceback__)
            raise
        with hold_signals():
            block.__exit__(None, None, None)
            if after_commit:
                after_commit()

    @contextmanager
    def keep_idle(self) -> Iterator[None]:
        """Keep an idle connection idle between transactions: autocommit is on meanwhile, then put back."""
        before = self.conn.autocommit
        if not self.nested:
            self.conn.autocommit = True
        try:
            yield
        finally:
            if not (self.nested or self.lost):
                self.conn.autocommit = before

    def remember(self) -> None:
        """Note what a caller's connection looks like, once, before a migration."""
        if self.owned:
            return
        settings, identity, temporary, cursors = send(self.conn, _STATE_SQL)
        self._before = CallerState(
            settings=dict(settings),
            identity=dict(zip(_IDENTITY, identity[0], strict=True)),
            temporary=tuple(oid for oid, _, _ in temporary),
            cursors=frozenset(name for (name,) in cursors),
        )

    def get_caller_settings(self) -> dict[str, str]:
        """Return the settings to which a caller's transaction goes back, where there is one.

        On his idle connection what a migration set is the session's, until ``put_back``.
        """
        if self._before is None or not self.nested:
            return {}
        return dict(self._before.settings)

    def render_reset_sql(self) -> str:
        """Return SQL that leaves nothing of a migration on a connection of ours, else nothing."""
        if not self.owned:
            return ""
        return "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP;"

    def restore(self, local: Mapping[str, str] | None = None) -> None:
        """Put a caller's settings, temporary tables and cursors back to what they were.

        ``local`` are the settings that confiture itself made with SET LOCAL: one that still has that
        value goes back in the same way, so that what the caller's session has comes after its commit.
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
        # Changing the session's user resets the role, so both are sent where one differs.
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


def _render_set_config(name: str, value: str, *, local: bool) -> str:
    return f"SELECT set_config({quote_literal(name)}, {quote_literal(value)}, {str(local).lower()});"


def has_open_copy(conn: Connection[Any]) -> bool:
    """Whether a COPY, a result or a pipeline is still open on ``conn``."""
    if conn.closed:
        return False
    piping = conn.pgconn.pipeline_status != PipelineStatus.OFF
    return piping or conn.lock.locked() or conn.info.transaction_status == TransactionStatus.ACTIVE


def end_copy(conn: Connection[Any]) -> None:
    """Leave ``conn`` with a status that can be asked for: in error after a COPY, closed where that fails.

    A result still being streamed holds psycopg's own lock on the connection: nothing but closing helps.
    """
    if conn.closed:
        return
    if conn.lock.locked() or conn.pgconn.pipeline_status != PipelineStatus.OFF:
        conn.close()
    elif conn.info.transaction_status == TransactionStatus.ACTIVE:
        _drain(conn)


def _drain(conn: Connection[Any]) -> None:
    pgconn = conn.pgconn
    while (result := pgconn.get_result()) is not None:
        if result.status == ExecStatus.COPY_IN:
            pgconn.put_copy_end(b"left open")
        elif result.status == ExecStatus.COPY_OUT:
            conn.cancel_safe(timeout=5)
            _discard(conn)
        elif result.status == ExecStatus.COPY_BOTH:
            conn.close()
            return


def _discard(conn: Connection[Any]) -> None:
    while True:
        length, _ = conn.pgconn.get_copy_data(0)
        if length < 0:
            return
