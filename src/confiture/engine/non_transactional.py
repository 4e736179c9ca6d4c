"""Run a no-transaction migration statement by statement, record each, and resume after a crash.

A statement that PostgreSQL allows in a transaction is committed together with its record. One that it
does not allow there (CREATE INDEX CONCURRENTLY, VACUUM, a DO block that commits) is recorded before it
begins and again after it has ended: after a failure or a crash, the record of a begun statement tells
which one may be half done, and it is not sent again until its effect is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Self

import psycopg
from attrs import define, evolve, field
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus

from confiture.engine.committed_work import CommittedWork
from confiture.engine.observer import NoObserver
from confiture.engine.run_context import RunContext
from confiture.engine.transactional import TransactionalAttempt
from confiture.exceptions import LedgerFault, LockFault, MigrationFault
from confiture.hooks.api import HookPhase
from confiture.hooks.checkpoints import CheckpointedTransaction
from confiture.hooks.implementation import HookImplementation
from confiture.ledger.migration_lock import build_lock_lost_fault, is_lock_held
from confiture.ledger.resume import ResumePoint, find_resume_point
from confiture.migrations.prepare import PreparedMigration, select_settings
from confiture.migrations.sql_migration import SqlMigration
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import Migration, SqlScript, Statement
from confiture.models.report import HookReport, MigrationReport
from confiture.postgres.invalid_indexes import ConcurrentBuild, drop_indexes, is_concurrent, parse_build
from confiture.postgres.locks import CHANGED_SQL, HELD_SQL
from confiture.postgres.session import end_copy, fetch_rows, quote_literal, send
from confiture.postgres.signals import hold_signals
from confiture.postgres.statement_effects import (
    Effect,
    commits_by_itself,
    count_ended_transactions,
    find_effect,
    read_transaction_number,
    runs_code,
)


@define
class NonTransactionalAttempt(TransactionalAttempt):
    """One attempt at one no-transaction migration.

    Attributes:
        python_steps: The number of statements that a Python migration has begun.
        work_done: What it has committed, for the report of a failure.
        refused: True if it is unfinished and nothing was sent, because a person must decide first.
    """

    _checkpoints: dict[tuple[str, ...], Any] = field(factory=dict)
    python_steps: int = 0
    work_done: CommittedWork = field(factory=CommittedWork)
    refused: bool = False

    @classmethod
    def begin(
        cls, run_context: RunContext, work: PreparedMigration, attempt: int, migration: Migration
    ) -> Self:
        """Make a fresh migration ready for one attempt."""
        ready = super().begin(run_context, work, attempt, migration)
        ready.statements.wrap_python_statement = ready._wrap_python_statement
        return ready

    def watch(self) -> None:
        """Observe each statement separately: no transaction spans the whole migration."""
        self.observer = NoObserver()
        super().watch()

    def run(self) -> None:
        """Run it statement by statement; each phase of hooks has a separate transaction.

        Raises:
            Exception: Whatever stopped it; the statements recorded before stay committed.
        """
        session = self.run_context.session
        try:
            with self.register_hooks(), session.keep_idle():
                # For the session: a local setting would end with the first transaction.
                session.begin_migration(self.render_timeouts_sql(local=False))
                self.run_context.step_observer.begin()
                self._checkpoints = self._read_checkpoints()
                point = self._find_resume_point()
                try:
                    self._run_phase_alone(HookPhase.BEFORE_VALIDATION)
                    self._run_phase_alone(HookPhase.BEFORE_DDL)
                    with self.statements.listen():
                        self.run_from(point)
                    self._run_phase_alone(HookPhase.AFTER_DDL)
                    with self.statements.listen():
                        self._verify_alone()
                    self._run_phase_alone(HookPhase.AFTER_VALIDATION)
                    self._run_phase_alone(HookPhase.CLEANUP)
                finally:
                    self._clean()
                self._finish()
        finally:
            self.duration_ms = self.measure_elapsed_ms()

    def _read_checkpoints(self) -> dict[tuple[str, ...], Any]:
        """Return the last values that generator hooks yielded before a crash.

        Read first: a hook may take a role that may not read the ledger.
        """
        if not self.hook_runner.has_hooks(*HookPhase):
            return {}
        found = fetch_rows(
            self.run_context.session.conn, self.run_context.ledger.render_resume_sql(self.work)
        )
        return {tuple(key): progress for *key, progress in found}

    def _build_checkpointed_transaction(self) -> CheckpointedTransaction:
        def store(ref: HookImplementation, stored: str) -> None:
            sql = self.run_context.ledger.render_store_progress_sql(self.work, _identify_hook(ref), stored)
            send(self.run_context.session.conn, f"{RESET_ROLE_SQL} {sql}")

        return CheckpointedTransaction(
            self._open_own_transaction, lambda ref: self._checkpoints.get(_identify_hook(ref)), store
        )

    def _run_phase_alone(self, phase: HookPhase) -> None:
        self.stage = phase.spec
        if not self.hook_runner.has_hooks(phase):
            return
        self.run_context.step_observer.skip_hooks(phase.spec)
        before, checkpoints = len(self.hook_runner.reports), self._build_checkpointed_transaction()
        try:
            with checkpoints:
                self.hook_runner.run(self.run_context.session, phase, checkpoints)
        except BaseException:
            if checkpoints.commit_count:
                self.work_done.phases.append(f"{phase.spec} (in part)")
            else:
                # The phase's transaction is rolled back, and with it the hooks that had succeeded.
                self.hook_runner.reports[before:] = [
                    evolve(report, outcome="undone") for report in self.hook_runner.reports[before:]
                ]
            raise
        self.work_done.phases.append(phase.spec)
        self._keep_settings()

    def _open_own_transaction(self, ended: Callable[[], None] | None = None) -> Any:
        # Checked just before each commit: if the lock is lost, another run may be at work already.
        def check_lock() -> None:
            if not is_lock_held(self.run_context.migration_lock):
                raise build_lock_lost_fault()

        return self.run_context.session.transaction(before_commit=check_lock, after_commit=ended)

    def _keep_settings(self) -> None:
        """Set for the session what hooks set with ``set_local``: their transaction has ended.

        It lasts until the migration ends; ``_clean`` resets it.
        """
        for name, value in self.hook_runner.local_settings.items():
            send(
                self.run_context.session.conn,
                f"SELECT set_config({quote_literal(name)}, {quote_literal(value)}, false)",
            )

    def _find_resume_point(self) -> ResumePoint:
        """Return where to go on; refuse before any hook runs if that is not known."""
        self.stage = "up" if self.work.direction == "forward" else "down"
        if self.work.script is None:
            return ResumePoint()
        statements = self.work.script.statements
        done = len(self.work.recorded.done) if self.work.recorded else 0
        self.work_done.total = len(statements)
        self.work_done.lines += [statement.line for statement in statements[:done]]
        try:
            return find_resume_point(self.run_context.session.conn, self.work)
        except LedgerFault:
            self.refused = True
            raise

    def run_from(self, point: ResumePoint) -> None:
        """Run the statements; after a crash, only those that are not recorded as done."""
        forward = self.work.direction == "forward"
        self.stage = "up" if forward else "down"
        if isinstance(self.migration, SqlMigration):
            self._run_steps(self.migration.script, point)
        else:
            self._start_over()
            (self.migration.up if forward else self.migration.down)()
            self._refuse_unfinished()

    def _start_over(self) -> None:
        """Put the record of what a Python migration had done aside, and warn that it repeats it."""
        self.warn_of_start_over()
        if self.work.recorded is not None:
            self._record(self.run_context.ledger.render_start_over_sql(self.work))

    def _refuse_unfinished(self) -> None:
        """Refuse a connection that is not idle: otherwise the next commit would be the migration's."""
        self.refuse_open_copy()
        status = self.run_context.session.conn.info.transaction_status
        if status == TransactionStatus.UNKNOWN:
            raise MigrationFault("the connection was closed or lost", file=self.work.file)
        if status != TransactionStatus.IDLE:
            raise MigrationFault(
                "it left a transaction open (it ran BEGIN itself), which has been rolled back",
                hint="wrap the statements that belong together in `with self.connection.transaction():`",
                file=self.work.file,
            )

    def _run_steps(self, script: SqlScript, point: ResumePoint) -> None:
        if point.unrecorded is not None:
            end = self.run_context.ledger.render_end_step_sql(self._build_entry(), point.unrecorded)
            self._record_end(end, script.statements[point.unrecorded].line)
        for statement in select_settings(script.statements[: point.step]):
            self.statements.run(statement)
        for step in range(point.step, len(script.statements)):
            self._run_step(step, script.statements[step])

    def _run_step(self, step: int, statement: Statement) -> None:
        ledger = self.run_context.ledger
        entry = self._build_entry()
        begin = ledger.render_begin_step_sql(entry, step, statement.sql)
        end = ledger.render_end_step_sql(entry, step)
        if statement.in_transaction:
            self._run_step_in_transaction(statement, begin + end)
            return
        build = parse_build(statement.sql)
        self._refuse_invalid(build, statement.line)
        with (
            self._settle_after_failure(
                statement.sql, statement.line, build, begin, ledger.render_forget_step_sql(entry, step)
            ),
            self.run_context.step_observer.watch_statement(
                len(self.statements.reports), statement.sql, statement.line
            ),
        ):
            self.statements.run(statement)
        self.hook_runner.changed_before.update(
            build.read_table(self.run_context.session.conn) if build else ()
        )
        self.run_context.step_observer.note_unseen(statement.line)
        self._record_end(end, statement.line)

    def _build_entry(self) -> LedgerEntry:
        work = self.work
        return LedgerEntry(work.version, work.name, work.checksum, None, (), work.direction)

    def _run_step_in_transaction(self, statement: Statement, record: str) -> None:
        conn = self.run_context.session.conn
        watched = self.run_context.step_observer.watch_transaction(len(self.statements.reports))
        ran = False
        add_line = partial(self.work_done.lines.append, statement.line)
        try:
            with self._open_own_transaction(add_line), watched as self.statements.observer:
                self.statements.run(statement)
                # One message: the locks and the changed relations are known only before the commit, and the
                # record is committed with the statement.
                held, changed = send(conn, f"{HELD_SQL}; {CHANGED_SQL}; {RESET_ROLE_SQL} {record}")
                self.hook_runner.changed_before.update(name for (name,) in changed)
                self.run_context.step_observer.take_locks(held)
                ran = True
        except BaseException:
            # The server may have committed and lost only its answer; the record then tells the next run.
            if ran and self.run_context.session.lost:
                self.work_done.set_doubt(statement.line, "may be committed: the connection was lost")
            raise
        self.statements.observer = self.observer

    @contextmanager
    def _wrap_python_statement(self, sql: str, line: int | None) -> Iterator[None]:
        """Record one statement of a Python migration, which commits when it ends."""
        if not is_lock_held(self.run_context.migration_lock):
            raise build_lock_lost_fault()
        if self.run_context.refuse_call:
            self.run_context.refuse_call(self.work, sql, line)
        build = parse_build(sql)
        self._refuse_invalid(build, line)
        if self.run_context.session.conn.info.transaction_status != TransactionStatus.IDLE:
            # Inside the migration's own transaction block, which may yet be rolled back, and the record
            # with it.
            yield
            self.work_done.in_own_transactions += 1
            return
        step, self.python_steps = self.python_steps, self.python_steps + 1
        ledger, entry = self.run_context.ledger, self._build_entry()
        begin = ledger.render_begin_step_sql(entry, step, sql)
        with (
            self._settle_after_failure(sql, line, build, begin, ledger.render_forget_step_sql(entry, step)),
            self.run_context.step_observer.watch_statement(len(self.statements.reports), sql, line),
        ):
            yield
        # Not if the statement was BEGIN: the record would be part of that transaction.
        if self.run_context.session.conn.info.transaction_status == TransactionStatus.IDLE:
            self._record_end(ledger.render_end_step_sql(entry, step), line)
        else:
            self._end_doubt()

    def _record_end(self, record: str, line: int | None) -> None:
        def add_line() -> None:
            self.work_done.lines.append(line)
            self._end_doubt()

        self._begin_doubt(line, "has ended, and its end is not recorded")
        self._record(record, add_line)

    def _begin_doubt(self, line: int | None, doubt: str) -> None:
        self.may_be_repeated = False
        self.work_done.set_doubt(line, doubt)

    def _end_doubt(self) -> None:
        self.may_be_repeated = True
        self.work_done.doubt = None

    @contextmanager
    def _settle_after_failure(
        self, sql: str, line: int | None, build: ConcurrentBuild | None, begin: str, forget: str
    ) -> Iterator[None]:
        """Record that a statement begins; if it fails, find out what it has left, and note it.

        Its record stays unless it provably changed nothing or may be repeated without harm, so that the next
        run does not send it again unasked.
        """
        conn = self.run_context.session.conn
        # An index that was invalid before is not this statement's, and is not dropped.
        before = build.find_invalid(conn) if build else ()
        # In a transaction before the statement, since there is none around it: after a crash, the record of
        # its begin says where to look.
        with self._forget_if_interrupted(forget):
            self._record(begin)
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
                    effect = _NO_EFFECT if before and not left else find_effect(conn, sql)
                self._settle(sql, line, effect, forget, refused=refused)
            raise

    @contextmanager
    def _forget_if_interrupted(self, forget: str) -> Iterator[None]:
        """Delete the record of a statement if a signal comes before it is sent: nothing is in doubt then."""
        try:
            yield
        except KeyboardInterrupt:
            if not self.run_context.session.lost:
                with hold_signals():
                    self._record(forget)
            raise

    def _settle(self, sql: str, line: int | None, effect: Effect, forget: str, *, refused: bool) -> None:
        """Keep or forget the record of a statement that did not end well; ``refused`` by the server."""
        # If the server has reported an error, an earlier statement made the effect in the catalog; and a
        # statement in a separate transaction is rolled back.
        unchanged = effect.state == "absent" or (
            refused and (effect.state == "done" or not commits_by_itself(sql))
        )
        self.work_done.set_doubt(line, None if unchanged else self._add_last_message(effect.describe()))
        self.may_be_repeated = unchanged or effect.may_be_sent_again
        if unchanged or effect.harmless:
            self._record(forget)

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
                send(conn, f"SELECT {self.render_timeouts_sql(local=False)}")

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

    def _record(self, record: str, ended: Callable[[], None] | None = None) -> None:
        with self._open_own_transaction(ended):
            send(self.run_context.session.conn, f"{RESET_ROLE_SQL} {record}")

    def _refuse_invalid(self, build: ConcurrentBuild | None, line: int | None) -> None:
        """Refuse to build an index that exists but is invalid: IF NOT EXISTS would take it for done."""
        left = build.find_invalid(self.run_context.session.conn) if build and build.index else ()
        if left:
            raise MigrationFault(
                f"index {left[0]} exists but is invalid: an earlier attempt failed",
                hint=f"DROP INDEX CONCURRENTLY {left[0]}; then run again",
                file=self.work.file,
                line=line,
            )

    def _verify_alone(self) -> None:
        self.stage = "validation"
        if self._has_verify():
            with self._open_own_transaction():
                self.verify()

    def _finish(self) -> None:
        """Write the ledger row, as the last step, in a separate transaction."""
        self.stage = "commit"
        with self._open_own_transaction(self._mark_complete):
            send(self.run_context.session.conn, self.render_ledger_sql())

    # The report.

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with the migration's statements and what the observer saw of each."""
        return self.run_context.step_observer.measure(
            evolve(report, statements=tuple(self.statements.reports))
        )

    def describe_remains(self) -> str:
        """Describe what is committed and what may be, and how to go on."""
        work = self.work_done
        work.uncounted = self.work.script is None and self.migration._uses_connection
        text = work.describe()
        if self.refused:
            return f"it is unfinished, and nothing more was sent; next: confiture repair {self.work.version}"
        if self.run_context.dry_run:
            return f"in a run: {text}"
        if not self.may_be_repeated:
            return f"{text}; next: confiture repair {self.work.version}"
        if not (work.lines or work.uncounted):
            return text
        if self.work.script is None:
            return f"{text}; the next run starts over"
        return f"{text}; confiture {'run' if self.work.direction == 'forward' else 'down'} goes on after them"

    def undo_hooks(self) -> tuple[HookReport, ...]:
        """Return the hook reports unchanged: each phase has committed or rolled back its hooks."""
        return tuple(self.hook_runner.reports)

    def _clean(self) -> None:
        session = self.run_context.session
        end_copy(session.conn)
        if session.lost:
            return
        if session.conn.info.transaction_status != TransactionStatus.IDLE:
            send(session.conn, "ROLLBACK")
            # The statement that began the transaction is rolled back too: delete its record.
            self._record(
                self.run_context.ledger.render_forget_step_sql(self._build_entry(), self.python_steps - 1)
            )
        if session.owned:
            send(session.conn, session.render_reset_sql())
        else:
            session.restore()


# The ledger is written with the session's first role, whatever role the migration has taken. DEFAULT and
# not NONE, because ALTER ROLE … SET role may give a session another role than its user from the start.
RESET_ROLE_SQL = "SET LOCAL role TO DEFAULT;"


_NO_EFFECT = Effect("absent", "it has left no invalid index")


def _identify_hook(ref: HookImplementation) -> tuple[str, str, str]:
    return ref.phase.spec, ref.plugin or "", ref.name
