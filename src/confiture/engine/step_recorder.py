"""Record the statements of a no-transaction migration, and what a failed one may have left.

A statement that PostgreSQL allows in a transaction is committed together with its record. One that it
does not allow there (CREATE INDEX CONCURRENTLY, VACUUM, a DO block that commits) is recorded before it
begins and again after it has ended: after a failure or a crash, the record of a begun statement tells
which one may be half done, and it is not sent again until its effect is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
from attrs import define, field
from psycopg.errors import LockNotAvailable

from confiture.engine.committed_work import CommittedWork
from confiture.engine.run_context import RunContext
from confiture.engine.statements import StatementRunner
from confiture.exceptions import LockFault, MigrationFault
from confiture.ledger.migration_lock import build_lock_lost_fault, is_lock_held
from confiture.migrations.prepare import PreparedMigration
from confiture.models.ledger import LedgerEntry
from confiture.postgres.invalid_indexes import ConcurrentBuild, drop_indexes, is_concurrent
from confiture.postgres.open_copy import end_copy
from confiture.postgres.session import quote_literal, send
from confiture.postgres.signals import hold_signals
from confiture.postgres.statement_effects import (
    Effect,
    commits_by_itself,
    count_ended_transactions,
    find_effect,
    read_transaction_number,
    runs_code,
)

# The ledger is written with the session's first role, whatever role the migration has taken. DEFAULT and
# not NONE, because ALTER ROLE … SET role may give a session another role than its user from the start.
RESET_ROLE_SQL = "SET LOCAL role TO DEFAULT;"


@define
class StepRecorder:
    """Writes to the ledger which statements of one attempt have begun and ended.

    Attributes:
        run_context: The values shared with the other migrations of the run.
        work: The migration.
        statements: Runs its statements, and has heard what the server said of them.
        render_timeouts_sql: Returns SELECT items that set its timeouts for the session.
        work_done: What is committed, for the report of a failure.
        may_be_repeated: False while the effect of a statement is in doubt.
    """

    run_context: RunContext
    work: PreparedMigration
    statements: StatementRunner
    render_timeouts_sql: Callable[[], str]
    work_done: CommittedWork = field(factory=CommittedWork)
    may_be_repeated: bool = True

    # Records, each in a transaction that makes sure of the migration lock.

    def check_lock(self) -> None:
        """Refuse to go on without the migration lock: another run may be at work already.

        Raises:
            LockFault: It is lost.
        """
        if not is_lock_held(self.run_context.migration_lock):
            raise build_lock_lost_fault()

    def open_transaction(self, ended: Callable[[], None] | None = None) -> Any:
        """Open a transaction that checks the lock just before its commit, and then calls ``ended``."""
        return self.run_context.session.transaction(before_commit=self.check_lock, after_commit=ended)

    def record(self, record: str, ended: Callable[[], None] | None = None) -> None:
        """Write to the ledger in a separate transaction, and then call ``ended``."""
        with self.open_transaction(ended):
            send(self.run_context.session.conn, f"{RESET_ROLE_SQL} {record}")

    def render_step_sql(self, step: int, sql: str) -> str:
        """Return SQL that records a statement as begun and ended."""
        return self._render_begin_sql(step, sql) + self._render_end_sql(step)

    def record_end(self, step: int, line: int | None) -> None:
        """Record that a statement has ended."""

        def add_line() -> None:
            self.work_done.lines.append(line)
            self.end_doubt()

        self._begin_doubt(line, "has ended, and its end is not recorded")
        self.record(self._render_end_sql(step), add_line)

    def record_forget(self, step: int) -> None:
        """Delete the record of a statement: it has changed nothing."""
        self.record(self.run_context.ledger.render_forget_step_sql(self._build_entry(), step))

    def _render_begin_sql(self, step: int, sql: str) -> str:
        return self.run_context.ledger.render_begin_step_sql(self._build_entry(), step, sql)

    def _render_end_sql(self, step: int) -> str:
        return self.run_context.ledger.render_end_step_sql(self._build_entry(), step)

    def _build_entry(self) -> LedgerEntry:
        work = self.work
        return LedgerEntry(work.version, work.name, work.checksum, None, (), work.direction)

    # One statement that commits by itself.

    def refuse_invalid(self, build: ConcurrentBuild | None, line: int | None) -> None:
        """Refuse to build an index that exists but is invalid: IF NOT EXISTS would take it for done.

        Raises:
            MigrationFault: There is one.
        """
        left = build.find_invalid(self.run_context.session.conn) if build and build.index else ()
        if left:
            raise MigrationFault(
                f"index {left[0]} exists but is invalid: an earlier attempt failed",
                hint=f"DROP INDEX CONCURRENTLY {left[0]}; then run again",
                file=self.work.file,
                line=line,
            )

    @contextmanager
    def track(self, step: int, sql: str, line: int | None, build: ConcurrentBuild | None) -> Iterator[None]:
        """Record that a statement begins; if it fails, find out what it has left, and note it.

        Its record stays unless it provably changed nothing or may be repeated without harm, so that the next
        run does not send it again unasked. The caller records its end.
        """
        conn = self.run_context.session.conn
        # An index that was invalid before is not this statement's, and is not dropped.
        before = build.find_invalid(conn) if build else ()
        # In a transaction before the statement, since there is none around it: after a crash, the record of
        # its begin says where to look.
        with self._forget_if_interrupted(step):
            self.record(self._render_begin_sql(step, sql))
            # Not in a rehearsal: the tracer runs transactions too.
            counts = runs_code(sql) and not self.run_context.dry_run
            number = read_transaction_number(conn) if counts else None
        # Until its end is recorded: a signal may come at any moment.
        self._begin_doubt(line, "may be committed, whole or in part")
        try:
            with self._use_concurrently_timeout() if is_concurrent(sql) else nullcontext():
                yield
        except BaseException as error:
            # A COPY that execute() has begun and refused is still open; the connection is not lost.
            end_copy(conn)
            if self.run_context.session.lost:
                doubt = "may be committed, whole or in part: the connection was lost"
                self._begin_doubt(line, self._add_last_message(doubt))
                raise
            with hold_signals():
                left = tuple(set(build.find_invalid(conn)) - set(before)) if build else ()
                # Dropped only after a lock timeout, so that the migration can be retried.
                if left and isinstance(error, LockNotAvailable):
                    self._drop_invalid(left, error)
                    left = ()
                refused = isinstance(error, psycopg.Error)
                if refused and number is not None:
                    effect = count_ended_transactions(conn, number)
                else:
                    # find_effect sees only what is there now, and would blame an index of an earlier failure.
                    effect = _NO_EFFECT if before and not left else find_effect(conn, sql)
                self._settle(step, sql, line, effect, refused=refused)
            raise

    @contextmanager
    def _forget_if_interrupted(self, step: int) -> Iterator[None]:
        """Delete the record of a statement if a signal comes before it is sent: nothing is in doubt then."""
        try:
            yield
        except KeyboardInterrupt:
            if not self.run_context.session.lost:
                with hold_signals():
                    self.record_forget(step)
            raise

    def _settle(self, step: int, sql: str, line: int | None, effect: Effect, *, refused: bool) -> None:
        """Keep or forget the record of a statement that did not end well; ``refused`` by the server."""
        # If the server has reported an error, an earlier statement made the effect in the catalog; and a
        # statement in a separate transaction is rolled back.
        unchanged = effect.state == "absent" or (
            refused and (effect.state == "done" or not commits_by_itself(sql))
        )
        self.work_done.set_doubt(line, None if unchanged else self._add_last_message(effect.describe()))
        self.may_be_repeated = unchanged or effect.may_be_sent_again
        if unchanged or effect.harmless:
            self.record_forget(step)

    def _begin_doubt(self, line: int | None, doubt: str) -> None:
        self.may_be_repeated = False
        self.work_done.set_doubt(line, doubt)

    def end_doubt(self) -> None:
        """Note that the effect of the last statement is known."""
        self.may_be_repeated = True
        self.work_done.doubt = None

    def _add_last_message(self, doubt: str) -> str:
        """Add what the statement has said last: a loop that commits its batches may say how far it was."""
        said = (self.statements.last_message or "").split("\n")[0]
        return f"{doubt}; its last message: {said}" if said else doubt

    @contextmanager
    def _use_concurrently_timeout(self) -> Iterator[None]:
        """Set CONCURRENTLY's separate lock_timeout: while it waits for old snapshots, it blocks nobody.

        The usual timeout would make it fail on any long query and leave an invalid index.
        """
        conn = self.run_context.session.conn
        send(conn, f"SET lock_timeout = {quote_literal(self.run_context.wait_concurrently)}")
        try:
            yield
        finally:
            if not self.run_context.session.lost:
                send(conn, f"SELECT {self.render_timeouts_sql()}")

    def _drop_invalid(self, left: tuple[str, ...], error: LockNotAvailable) -> None:
        """Drop the invalid index that CONCURRENTLY left after a lock timeout, so that it can be retried."""
        try:
            with self._use_concurrently_timeout():
                drop_indexes(self.run_context.session.conn, left)
        except LockNotAvailable:
            raise LockFault(
                f"{error.diag.message_primary}; it left the invalid index {left[0]}, and dropping that "
                "timed out too",
                hint=f"when the old transactions have ended: DROP INDEX CONCURRENTLY {left[0]}; run again",
            ) from error


_NO_EFFECT = Effect("absent", "it has left no invalid index")
