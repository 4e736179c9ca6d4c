"""Walk a no-transaction migration: each statement by itself, recorded when done, resumed after a crash.

A statement that PostgreSQL allows in a transaction is committed together with its record. One that it
does not (CREATE INDEX CONCURRENTLY, VACUUM) is noted before it begins and again when it has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from attrs import define

from confiture.core.hooks import HookPhase
from confiture.core.ledger import Entry, sha256
from confiture.core.lock import lock_lost, still_held
from confiture.core.locks import HELD
from confiture.core.session import literal, rows, send
from confiture.core.statements import SqlMigration
from confiture.core.stretches import AS_OURSELVES, Stretches
from confiture.core.walk import Walk
from confiture.exceptions import LedgerFault, MigrationFault
from confiture.models.migration import SqlScript, Statement
from confiture.models.report import Lock, NotSeen


@define
class Piecewise(Walk):
    """One attempt at one no-transaction migration."""

    not_seen: tuple[NotSeen, ...] = ()

    def run(self) -> None:
        """Run it statement by statement; each phase has a transaction of its own.

        Raises:
            Exception: Whatever went wrong; what was recorded before is kept.
        """
        session = self.engine.session
        try:
            with self.hooks(), session.idle():
                send(session.conn, self.timeouts(local=False))
                try:
                    self._by_itself(HookPhase.BEFORE_VALIDATION)
                    self._by_itself(HookPhase.BEFORE_DDL)
                    self.change()
                    self._by_itself(HookPhase.AFTER_DDL)
                    self._validate_by_itself()
                    self._by_itself(HookPhase.AFTER_VALIDATION)
                    self._by_itself(HookPhase.CLEANUP)
                finally:
                    self._clean()
                self._finish()
        finally:
            self.duration_ms = self.elapsed_ms()

    def _by_itself(self, phase: HookPhase) -> None:
        self.stage = phase.spec
        if not self.phases.any(phase):
            return
        with Stretches(self._own_transaction, self.engine, self.work) as stretches:
            self.phases.run(self.engine.session, phase, stretches)
        self._keep_settings()

    def _own_transaction(self) -> Any:
        def committed() -> None:
            if not still_held(self.engine.keeper):
                raise lock_lost()

        return self.engine.session.transaction(at_end=committed)

    def _keep_settings(self) -> None:
        """Let what hooks set for this migration outlive their transaction."""
        for name, value in self.phases.locals.items():
            send(self.engine.session.conn, f"SELECT set_config({literal(name)}, {literal(value)}, false)")

    def change(self) -> None:
        """Run the statements, or what is left of them."""
        forward = self.work.direction == "forward"
        self.stage = "up" if forward else "down"
        if isinstance(self.migration, SqlMigration):
            self._resume(self.migration.script)
        else:
            (self.migration.up if forward else self.migration.down)()
        self.committed = self.committed or bool(self.statements.reports)

    def _resume(self, script: SqlScript) -> None:
        done = self.work.done.done if self.work.done else ()
        if done != tuple(sha256(each.sql) for each in script.statements[: len(done)]):
            raise LedgerFault(
                f"migration {self.work.label} is unfinished, and what was done of it has changed since",
                hint=f"confiture repair {self.work.version}",
            )
        if self.work.done:
            self._refuse_left_by(script)
        for step in range(len(done), len(script.statements)):
            self._step(step, script.statements[step])

    def _refuse_left_by(self, script: SqlScript) -> None:
        conn = self.engine.session.conn
        names = filter(None, map(index_name, script.statements))
        left = sorted(each for name in names for each in invalid_indexes(conn, name))
        if left:
            raise LedgerFault(
                f"migration {self.work.label} is unfinished and has left an invalid index: {', '.join(left)}",
                hint=f"confiture repair {self.work.version}",
            )

    def _step(self, step: int, statement: Statement) -> None:
        ledger = self.engine.ledger
        entry = Entry(self.work.version, self.work.name, self.work.checksum, None, (), self.work.direction)
        if self._was_done(statement):
            self._record(ledger.done_sql(entry, step))
        elif statement.in_transaction:
            record = ledger.begun_sql(entry, step, statement.sql) + ledger.done_sql(entry, step)
            self._step_in_transaction(statement, record)
        else:
            self._record(ledger.begun_sql(entry, step, statement.sql))
            self._step_outside(statement, ledger.not_begun_sql(entry, step))
            self._record(ledger.done_sql(entry, step))
        self.committed = True

    def _was_done(self, statement: Statement) -> bool:
        """Whether a statement that was begun had ended before its record could be written."""
        done = self.work.done
        if done is None or done.begun != sha256(statement.sql) or statement.kind != "index_stmt":
            return False
        return index_is_valid(self.engine.session.conn, index_name(statement))

    def _step_in_transaction(self, statement: Statement, record: str) -> None:
        conn = self.engine.session.conn
        with self._own_transaction():
            self.statements.run(statement)
            (held,) = send(conn, f"{HELD}; {AS_OURSELVES} {record}")
            before = self.locks
            self._see(held)
            self.locks = merged(before, self.locks)

    def _step_outside(self, statement: Statement, forget: str) -> None:
        conn = self.engine.session.conn
        before = invalid_indexes(conn)
        try:
            with self._patient(statement):
                self.statements.run(statement)
        except psycopg.Error as error:
            if not self.engine.session.lost:
                self._left_behind(error, invalid_indexes(conn) - before, forget)
            raise
        self._refuse_invalid(statement)
        what = f"line {statement.line} runs in transactions of its own, over when it ends"
        self.not_seen += (NotSeen(None, "locks", what),)

    @contextmanager
    def _patient(self, statement: Statement) -> Iterator[None]:
        """Give CONCURRENTLY its own lock_timeout: it waits for old transactions, and blocks nobody."""
        if statement.kind not in _CONCURRENT_KINDS:
            yield
            return
        conn = self.engine.session.conn
        send(conn, f"SET lock_timeout = {literal(self.engine.wait_concurrently)}")
        try:
            yield
        finally:
            if not self.engine.session.lost:
                send(conn, self.timeouts(local=False))

    def _left_behind(self, error: psycopg.Error, left: frozenset[str], forget: str) -> None:
        """Drop the invalid index before a retry; forget a statement that failed and left nothing."""
        if isinstance(error, psycopg.errors.LockNotAvailable):
            send(self.engine.session.conn, "SET lock_timeout = 0")
            for each in sorted(left):
                send(self.engine.session.conn, f"DROP INDEX CONCURRENTLY IF EXISTS {each}")
            left = frozenset()
        if not left:
            self._record(forget)

    def _record(self, record: str) -> None:
        with self._own_transaction():
            send(self.engine.session.conn, f"{AS_OURSELVES} {record}")

    def _refuse_invalid(self, statement: Statement) -> None:
        """Refuse to take an invalid index for done, as IF NOT EXISTS does."""
        left = invalid_indexes(self.engine.session.conn, index_name(statement) or "")
        if left:
            raise MigrationFault(
                f"index {', '.join(sorted(left))} is there but invalid: an earlier attempt failed",
                hint=f"DROP INDEX CONCURRENTLY {min(left)}; then run again",
                file=self.work.file,
                line=statement.line,
            )

    def _validate_by_itself(self) -> None:
        self.stage = "validation"
        if self._verifies():
            with self._own_transaction():
                self.verify()

    def _finish(self) -> None:
        """Write the ledger row, last, in a transaction of its own."""
        self.stage = "commit"
        with self._own_transaction():
            send(self.engine.session.conn, self.ledger_sql())
        self.committed = True

    def _clean(self) -> None:
        session = self.engine.session
        if session.lost:
            return
        if session.ours:
            send(session.conn, session.reset_message())
        else:
            session.put_back()


_CONCURRENT_KINDS = ("index_stmt", "drop_stmt", "reindex_stmt", "alter_table_stmt")


def merged(first: tuple[Lock, ...], second: tuple[Lock, ...]) -> tuple[Lock, ...]:
    """Return each relation once, with its strongest mode."""
    from confiture.core.locks import STRONG

    strongest: dict[str, Lock] = {}
    for lock in (*first, *second):
        known = strongest.get(lock.relation)
        if known is None or STRONG.index(lock.mode) > STRONG.index(known.mode):
            strongest[lock.relation] = lock
    return tuple(strongest[name] for name in sorted(strongest))


def index_name(statement: Statement) -> str | None:
    """Return the name of the index that a CREATE INDEX makes, where it names one."""
    from confiture.core.created import created_index

    return created_index(statement.sql) if statement.kind == "index_stmt" else None


def invalid_indexes(conn: psycopg.Connection[Any], name: str | None = None) -> frozenset[str]:
    """Return the invalid indexes, qualified; of this unqualified name where one is given.

    A partitioned table's index is invalid until all partitions have theirs: that is none of them.
    """
    named = "" if name is None else f" AND c.relname = {literal(name)}"
    found = rows(
        conn,
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE NOT i.indisvalid AND c.relkind = 'i'{named}",
    )
    return frozenset(each for (each,) in found)


def index_is_valid(conn: psycopg.Connection[Any], name: str | None) -> bool:
    """Whether there is a valid index of this name."""
    found = rows(
        conn,
        "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        f" WHERE i.indisvalid AND c.relname = {literal(name or '')}",
    )
    return bool(found)
