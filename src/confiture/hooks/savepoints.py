"""The savepoints around the hooks of one phase, and the settings that are restored between hooks.

A savepoint's name is random because a raw COMMIT cannot be seen by the transaction id: PostgreSQL assigns
none before the first write. A COMMIT destroys the savepoint, so releasing it fails (3B001); and no hook can
know the name and open a savepoint that looks the same.

One message ends a hook: it restores the settings, closes cursors, releases the savepoint and opens the next
one. So n hooks cost n + 1 control round trips; each wrapper costs two more.

A hook's SQL is never in these messages. PostgreSQL parses a whole message before it runs any of it, so a
syntax error of the hook would reject the SAVEPOINT as well, and error positions would be shifted.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NoReturn

import psycopg
from attrs import define, field, frozen
from psycopg.pq import TransactionStatus

from confiture.exceptions import read_message
from confiture.hooks.guarded_settings import (
    CURSORS_SQL,
    GUARDED_SETTINGS,
    SETTINGS_SQL,
    render_restore_sql,
    render_set_local_sql,
)
from confiture.hooks.hook_observer import HookObserver, NoHookObserver
from confiture.hooks.implementation import HookFatal, HookImplementation, HookMisuse
from confiture.postgres.open_copy import end_copy, has_open_copy
from confiture.postgres.session import Session, fetch_rows, send
from confiture.sql.quote import quote_ident


@frozen
class Savepoint:
    """An open savepoint, and the settings that hold again if it is rolled back.

    Attributes:
        name: A random name.
        wanted_settings: The value of each guarded setting.
        local_settings: What hooks had set with ``set_local``.
    """

    name: str
    wanted_settings: Mapping[str, str]
    local_settings: Mapping[str, str]


@define
class HookSavepoints:
    """Opens, releases and rolls back the savepoints of one phase's hooks.

    Attributes:
        session: The connection, and whether confiture or a caller owns it.
        plain_left: How many hooks that are not wrappers have yet to run.
        observer: Observes each hook in a rehearsal.
        local_settings: Settings that hooks made with ``set_local``, valid until the migration ends.
    """

    session: Session
    plain_left: int
    observer: HookObserver = field(factory=NoHookObserver)
    local_settings: dict[str, str] = field(factory=dict)
    _wanted_settings: dict[str, str] = field(factory=dict)
    _cursors: frozenset[str] = frozenset()
    _next_name: str | None = None

    def open(self) -> tuple[Savepoint, list[str]]:
        """Open a hook's savepoint; return it and the settings that were restored, in words.

        If the message that ended the last hook has opened it already, this sends nothing.
        """
        changes: list[str] = []
        name, self._next_name = self._next_name, None
        if name is None:
            name = _make_name()
            if self._wanted_settings:
                # A wrapper's first half has just run, without a check of its settings. Whatever differs
                # now is its doing; the hooks inside it must not inherit that.
                changed = send(self.session.conn, f"{self._render_restore_sql()} SAVEPOINT {name}")
                changes = self._describe_changes(changed[0][0] + changed[1][0])
            else:
                # The first hook of the phase: note what there is, to compare with after each hook.
                settings, cursors = send(self.session.conn, f"{SETTINGS_SQL} SAVEPOINT {name}")
                self._wanted_settings = dict(zip(GUARDED_SETTINGS, settings[0], strict=True))
                self._cursors = frozenset(cursor for (cursor,) in cursors)
        return self._note_savepoint(name), changes

    def reopen(self, count: int) -> list[Savepoint]:
        """Open ``count`` nested savepoints and set the local settings: a commit has ended both."""
        opened = [self._note_savepoint(_make_name()) for _ in range(count)]
        settings = (render_set_local_sql(name, value) for name, value in self.local_settings.items())
        send(
            self.session.conn,
            "; ".join([*settings, *(f"SAVEPOINT {savepoint.name}" for savepoint in opened)]),
        )
        return opened

    def _note_savepoint(self, name: str) -> Savepoint:
        return Savepoint(name, dict(self._wanted_settings), dict(self.local_settings))

    # What a hook did.

    def set_local(self, name: str, value: str) -> None:
        """Change a setting until the migration ends; from now on it is restored to this value."""
        # The server's spelling of the value ("3s" for 3000): `release` compares with current_setting.
        ((now,),) = fetch_rows(self.session.conn, render_set_local_sql(name, value))
        # Noted at once, not when the hook ends: a wrapper's value must hold for the hooks inside it.
        spelled = {setting.lower(): setting for setting in GUARDED_SETTINGS}
        name = spelled.get(name.lower(), name)
        self.local_settings[name] = now
        if name in self._wanted_settings:
            self._wanted_settings[name] = now

    def refuse_open(self) -> None:
        """Refuse a COPY or a result that is still open: any query beside it would wait for ever.

        Raises:
            HookMisuse: There is one.
        """
        if has_open_copy(self.session.conn):
            raise HookMisuse("it left a COPY or a result open")

    def check_status(self) -> None:
        """Refuse a transaction that the hook broke or ended.

        ``transaction_status`` costs no round trip. Anything but INTRANS is a fault, and must be found before
        a message is sent: INERROR refuses every statement but a rollback; after IDLE the settings would be
        sent outside a transaction, and last; on UNKNOWN nothing can be sent.

        Raises:
            HookMisuse: It did.
        """
        status = self.session.conn.info.transaction_status
        if status == TransactionStatus.INERROR:
            raise HookMisuse(
                "it caught an SQL error but did not roll it back: "
                "wrap the statement in `with conn.transaction():`"
            )
        if status == TransactionStatus.UNKNOWN:
            raise HookMisuse("it closed or lost the connection")
        if status == TransactionStatus.IDLE:
            raise HookMisuse(_ENDED_TRANSACTION)

    # Its end.

    def release(self, savepoint: Savepoint, *, last: bool = False) -> list[str]:
        """Release the savepoint and open the next one; return the settings that were restored, in words.

        The order matters. The settings come first, and statement_timeout first of them, so that a hook's
        own timeout cannot cancel the rest. The snapshot comes after RELEASE, which keeps the hook's locks,
        and before the next savepoint. One message takes 135 µs; psycopg's own block takes 208.

        Args:
            savepoint: The hook's savepoint.
            last: True to open no further one: a commit follows, and would end it.
        """
        # On a caller's connection CLOSE ALL would close the caller's cursors too: list them, and close
        # only the new ones below.
        close = "CLOSE ALL;" if self.session.owned else f"{CURSORS_SQL};"
        following = None if last else self._make_next_name()
        results = send(
            self.session.conn,
            f"{self._render_restore_sql()} {close} RELEASE {savepoint.name}; {self.observer.snapshot_sql} "
            f"{_render_savepoint(following)}",
        )
        self._next_name = following
        results = self.observer.take_snapshots(results)
        changes = self._describe_changes(results[0][0] + results[1][0])
        left = [cursor for answer in results[2:] for (cursor,) in answer if cursor not in self._cursors]
        if left:
            send(self.session.conn, "; ".join(f"CLOSE {quote_ident(cursor)}" for cursor in left))
        return changes

    def forget_settings_since(self, savepoint: Savepoint) -> None:
        """Forget what ``set_local`` has noted since the savepoint was opened."""
        self._wanted_settings = dict(savepoint.wanted_settings)
        self.local_settings = dict(savepoint.local_settings)

    def roll_back(self, savepoint: Savepoint, ref: HookImplementation, error: BaseException) -> None:
        """Roll back to the savepoint of a hook that failed with ``error``, and open the next, in one message.

        It restores no settings: ROLLBACK TO restores those that were changed since the savepoint.

        Raises:
            HookFatal: The transaction or the connection is gone.
        """
        conn = self.session.conn
        # A COPY left open would make the ROLLBACK wait for ever.
        end_copy(conn)
        status = conn.info.transaction_status
        if status == TransactionStatus.UNKNOWN:
            lost = (
                error
                if isinstance(error, HookMisuse)
                else HookMisuse(f"the connection was lost: {read_message(error)}")
            )
            _stop(ref, lost, error, committed=False)
        if status == TransactionStatus.IDLE:
            _stop(ref, HookMisuse(_ENDED_TRANSACTION), error)
        following = self._make_next_name()
        # ROLLBACK TO gives the hook's locks back, so a snapshot is taken before it. After an SQL error
        # (INERROR) no query runs until the rollback.
        snapshot = self.observer.snapshot_sql
        before = snapshot if status == TransactionStatus.INTRANS else ""
        undo = f"ROLLBACK TO {savepoint.name}; RELEASE {savepoint.name}"
        try:
            results = send(conn, f"{before} {undo}; {snapshot} {_render_savepoint(following)}")
            self.observer.take_snapshots(results, 2 if before else 1)
        except psycopg.Error as gone:
            # An error of the server has an SQLSTATE; without one the connection broke. With one, the
            # savepoint is missing: the hook ended the transaction and began another.
            if gone.sqlstate is None:
                _stop(ref, HookMisuse(f"the connection was lost: {gone}"), gone, committed=False)
            _stop(ref, HookMisuse(_ENDED_TRANSACTION), gone)
        self._next_name = following

    def _make_next_name(self) -> str | None:
        """Name the next hook's savepoint, or return ``None`` after the last hook that is not a wrapper.

        A wrapper's second half may come next; it runs in the savepoint that its first half opened.
        """
        return _make_name() if self.plain_left > 0 else None

    def _render_restore_sql(self) -> str:
        return render_restore_sql(self._wanted_settings, self.session.get_caller_settings())

    def _describe_changes(self, changed: tuple[str | None, ...]) -> list[str]:
        return [
            f"changed {name} to {value!r}; restored to {self._wanted_settings[name]!r} "
            "(context.set_local keeps a setting until the migration ends)"
            for name, value in zip(GUARDED_SETTINGS, changed, strict=True)
            if value is not None
        ]


_ENDED_TRANSACTION = "it ended the transaction (it ran COMMIT or ROLLBACK itself)"


def _stop(
    ref: HookImplementation, misuse: HookMisuse, cause: BaseException, *, committed: bool = True
) -> NoReturn:
    if misuse is not cause:
        misuse.__cause__ = cause
    raise HookFatal(ref, misuse, may_be_committed=committed)


def _render_savepoint(name: str | None) -> str:
    return f"SAVEPOINT {name}" if name else ""


def _make_name() -> str:
    return f"confiture_{secrets.token_hex(8)}"
