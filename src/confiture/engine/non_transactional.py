"""Walk a no-transaction migration: each statement by itself, recorded when done, resumed after a crash.

A statement that PostgreSQL allows in a transaction is committed together with its record. One that it
does not (CREATE INDEX CONCURRENTLY, VACUUM) is noted before it begins and again when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import psycopg
from attrs import define, evolve, field
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus

from confiture.engine.observer import NoObserver
from confiture.engine.transactional import RunContext, TransactionalAttempt
from confiture.exceptions import LedgerFault, LockFault, MigrationFault
from confiture.hooks.api import HookPhase
from confiture.hooks.checkpoints import CheckpointedTransaction
from confiture.hooks.implementation import HookImplementation
from confiture.ledger.migration_lock import build_lock_lost_fault, is_lock_held
from confiture.migrations.folder import hash_text
from confiture.migrations.prepare import PreparedMigration
from confiture.migrations.sql_migration import SqlMigration
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import Migration, SqlScript, Statement
from confiture.models.report import HookReport, MigrationReport
from confiture.postgres.invalid_indexes import ConcurrentBuild, drop_indexes, is_concurrent, parse_build
from confiture.postgres.locks import CHANGED_SQL, HELD_SQL
from confiture.postgres.session import end_copy, fetch_rows, quote_literal, send


@define
class NonTransactionalAttempt(TransactionalAttempt):
    """One attempt at one no-transaction migration.

    Attributes:
        python_steps: How many statements a Python migration has begun.
    """

    _checkpoints: dict[tuple[str, ...], Any] = field(factory=dict)
    python_steps: int = 0

    @classmethod
    def begin(
        cls, run_context: RunContext, work: PreparedMigration, attempt: int, migration: Migration
    ) -> Self:
        """Make a fresh migration ready for one attempt."""
        walk = super().begin(run_context, work, attempt, migration)
        walk.statements.wrap_python_statement = walk._wrap_python_statement
        return walk

    def watch(self) -> None:
        """Have each statement watched by itself: the whole has no transaction to watch."""
        self.observer = NoObserver()
        super().watch()

    def run(self) -> None:
        """Run it statement by statement; each phase has a transaction of its own.

        Raises:
            Exception: Whatever went wrong; what was recorded before is kept.
        """
        session = self.run_context.session
        try:
            with self.register_hooks(), session.keep_idle():
                send(session.conn, self.timeouts_sql(local=False))
                self.run_context.step_observer.begin()
                self._checkpoints = self._read_checkpoints()
                try:
                    self._run_phase_alone(HookPhase.BEFORE_VALIDATION)
                    self._run_phase_alone(HookPhase.BEFORE_DDL)
                    self.run_migration()
                    self._run_phase_alone(HookPhase.AFTER_DDL)
                    self._verify_alone()
                    self._run_phase_alone(HookPhase.AFTER_VALIDATION)
                    self._run_phase_alone(HookPhase.CLEANUP)
                finally:
                    self._clean()
                self._finish()
        finally:
            self.duration_ms = self.measure_elapsed_ms()

    def _read_checkpoints(self) -> dict[tuple[str, ...], Any]:
        """Return what generator hooks yielded last before a crash; asked before any role is taken."""
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
        before, stretches = len(self.hook_runner.reports), self._build_checkpointed_transaction()
        try:
            with stretches:
                self.hook_runner.run(self.run_context.session, phase, stretches)
        except BaseException:
            if not stretches.commit_count:
                # Hooks of this phase that had been kept are undone with its transaction.
                self.hook_runner.reports[before:] = [
                    evolve(report, outcome="undone") for report in self.hook_runner.reports[before:]
                ]
            raise
        self._keep_settings()

    def _open_own_transaction(self, ended: Callable[[], None] | None = None) -> Any:
        def committing() -> None:
            if not is_lock_held(self.run_context.migration_lock):
                raise build_lock_lost_fault()

        return self.run_context.session.transaction(before_commit=committing, after_commit=ended)

    def _keep_settings(self) -> None:
        """Let what hooks set for this migration outlive their transaction."""
        for name, value in self.hook_runner.local_settings.items():
            send(
                self.run_context.session.conn,
                f"SELECT set_config({quote_literal(name)}, {quote_literal(value)}, false)",
            )

    def run_migration(self) -> None:
        """Run the statements, or what is left of them."""
        forward = self.work.direction == "forward"
        self.stage = "up" if forward else "down"
        if isinstance(self.migration, SqlMigration):
            self._resume(self.migration.script)
        else:
            self._start_over()
            (self.migration.up if forward else self.migration.down)()
            self._refuse_unfinished()
        self.committed = self.committed or bool(self.statements.reports)

    def _start_over(self) -> None:
        """Say that a Python migration does again what it had done, and forget the record of that."""
        if self.work.recorded is None:
            return
        ran = len(self.work.recorded.done)
        self.hook_runner.warnings.append(
            f"it starts over; statements that had run before it was stopped: {ran}"
        )
        self._record(self.run_context.ledger.render_start_over_sql(self.work))

    def _refuse_unfinished(self) -> None:
        """Refuse what a Python migration left behind; the runner's own transactions come next."""
        self.refuse_open_copy()
        status = self.run_context.session.conn.info.transaction_status
        if status == TransactionStatus.UNKNOWN:
            raise MigrationFault("the connection was closed or lost", file=self.work.file)
        if status != TransactionStatus.IDLE:
            raise MigrationFault(
                "it left a transaction open (a BEGIN of its own), which has been rolled back",
                hint="put `with self.connection.transaction():` round what belongs together",
                file=self.work.file,
            )

    def _resume(self, script: SqlScript) -> None:
        done = self.work.recorded.done if self.work.recorded else ()
        if done != tuple(hash_text(statement.sql) for statement in script.statements[: len(done)]):
            raise LedgerFault(
                f"migration {self.work.label} is unfinished, and what was done of it has changed since",
                hint=f"confiture repair {self.work.version}",
            )
        if self.work.recorded:
            self._refuse_leftovers(script)
        for step in range(len(done), len(script.statements)):
            self._run_step(step, script.statements[step])

    def _refuse_leftovers(self, script: SqlScript) -> None:
        builds = [
            parse_build(statement.sql) for statement in script.statements if not statement.in_transaction
        ]
        left = sorted(
            {name for build in builds if build for name in build.find_invalid(self.run_context.session.conn)}
        )
        if left:
            raise LedgerFault(
                f"migration {self.work.label} is unfinished and has left an invalid index: {', '.join(left)}",
                hint=f"confiture repair {self.work.version}",
            )

    def _run_step(self, step: int, statement: Statement) -> None:
        ledger = self.run_context.ledger
        entry = self._build_entry()
        if self._was_done(statement):
            self._record(ledger.render_end_step_sql(entry, step))
        elif statement.in_transaction:
            record = ledger.render_begin_step_sql(entry, step, statement.sql) + ledger.render_end_step_sql(
                entry, step
            )
            self._run_step_in_transaction(statement, record)
        else:
            build = parse_build(statement.sql)
            self._refuse_invalid(build, statement.line)
            self._record(ledger.render_begin_step_sql(entry, step, statement.sql))
            with (
                self._clean_up_after_failure(
                    statement.sql, build, ledger.render_forget_step_sql(entry, step)
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
            self._record(ledger.render_end_step_sql(entry, step))
        self.committed = True

    def _build_entry(self) -> LedgerEntry:
        work = self.work
        return LedgerEntry(work.version, work.name, work.checksum, None, (), work.direction)

    def _was_done(self, statement: Statement) -> bool:
        """Whether a statement that was begun had ended before its record could be written."""
        done = self.work.recorded
        if done is None or done.begun != hash_text(statement.sql) or statement.kind != "index_stmt":
            return False
        build = parse_build(statement.sql)
        return build is not None and build.is_built(self.run_context.session.conn)

    def _run_step_in_transaction(self, statement: Statement, record: str) -> None:
        conn = self.run_context.session.conn
        watched = self.run_context.step_observer.watch_transaction(len(self.statements.reports))
        with self._open_own_transaction(), watched as self.statements.observer:
            self.statements.run(statement)
            held, changed = send(conn, f"{HELD_SQL}; {CHANGED_SQL}; {RESET_ROLE_SQL} {record}")
            self.hook_runner.changed_before.update(name for (name,) in changed)
            self.run_context.step_observer.take_locks(held)
        self.statements.observer = self.observer

    @contextmanager
    def _wrap_python_statement(self, sql: str, line: int | None) -> Iterator[None]:
        """Stand round one statement of a Python migration, which is committed when it ends."""
        if not is_lock_held(self.run_context.migration_lock):
            raise build_lock_lost_fault()
        if self.run_context.refuse_call:
            self.run_context.refuse_call(self.work, sql, line)
        build = parse_build(sql)
        self._refuse_invalid(build, line)
        if self.run_context.session.conn.info.transaction_status != TransactionStatus.IDLE:
            # A transaction of its own, which may yet be rolled back: a record would go with it.
            yield
            return
        step, self.python_steps = self.python_steps, self.python_steps + 1
        self._record(self.run_context.ledger.render_begin_step_sql(self._build_entry(), step, sql))
        with (
            self._clean_up_after_failure(
                sql, build, self.run_context.ledger.render_forget_step_sql(self._build_entry(), step)
            ),
            self.run_context.step_observer.watch_statement(len(self.statements.reports), sql, line),
        ):
            yield
        if self.run_context.session.conn.info.transaction_status == TransactionStatus.IDLE:
            self._record(self.run_context.ledger.render_end_step_sql(self._build_entry(), step))

    @contextmanager
    def _clean_up_after_failure(
        self, sql: str, build: ConcurrentBuild | None, forget: str = ""
    ) -> Iterator[None]:
        """Stand round a statement that has no transaction of ours; see what it leaves where it fails."""
        conn = self.run_context.session.conn
        before = build.find_invalid(conn) if build else ()
        try:
            with self._use_concurrently_timeout() if is_concurrent(sql) else nullcontext():
                yield
        except psycopg.Error as error:
            if self.run_context.session.lost:
                raise
            left = tuple(name for name in build.find_invalid(conn) if name not in before) if build else ()
            if left and isinstance(error, LockNotAvailable):
                self._drop_invalid(left, error)
                left = ()
            if forget and not left:
                self._record(forget)
            raise

    @contextmanager
    def _use_concurrently_timeout(self) -> Iterator[None]:
        """Give CONCURRENTLY its own lock_timeout: it waits for old transactions, and blocks nobody."""
        conn = self.run_context.session.conn
        send(conn, f"SET lock_timeout = {quote_literal(self.run_context.wait_concurrently)}")
        try:
            yield
        finally:
            if not self.run_context.session.lost:
                send(conn, self.timeouts_sql(local=False))

    def _drop_invalid(self, left: tuple[str, ...], error: LockNotAvailable) -> None:
        """Drop the invalid index of a CONCURRENTLY that waited in vain, so that it can be tried again."""
        try:
            with self._use_concurrently_timeout():
                drop_indexes(self.run_context.session.conn, left)
        except LockNotAvailable:
            raise LockFault(
                f"{error.diag.message_primary}; it left the invalid index {left[0]}, and dropping that "
                "waited in vain too",
                hint=f"when the old transactions are over: DROP INDEX CONCURRENTLY {left[0]}; run again",
            ) from error

    def _record(self, record: str) -> None:
        with self._open_own_transaction():
            send(self.run_context.session.conn, f"{RESET_ROLE_SQL} {record}")

    def _refuse_invalid(self, build: ConcurrentBuild | None, line: int | None) -> None:
        """Refuse to take an invalid index for done, as IF NOT EXISTS would."""
        left = build.find_invalid(self.run_context.session.conn) if build and build.index else ()
        if left:
            raise MigrationFault(
                f"index {left[0]} is there but invalid: an earlier attempt failed",
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
        """Write the ledger row, last, in a transaction of its own."""
        self.stage = "commit"
        with self._open_own_transaction(self._mark_complete):
            send(self.run_context.session.conn, self.ledger_sql())

    # What the report says of it.

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with its statements, each as it was watched."""
        return self.run_context.step_observer.measure(
            evolve(report, statements=tuple(self.statements.reports))
        )

    def describe_remains(self) -> str | None:
        """Say what is committed of it although it failed; ``None`` if that is nothing."""
        if not self.committed:
            return None
        if self.run_context.dry_run:
            return "a run would keep and record what it had done until then, and go on from there"
        return "what it had done until then is kept and recorded; a run goes on from there"

    def undo_hooks(self) -> tuple[HookReport, ...]:
        """Return its hooks: each phase has committed or undone its own."""
        return tuple(self.hook_runner.reports)

    def _clean(self) -> None:
        session = self.run_context.session
        end_copy(session.conn)
        if session.lost:
            return
        if session.conn.info.transaction_status != TransactionStatus.IDLE:
            send(session.conn, "ROLLBACK")
            # What began the transaction left nothing behind either.
            self._record(
                self.run_context.ledger.render_forget_step_sql(self._build_entry(), self.python_steps - 1)
            )
        if session.owned:
            send(session.conn, session.render_reset_sql())
        else:
            session.restore()


# The ledger is the runner's: whatever role the migration has taken must not write it. Ours is the one
# that the session began with, which ALTER ROLE … SET role may have made another than the user.
RESET_ROLE_SQL = "SET LOCAL role TO DEFAULT;"


def _identify_hook(ref: HookImplementation) -> tuple[str, str, str]:
    return ref.phase.spec, ref.plugin or "", ref.name
