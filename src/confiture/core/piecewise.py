"""Walk a no-transaction migration: each statement by itself, recorded when done, resumed after a crash.

A statement that PostgreSQL allows in a transaction is committed together with its record. One that it
does not (CREATE INDEX CONCURRENTLY, VACUUM) is noted before it begins and again when it has ended.
"""

from __future__ import annotations

from typing import Any

import psycopg
from attrs import define, evolve
from psycopg.pq import TransactionStatus

from confiture.core.copying import end_copy
from confiture.core.hooks import HookPhase
from confiture.core.ledger import Entry, sha256
from confiture.core.lock import lock_lost, still_held
from confiture.core.locks import HELD
from confiture.core.session import literal, rows, send
from confiture.core.statements import SqlMigration
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
        before = len(self.phases.reports)
        try:
            with self._own_transaction():
                self.phases.run(self.engine.session, phase)
        except BaseException:
            # Hooks of this phase that had been kept are undone with its transaction.
            self.phases.reports[before:] = [
                evolve(report, outcome="undone") for report in self.phases.reports[before:]
            ]
            raise
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
            self._refuse_unfinished()
        self.committed = self.committed or bool(self.statements.reports)

    def _refuse_unfinished(self) -> None:
        """Refuse what a Python migration left behind; the runner's own transactions come next."""
        self.refuse_open()
        status = self.engine.session.conn.info.transaction_status
        if status == TransactionStatus.UNKNOWN:
            raise MigrationFault("the connection was closed or lost", file=self.work.file)
        if status != TransactionStatus.IDLE:
            raise MigrationFault(
                "it left a transaction open (a BEGIN of its own), which has been rolled back",
                hint="put `with self.connection.transaction():` round what belongs together",
                file=self.work.file,
            )

    def _resume(self, script: SqlScript) -> None:
        done = self.work.done.done if self.work.done else ()
        if done != tuple(sha256(each.sql) for each in script.statements[: len(done)]):
            raise LedgerFault(
                f"migration {self.work.label} is unfinished, and what was done of it has changed since",
                hint=f"confiture repair {self.work.version}",
            )
        if self.work.done:
            self._refuse_invalid(script)
        for step in range(len(done), len(script.statements)):
            self._step(step, script.statements[step])

    def _refuse_invalid(self, script: SqlScript) -> None:
        left = invalid_indexes(self.engine.session.conn, script)
        if left:
            raise LedgerFault(
                f"migration {self.work.label} is unfinished and has left an invalid index: {', '.join(left)}",
                hint=f"confiture repair {self.work.version}",
            )

    def _step(self, step: int, statement: Statement) -> None:
        entry = Entry(self.work.version, self.work.name, self.work.checksum, None, (), self.work.direction)
        begin_sql = self.engine.ledger.begun_sql(entry, step, statement.sql)
        done_sql = self.engine.ledger.done_sql(entry, step)
        if self._was_done(statement):
            self._record(done_sql)
        elif statement.in_transaction:
            self._step_in_transaction(statement, begin_sql + done_sql)
        else:
            self._step_outside(statement, begin_sql, done_sql)
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
            (held,) = send(conn, f"{HELD}; {_AS_OURSELVES} {record}")
            before = self.locks
            self._see(held)
            self.locks = merged(before, self.locks)

    def _step_outside(self, statement: Statement, begin: str, done: str) -> None:
        conn = self.engine.session.conn
        self._record(begin)
        concurrently = statement.kind in _CONCURRENT_KINDS
        if concurrently:
            send(conn, f"SET lock_timeout = {literal(self.engine.wait_concurrently)}")
        try:
            self.statements.run(statement)
        except psycopg.errors.LockNotAvailable:
            drop_invalid(conn, statement)
            raise
        finally:
            if concurrently and not self.engine.session.lost:
                send(conn, self.timeouts(local=False))
        if concurrently:
            self._refuse_left_invalid(statement)
        self.not_seen += (
            NotSeen(
                None, "locks", f"line {statement.line} runs in transactions of its own, over when it ends"
            ),
        )
        self._record(done)

    def _record(self, record: str) -> None:
        with self._own_transaction():
            send(self.engine.session.conn, f"{_AS_OURSELVES} {record}")

    def _refuse_left_invalid(self, statement: Statement) -> None:
        left = invalid_indexes_named(self.engine.session.conn, index_name(statement))
        if left:
            raise MigrationFault(
                f"index {', '.join(left)} is there but invalid: an earlier attempt failed",
                hint=f"DROP INDEX CONCURRENTLY {left[0]}; then run again",
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
        end_copy(session.conn)
        if session.lost:
            return
        if session.conn.info.transaction_status != TransactionStatus.IDLE:
            send(session.conn, "ROLLBACK")
        if session.ours:
            send(session.conn, session.reset_message())
        else:
            session.put_back()


# The ledger is the runner's: whatever role the migration has taken must not write it.
_AS_OURSELVES = "SET LOCAL ROLE NONE;"
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


def invalid_indexes(conn: psycopg.Connection[Any], script: SqlScript) -> list[str]:
    """Return the invalid indexes that a migration's statements would have made."""
    names = {index_name(statement) for statement in script.statements}
    return [each for name in sorted(filter(None, names)) for each in invalid_indexes_named(conn, name)]


def invalid_indexes_named(conn: psycopg.Connection[Any], name: str | None) -> list[str]:
    """Return the invalid index of this name, qualified, or nothing."""
    if name is None:
        return []
    found = rows(
        conn,
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relname = {literal(name)}",
    )
    return [each for (each,) in found]


def index_is_valid(conn: psycopg.Connection[Any], name: str | None) -> bool:
    """Whether there is a valid index of this name."""
    found = rows(
        conn,
        "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        f" WHERE i.indisvalid AND c.relname = {literal(name or '')}",
    )
    return bool(found)


def drop_invalid(conn: psycopg.Connection[Any], statement: Statement) -> None:
    """Drop the invalid index that a CONCURRENTLY left, so that a retry does not take it for done."""
    for each in invalid_indexes_named(conn, index_name(statement)):
        send(conn, "SET lock_timeout = 0")
        send(conn, f"DROP INDEX CONCURRENTLY {each}")
