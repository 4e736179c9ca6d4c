"""Run one migration to its end: its attempts, the ``on_error`` hooks, the callbacks and its report."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from attrs import define, evolve, field, frozen
from psycopg import Connection

from confiture.engine.blockers import Activity, LockWaitMonitor
from confiture.engine.failures import (
    build_fault,
    find_source_line,
    is_lock_timeout,
    unwrap_hook_error,
    was_blocked,
)
from confiture.engine.non_transactional import NonTransactionalAttempt
from confiture.engine.run_context import RunContext
from confiture.engine.transactional import EndedTransaction, TransactionalAttempt
from confiture.engine.unanswered_commit import COMMITTED_WARNING, explain_commit, look_up_commit
from confiture.exceptions import MigrationFault, UserFault, describe_error
from confiture.hooks.api import HookError, HookPhase
from confiture.hooks.implementation import HookFatal, get_callback_name, run_callback
from confiture.ledger.refused_row import describe_refusal, find_refusing_table
from confiture.migrations.planner import find_unfinished
from confiture.migrations.prepare import PreparedMigration
from confiture.models.event import EventError
from confiture.models.report import Fault, MigrationOutcome, MigrationReport
from confiture.postgres.session import Session
from confiture.postgres.wait_notice import announce_wait


@frozen
class MigrationResult:
    """The result of one migration.

    Attributes:
        report: As the reporters show it.
        error: The error that stopped it, ``None`` if it succeeded.
        on_commit: Callbacks that were not called, because the caller commits, or nobody does.
        stats: The figures that hooks set.
        interrupted: What came after the commit, a signal or the loss of the connection: no further
            migration may run.
    """

    report: MigrationReport
    error: BaseException | None = None
    on_commit: tuple[Callable[[], object], ...] = ()
    stats: dict[str, Any] = field(factory=dict)
    interrupted: BaseException | None = None

    @property
    def stopped_by(self) -> BaseException | None:
        """Why no further migration may run, ``None`` if one may."""
        return self.error or self.interrupted


@define
class Runner:
    """Runs migrations, one after the other.

    Attributes:
        run_context: What the migrations share.
        retries: How many new attempts may follow a ``lock_timeout``.
        reconnect: Opens a new connection for ``on_error`` if the old one is lost.
        lock_monitor: Watches which sessions block the migration.
        explain_as_not_rehearsed: Returns why an error is an effect of rehearsing and no failure, or ``None``.
    """

    run_context: RunContext
    retries: int
    reconnect: Callable[[], Connection[Any]]
    lock_monitor: LockWaitMonitor
    explain_as_not_rehearsed: Callable[[TransactionalAttempt, BaseException], str | None] = lambda *_: None
    _rehearsed_labels: list[str] = field(factory=list)
    _current_attempt: TransactionalAttempt | None = None

    def describe_activity(self) -> Activity | None:
        """Return what runs at this moment; another thread may call this."""
        attempt = self._current_attempt
        if attempt is None:
            return None
        line, sql = attempt.statements.running or (None, None)
        number = attempt.hook_runner.context.attempt
        counted = f" (attempt {number} of {self.retries + 1})" if number > 1 else ""
        return Activity(
            attempt.work.version,
            f"{attempt.work.label}{counted}",
            attempt.stage,
            attempt.measure_elapsed_ms(),
            line,
            sql,
            self.lock_monitor.blocked_by,
            attempt.statements.last_message or attempt.hook_runner.last_message,
        )

    def run(self, work: PreparedMigration) -> MigrationResult:
        """Run one migration with its retries and ``on_error`` hooks; a failure is returned, not raised."""
        attempt_number = 1
        while True:
            attempt, error = self._try_once(work, attempt_number)
            if error is None or not self._may_retry(attempt, error, attempt_number):
                break
            attempts = f"attempt {attempt_number + 1} of {self.retries + 1}"
            announce_wait(f"{work.label}: a lock was not granted in time; {attempts} follows")
            try:
                # Random, so that two sessions that block each other do not retry at the same moment.
                time.sleep(random.uniform(0.5, 1.0) * min(0.2 * 2**attempt_number, 5.0))
            except KeyboardInterrupt as signal:
                error = signal
                break
            attempt_number += 1
            work = self._reload_progress(work)
        if error is None:
            return self._finish(attempt)
        if attempt.complete and isinstance(error, KeyboardInterrupt):
            return evolve(self._finish(attempt), interrupted=error)
        if self.run_context.session.commit_unanswered:
            return self._settle(attempt, error, attempt_number)
        if reason := self.explain_as_not_rehearsed(attempt, error):
            return MigrationResult(
                evolve(
                    self._build_report(attempt, "not_rehearsed", []),
                    reason=reason,
                    hooks=attempt.undo_hooks(),
                )
            )
        return self._fail(attempt, error, attempt_number)

    def _reload_progress(self, work: PreparedMigration) -> PreparedMigration:
        """Return the work with the steps that an earlier attempt recorded: a retry does not repeat them."""
        if work.transactional:
            return work
        entries = self.run_context.ledger.read(self.run_context.session.conn)
        return evolve(work, recorded=find_unfinished(entries, work.version, work.direction))

    def _try_once(
        self, work: PreparedMigration, attempt_number: int
    ) -> tuple[TransactionalAttempt, BaseException | None]:
        migration = work.make(self.run_context.session.conn)
        # In a rehearsal that is rolled back, a no-transaction migration runs in the transaction too.
        kind = (
            TransactionalAttempt
            if migration.transactional or self.run_context.rolls_back
            else NonTransactionalAttempt
        )
        self._current_attempt = attempt = kind.begin(self.run_context, work, attempt_number, migration)
        try:
            attempt.run()
        except BaseException as error:
            return attempt, error
        finally:
            self._current_attempt = None
        return attempt, None

    def _may_retry(self, attempt: TransactionalAttempt, error: BaseException, attempt_number: int) -> bool:
        # Not in a transaction that goes on, a rehearsal's or a caller's: a new attempt would wait while
        # that transaction holds the locks of everything before.
        return (
            is_lock_timeout(error)
            and attempt_number <= self.retries
            and attempt.may_be_repeated
            and not self.run_context.dry_run
            and not self.run_context.session.nested
            and not self.run_context.session.lost
            and all(ref.may_retry for ref in attempt.hook_runner.begun_hooks)
        )

    def _finish(self, attempt: TransactionalAttempt, *warnings: str) -> MigrationResult:
        signal = self._end_event()
        callbacks = tuple(attempt.hook_runner.context.callbacks)
        # Nothing is committed yet: the caller gets the callbacks to run after the commit.
        kept = self.run_context.dry_run or self.run_context.session.nested
        if self.run_context.rolls_back:
            self._rehearsed_labels.append(attempt.work.label)
        failed, interrupted = _run_callbacks(() if kept else callbacks)
        attempt.hook_runner.refresh_stats()
        outcome: MigrationOutcome = "applied" if attempt.work.direction == "forward" else "reverted"
        outcome = "rehearsed" if self.run_context.dry_run else outcome
        report = self._build_report(attempt, outcome, [*warnings, *failed])
        return MigrationResult(
            evolve(report, on_commit=tuple(map(get_callback_name, callbacks)) if kept else ()),
            on_commit=callbacks if kept else (),
            stats=attempt.hook_runner.context.stats,
            interrupted=signal or interrupted,
        )

    def _end_event(self) -> KeyboardInterrupt | None:
        """Read the schema after a migration; return a signal that came during it: the report is kept."""
        try:
            if self.run_context.events:
                self.run_context.events.end_migration()
        except KeyboardInterrupt as signal:
            return signal
        return None

    def _fail(
        self, attempt: TransactionalAttempt, error: BaseException, attempt_number: int
    ) -> MigrationResult:
        stage = error.phase.spec if isinstance(error, HookError) else attempt.stage
        holder = self.lock_monitor.take_last_blocker() if was_blocked(error) else None
        fault = build_fault(error, stage, attempt.statements, holder)
        # A failed statement is reported with its place, and a failed hook with its name.
        if attempt.statements.failed is None and not isinstance(error, HookError):
            fault = self._name_own_row(fault, error)
        if attempt_number > 1:
            counted = f"attempt {attempt_number} of {self.retries + 1}"
            fault = evolve(fault, message=f"{fault.message} ({counted})")
        if isinstance(error, EndedTransaction) or (isinstance(error, HookFatal) and error.may_be_committed):
            possible_commit = self._describe_possible_commit(attempt)
            error.add_note(possible_commit)
            fault = evolve(fault, message=f"{fault.message}; {possible_commit}")
        line = find_source_line(error, attempt.statements)
        # Cleared before on_error: its own callbacks are called after its commit, those of the migration
        # that failed are not.
        attempt.hook_runner.context.callbacks.clear()
        # 53200 is "out of shared memory": the lock table is full.
        if self.run_context.rolls_back and fault.sqlstate == "53200":
            fault = evolve(fault, hint=_OUT_OF_LOCKS_HINT)
        warnings = [] if isinstance(error, KeyboardInterrupt) else self._try_on_error_hooks(attempt, error)
        report = evolve(
            self._build_report(attempt, "failed", warnings),
            reason=attempt.describe_remains(),
            error=fault,
            source_line=line,
            hooks=attempt.undo_hooks(),
        )
        self._record_failure(attempt, fault)
        return MigrationResult(
            report,
            error=error,
            stats=attempt.hook_runner.context.stats,
        )

    def _name_own_row(self, fault: Fault, error: BaseException) -> Fault:
        """Return the fault with what confiture was writing itself, if that was refused."""
        schema = self.run_context.ledger.schema
        table = find_refusing_table(self.run_context.session.conn, error, schema)
        if table is None:
            return fault
        message, hint = describe_refusal(table, fault.message)
        # A missing right has its own hint.
        denied = (fault.message or "").startswith("permission denied")
        return evolve(fault, message=message, hint=fault.hint if denied else hint)

    def _record_failure(self, attempt: TransactionalAttempt, fault: Fault) -> None:
        if self.run_context.events:
            error = EventError(fault.message, fault.sqlstate, fault.phase, fault.hook, fault.line)
            self.run_context.events.record_failure(attempt.build_event("FAILED", error))

    def _settle(
        self, attempt: TransactionalAttempt, error: BaseException, attempt_number: int
    ) -> MigrationResult:
        """Return the result of a migration whose COMMIT was not answered: the ledger says what it is."""
        state = look_up_commit(self.reconnect, self.run_context.ledger, attempt.work)
        if state.committed and attempt.stage == "commit":
            attempt.complete = True
            result = self._finish(attempt, COMMITTED_WARNING)
            return evolve(result, interrupted=result.interrupted or error)
        result = self._fail(attempt, error, attempt_number)
        assert result.report.error is not None
        fault = explain_commit(result.report.error, state, attempt.work)
        error.add_note(fault.message)
        # An attempt counts what it saw itself, and calls the rest doubtful; the ledger knows more.
        reason = state.describe_remains(result.report.reason)
        return evolve(result, report=evolve(result.report, error=fault, reason=reason))

    def _describe_possible_commit(self, attempt: TransactionalAttempt) -> str:
        """Describe what may be committed after a migration or a hook ran COMMIT itself."""
        begun = ", ".join(dict.fromkeys(ref.name for ref in attempt.hook_runner.begun_hooks))
        hooks = f" (its hooks so far: {begun})" if begun else ""
        before = "".join(f" and migration {label}, rehearsed before it," for label in self._rehearsed_labels)
        callers = " and the caller's transaction" if self.run_context.session.nested else ""
        return (
            f"the work of migration {attempt.work.label}{hooks}{before}{callers} until then may be "
            "committed, and is not in the ledger"
        )

    def _try_on_error_hooks(self, attempt: TransactionalAttempt, error: BaseException) -> list[str]:
        """Run the ``on_error`` hooks in a new transaction; return the warnings."""
        try:
            with attempt.register_hooks():
                if not attempt.hook_runner.has_hooks(HookPhase.ON_ERROR):
                    return []
                return self._run_on_error_hooks(attempt, error)
        except MigrationFault:
            return []  # the migration's own hook lists are invalid, which is the error reported already

    def _run_on_error_hooks(self, attempt: TransactionalAttempt, error: BaseException) -> list[str]:
        session, new = self.run_context.session, None
        if session.lost:
            try:
                new = self.reconnect()
            except UserFault as fault:
                return [f"on_error did not run: could not connect ({fault.message})"]
            session = Session(new, owned=True)
        context = attempt.hook_runner.context
        context.error = unwrap_hook_error(error)
        try:
            with session.transaction():
                attempt.hook_runner.run(session, HookPhase.ON_ERROR, error=unwrap_hook_error(error))
        except Exception as second:
            known = isinstance(second, HookError | psycopg.Error)
            return [f"on_error failed too: {second if known else describe_error(second)}"]
        except KeyboardInterrupt:
            return ["on_error was interrupted, and what it wrote rolled back"]
        finally:
            if new is not None:
                new.close()
        if session.nested or self.run_context.dry_run:
            return []
        return _run_callbacks(context.callbacks)[0]

    def _build_report(
        self, attempt: TransactionalAttempt, outcome: MigrationOutcome, warnings: list[str]
    ) -> MigrationReport:
        report = MigrationReport(
            version=attempt.work.version,
            name=attempt.work.name,
            outcome=outcome,
            duration_ms=attempt.duration_ms,
            rows_affected=attempt.statements.rows_affected,
            hooks=tuple(attempt.hook_runner.reports),
            warnings=(*attempt.statements.warnings, *attempt.hook_runner.warnings, *warnings),
            file=str(attempt.work.file) if attempt.work.file else None,
        )
        return attempt.measure(report)


def _run_callbacks(
    callbacks: Sequence[Callable[[], object]],
) -> tuple[list[str], KeyboardInterrupt | None]:
    """Call ``on_commit`` callbacks until a signal arrives; return the warnings, and the signal."""
    warnings: list[str] = []
    for number, callback in enumerate(callbacks):
        try:
            warnings += filter(None, [run_callback(callback)])
        except KeyboardInterrupt as signal:
            stopped, *rest = map(get_callback_name, callbacks[number:])
            more = f"; not called: {', '.join(rest)}" if rest else ""
            text = f"on_commit callback {stopped} was interrupted after the commit{more}"
            return [*warnings, text], signal
    return warnings, None


_OUT_OF_LOCKS_HINT = (
    "one transaction holds the locks of the whole plan: raise max_locks_per_transaction on the server, or "
    "rehearse in a clone, which commits each migration: --in clone"
)
