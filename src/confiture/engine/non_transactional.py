"""Run a no-transaction migration statement by statement, and go on after the last one that a crash left.

``step_recorder`` records each statement; here is the order in which hooks, statements and checks run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

from attrs import define, evolve, field
from psycopg.pq import TransactionStatus

from confiture.engine.observer import NoObserver
from confiture.engine.run_context import RunContext
from confiture.engine.step_recorder import RESET_ROLE_SQL, StepRecorder
from confiture.engine.transactional import TransactionalAttempt
from confiture.exceptions import LedgerFault, MigrationFault
from confiture.hooks.api import HookPhase
from confiture.hooks.checkpoints import CheckpointedTransaction
from confiture.hooks.implementation import HookImplementation
from confiture.ledger.resume import ResumePoint, find_resume_point
from confiture.migrations.prepare import PreparedMigration, select_settings
from confiture.migrations.sql_migration import SqlMigration
from confiture.models.migration import Migration, SqlScript, Statement
from confiture.models.report import HookReport, MigrationReport
from confiture.postgres.invalid_indexes import parse_build
from confiture.postgres.locks import CHANGED_SQL, HELD_SQL
from confiture.postgres.open_copy import end_copy
from confiture.postgres.session import fetch_rows, quote_literal, send


@define
class NonTransactionalAttempt(TransactionalAttempt):
    """One attempt at one no-transaction migration.

    Attributes:
        recorder: Records its statements, and knows what is committed.
        python_steps: The number of statements that a Python migration has begun.
        refused: True if it is unfinished and nothing was sent, because a person must decide first.
    """

    _checkpoints: dict[tuple[str, ...], Any] = field(factory=dict)
    python_steps: int = 0
    refused: bool = False
    recorder: StepRecorder = field(init=False)

    @recorder.default
    def _make_recorder(self) -> StepRecorder:
        return StepRecorder(
            self.run_context, self.work, self.statements, lambda: self.render_timeouts_sql(local=False)
        )

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
            self.recorder.open_transaction, lambda ref: self._checkpoints.get(_identify_hook(ref)), store
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
                self.recorder.work_done.phases.append(f"{phase.spec} (in part)")
            else:
                # The phase's transaction is rolled back, and with it the hooks that had succeeded.
                self.hook_runner.reports[before:] = [
                    evolve(report, outcome="undone") for report in self.hook_runner.reports[before:]
                ]
            raise
        self.recorder.work_done.phases.append(phase.spec)
        self._keep_settings()

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
        self.recorder.work_done.total = len(statements)
        self.recorder.work_done.lines += [statement.line for statement in statements[:done]]
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
            self.run_context.step_observer.note_unseen(None)
            (self.migration.up if forward else self.migration.down)()
            self._refuse_unfinished()

    def _start_over(self) -> None:
        """Put the record of what a Python migration had done aside, and warn that it repeats it."""
        self.warn_of_start_over()
        if self.work.recorded is not None:
            self.recorder.record(self.run_context.ledger.render_start_over_sql(self.work))

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
            self.recorder.record_end(point.unrecorded, script.statements[point.unrecorded].line)
        for statement in select_settings(script.statements[: point.step]):
            self.statements.run(statement)
        for step in range(point.step, len(script.statements)):
            statement = script.statements[step]
            if statement.in_transaction:
                self._run_step_in_transaction(step, statement)
            else:
                self._run_step(step, statement)

    def _run_step(self, step: int, statement: Statement) -> None:
        build = parse_build(statement.sql)
        self.recorder.refuse_invalid(build, statement.line)
        with (
            self.recorder.track(step, statement.sql, statement.line, build),
            self.run_context.step_observer.watch_statement(
                len(self.statements.reports), statement.sql, statement.line
            ),
        ):
            self.statements.run(statement)
        self.hook_runner.changed_before.update(
            build.read_table(self.run_context.session.conn) if build else ()
        )
        self.run_context.step_observer.note_unseen(statement.line)
        self.recorder.record_end(step, statement.line)

    def _run_step_in_transaction(self, step: int, statement: Statement) -> None:
        conn = self.run_context.session.conn
        watched = self.run_context.step_observer.watch_transaction(len(self.statements.reports))
        ran = False
        add_line = partial(self.recorder.work_done.lines.append, statement.line)
        try:
            with self.recorder.open_transaction(add_line), watched as self.statements.observer:
                self.statements.run(statement)
                # One message: the locks and the changed relations are known only before the commit, and the
                # record is committed with the statement.
                record = self.recorder.render_step_sql(step, statement.sql)
                held, changed = send(conn, f"{HELD_SQL}; {CHANGED_SQL}; {RESET_ROLE_SQL} {record}")
                self.hook_runner.changed_before.update(name for (name,) in changed)
                self.run_context.step_observer.take_locks(held)
                ran = True
        except BaseException:
            # The server may have committed and lost only its answer; the record then tells the next run.
            if ran and self.run_context.session.lost:
                self.recorder.work_done.set_doubt(statement.line, "may be committed: the connection was lost")
            raise
        self.statements.observer = self.observer

    @contextmanager
    def _wrap_python_statement(self, sql: str, line: int | None) -> Iterator[None]:
        """Record one statement of a Python migration, which commits when it ends."""
        self.recorder.check_lock()
        if self.run_context.refuse_call:
            self.run_context.refuse_call(self.work, sql, line)
        build = parse_build(sql)
        self.recorder.refuse_invalid(build, line)
        if not self._is_idle():
            # Inside the migration's own transaction block, which may yet be rolled back, and the record
            # with it.
            yield
            self.recorder.work_done.in_own_transactions += 1
            return
        step, self.python_steps = self.python_steps, self.python_steps + 1
        with (
            self.recorder.track(step, sql, line, build),
            self.run_context.step_observer.watch_statement(len(self.statements.reports), sql, line),
        ):
            yield
        # Not if the statement was BEGIN: the record would be part of that transaction.
        if self._is_idle():
            self.recorder.record_end(step, line)
        else:
            self.recorder.end_doubt()

    def _is_idle(self) -> bool:
        return self.run_context.session.conn.info.transaction_status == TransactionStatus.IDLE

    def _verify_alone(self) -> None:
        self.stage = "validation"
        if self._has_verify():
            with self.recorder.open_transaction():
                self.verify()

    def _finish(self) -> None:
        """Write the ledger row, as the last step, in a separate transaction."""
        self.stage = "commit"
        with self.recorder.open_transaction(self._mark_complete):
            send(self.run_context.session.conn, self.render_ledger_sql())

    # The report.

    @property
    def may_be_repeated(self) -> bool:
        """True if a new attempt repeats nothing that may be committed already."""
        return self.recorder.may_be_repeated

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with the migration's statements and what the observer saw of each."""
        return self.run_context.step_observer.measure(
            evolve(report, statements=tuple(self.statements.reports))
        )

    def describe_remains(self) -> str:
        """Describe what is committed and what may be, and how to go on."""
        work = self.recorder.work_done
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
        if not self._is_idle():
            send(session.conn, "ROLLBACK")
            # The statement that began the transaction is rolled back too: delete its record.
            self.recorder.record_forget(self.python_steps - 1)
        if session.owned:
            send(session.conn, session.render_reset_sql())
        else:
            session.restore()


def _identify_hook(ref: HookImplementation) -> tuple[str, str, str]:
    return ref.phase.spec, ref.plugin or "", ref.name
