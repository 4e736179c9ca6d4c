"""Run one migration through its phases: the same code for run, rehearsal and down.

Only the end of the transaction differs: a run commits, a rehearsal is inside a transaction that is rolled
back, and an application ends its own transaction. So the gate judges exactly what will run.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import psycopg
from attrs import define, evolve, field
from psycopg.errors import InvalidSavepointSpecification
from psycopg.pq import TransactionStatus

from confiture.engine.observer import Observer
from confiture.engine.run_context import RunContext
from confiture.engine.statements import StatementRunner
from confiture.exceptions import MigrationFault
from confiture.hooks.api import HookPhase
from confiture.hooks.hook_context import HookContext
from confiture.hooks.hook_runner import HookRunner, register_own_hooks
from confiture.ledger.migration_lock import build_lock_lost_fault
from confiture.migrations.prepare import PreparedMigration, check_timeouts
from confiture.migrations.sql_migration import SqlMigration
from confiture.models.event import EventError, EventHook, EventKind, EventLock, NewEvent
from confiture.models.ledger import LedgerRow
from confiture.models.migration import Migration, Statement
from confiture.models.report import HookReport, MigrationReport
from confiture.postgres.deferred_constraints import render_constraint_check
from confiture.postgres.open_copy import end_copy, has_open_copy
from confiture.postgres.session import Row, quote_literal, send


class EndedTransaction(MigrationFault):
    """A migration ended its own transaction; the runner adds what may be committed."""


@define
class TransactionalAttempt:
    """One attempt at one migration.

    Attributes:
        run_context: The values shared with the other migrations of the run.
        work: The migration to run, and its direction.
        migration: A new instance, used for this attempt only.
        hook_runner: Runs its hooks and keeps their reports.
        statements: Runs its statements and keeps their reports.
        stage: The current phase, ``up``, ``down``, ``validation`` or ``commit``.
        observer: Observes it from begin to end.
        complete: True if all of it succeeded, the commit included.
        duration_ms: From begin to end, in milliseconds.
    """

    run_context: RunContext
    work: PreparedMigration
    migration: Migration
    hook_runner: HookRunner
    statements: StatementRunner
    observer: Observer
    stage: str = "begin"
    complete: bool = False
    duration_ms: float = 0.0
    _began_ms: float = field(init=False)
    _sentinel: str = field(factory=lambda: f"confiture_{secrets.token_hex(8)}")
    _timeouts: dict[str, str] = field(factory=dict)
    _sends_sql_only: bool = False

    @_began_ms.default
    def _read_clock_ms(self) -> float:
        """Return the observer's clock, in milliseconds; a rehearsal's leaves tracing out."""
        return self.observer.read_clock_ms()

    @classmethod
    def begin(
        cls, run_context: RunContext, work: PreparedMigration, attempt: int, migration: Migration
    ) -> Self:
        """Make a fresh migration ready for one attempt."""
        context = HookContext(
            work.name,
            work.version,
            work.direction,
            dry_run=run_context.dry_run,
            attempt=attempt,
            folder=work.file.parent if work.file else None,
        )
        statements = StatementRunner(run_context.session.conn, work.file, run_context.cpu_wait)
        migration._run_statement = statements.execute
        if isinstance(migration, SqlMigration):
            migration.run_statement = statements.run
        ready = cls(
            run_context,
            work,
            migration,
            HookRunner(
                run_context.plugin_manager,
                context,
                own_schema=run_context.ledger.schema,
                list_statements=statements.list_sql,
            ),
            statements,
            run_context.observer,
        )
        if run_context.rolls_back and not migration.transactional and isinstance(migration, SqlMigration):
            migration.run_statement = ready._run_before_commit
        ready.watch()
        return ready

    def _run_before_commit(self, statement: Statement) -> None:
        """Run a statement of a no-transaction migration and check deferred constraints, as its commit does.

        Without the check, ALTER TABLE would fail on trigger events that a run has no longer pending.
        """
        self.statements.run(statement)
        self._check_constraints()

    def _check_constraints(self) -> None:
        conn = self.run_context.session.conn
        if check := render_constraint_check(conn):
            send(conn, check)

    def watch(self) -> None:
        """Let the observer see every statement and hook."""
        self.observer.reset()
        self.statements.observer = self.hook_runner.observer = self.observer

    def run(self) -> None:
        """Run it in one transaction, or in a savepoint of the caller's or the rehearsal's transaction.

        psycopg's block itself refuses ``commit()``, ``rollback()`` and ``autocommit = …``. A raw
        SAVEPOINT would not: a hook's ``conn.commit()`` would really commit. Without Python code, the sentinel
        is enough.

        Raises:
            Exception: Whatever stopped it; the migration has been rolled back.
        """
        try:
            with self.register_hooks(), self._open_transaction():
                self._prepare_transaction()
                self._run_phase(HookPhase.BEFORE_VALIDATION)
                self._run_phase(HookPhase.BEFORE_DDL)
                with self.statements.listen():
                    self.run_migration()
                self._run_phase(HookPhase.AFTER_DDL)
                # Deferred triggers run here, and in the last message; they may speak too.
                with self.statements.listen():
                    self._validate()
                self._run_phase(HookPhase.AFTER_VALIDATION)
                self._run_phase(HookPhase.CLEANUP)
                with self.statements.listen():
                    self._close()
        finally:
            self.duration_ms = self.measure_elapsed_ms()

    # The steps.

    @contextmanager
    def register_hooks(self) -> Iterator[None]:
        """Register the migration's own hooks while the block runs."""
        self.stage = "begin"
        try:
            own = register_own_hooks(self.run_context.plugin_manager, self.migration)
            # Not `with`: a TypeError from inside the block has another reason, and stays one.
            own.__enter__()
        except TypeError as error:
            raise MigrationFault(str(error), file=self.work.file) from error
        try:
            yield
        finally:
            own.__exit__(None, None, None)

    @contextmanager
    def _open_transaction(self) -> Iterator[None]:
        def note_commit() -> None:
            self.stage = "commit"

        self._sends_sql_only = self._runs_no_code()
        if self._sends_sql_only:
            # psycopg's block would cost two round trips a migration, to refuse a commit() that no code calls.
            with self._open_savepoint():
                yield
            self._mark_complete()
            return
        with self.run_context.session.transaction(
            before_commit=note_commit, after_commit=self._mark_complete
        ):
            yield

    def _runs_no_code(self) -> bool:
        """Return True if a rehearsal runs nothing but the statements of a file: no hook, and no check."""
        context = self.run_context
        plain = context.rolls_back and context.session.owned and type(self.migration) is SqlMigration
        return plain and not self.hook_runner.has_hooks(*HookPhase)

    @contextmanager
    def _open_savepoint(self) -> Iterator[None]:
        """Undo a failure with the sentinel, which the first message sets and the last one releases."""
        try:
            yield
        except BaseException:
            conn = self.run_context.session.conn
            end_copy(conn)
            with contextlib.suppress(psycopg.Error):
                send(conn, f"ROLLBACK TO {self._sentinel}; RELEASE {self._sentinel}")
            raise

    def _mark_complete(self) -> None:
        self.complete = True

    @property
    def _shares_transaction(self) -> bool:
        """True if somebody else ends the transaction: a rehearsal, or a caller that was already in one."""
        return self.run_context.rolls_back or self.run_context.session.nested

    def _prepare_transaction(self) -> None:
        """Open the sentinel, set the timeouts and note the initial state, in one message.

        The sentinel is a savepoint with a random name. A COMMIT by the migration destroys it, and that is
        the only sure sign of one: the transaction id tells nothing, since PostgreSQL assigns none before
        the first write.
        """
        timeouts, *answers = self.run_context.session.begin_migration(
            self.render_timeouts_sql(local=True),
            self.observer.render_opening_sql(shared=self._shares_transaction),
            savepoint=f"SAVEPOINT {self._sentinel};",
        )
        self._timeouts = dict(zip(("lock_timeout", "statement_timeout"), timeouts[0], strict=True))
        self.observer.begin(
            answers,
            shared=self._shares_transaction,
            hooks=self.hook_runner.has_hooks(*HookPhase),
            sql_only=isinstance(self.migration, SqlMigration),
        )

    def render_timeouts_sql(self, *, local: bool) -> str:
        """Return SELECT items that set this migration's timeouts, for the transaction or for the session.

        It always sets both, so that a migration does not run with what the one before it has set.
        """
        # Checked when the file was read too; an instance may have set others since.
        check_timeouts(self.migration, self.work.file)
        lock, statement = self.migration.lock_timeout, self.migration.statement_timeout
        # Not `or`: a timeout of 0 is none, and not the configured one.
        lock = self.run_context.lock_timeout if lock is None else str(lock)
        statement = (self.run_context.statement_timeout or "0") if statement is None else str(statement)
        return (
            f"set_config('lock_timeout', {quote_literal(lock)}, {str(local).lower()}), "
            f"set_config('statement_timeout', {quote_literal(statement)}, {str(local).lower()})"
        )

    def _run_phase(self, phase: HookPhase) -> None:
        self.stage = phase.spec
        self.hook_runner.run(self.run_context.session, phase)

    def run_migration(self) -> None:
        """Run ``up()`` or ``down()``."""
        forward = self.work.direction == "forward"
        self.stage = "up" if forward else "down"
        self.warn_of_start_over()
        (self.migration.up if forward else self.migration.down)()
        self.check_transaction()

    def warn_of_start_over(self) -> None:
        """Warn that an unfinished Python migration repeats what it had done.

        It cannot resume in the middle: only Python knows which statement comes next.
        """
        if self.work.recorded is not None and self.work.script is None:
            ran = len(self.work.recorded.done)
            self.hook_runner.warnings.append(
                f"it starts over and repeats the statements that had run before it was stopped: {ran}"
            )

    def _check_sentinel(self) -> None:
        """Raise if the migration ran COMMIT and then BEGIN, before hooks run in that other transaction.

        The status alone does not show it: it is INTRANS again.
        """
        if isinstance(self.migration, SqlMigration):
            return  # planning has refused SQL files that end a transaction: save the round trip
        try:
            send(self.run_context.session.conn, f"RELEASE {self._sentinel}; SAVEPOINT {self._sentinel}")
        except InvalidSavepointSpecification as error:
            raise self.mark_transaction_ended() from error

    def check_transaction(self) -> None:
        """Refuse what a migration left behind, before anything is sent.

        psycopg knows the status without a query, and with a COPY open or after an error no query works.
        """
        self.refuse_open_copy()
        status = self.run_context.session.conn.info.transaction_status
        if status == TransactionStatus.INERROR:
            raise MigrationFault(
                "it caught an SQL error but did not roll it back",
                hint="let the error rise, or wrap the statement in `with self.connection.transaction():`",
                file=self.work.file,
            )
        if status == TransactionStatus.IDLE:
            raise self.mark_transaction_ended()
        if status != TransactionStatus.INTRANS:
            raise MigrationFault("the connection was closed or lost", file=self.work.file)
        self._check_sentinel()

    def refuse_open_copy(self) -> None:
        """Refuse a COPY left open: any other query on the connection would wait for ever."""
        conn = self.run_context.session.conn
        if has_open_copy(conn):
            end_copy(conn)
            raise MigrationFault("it left a COPY or a result open", file=self.work.file)

    def mark_transaction_ended(self) -> EndedTransaction:
        """Return the fault of a migration that ended its own transaction."""
        return EndedTransaction(
            f"migration {self.work.label} ended its transaction (it ran COMMIT or ROLLBACK itself)",
            hint="remove the transaction control, or mark the migration `-- confiture: no-transaction`",
            file=self.work.file,
        )

    def _validate(self) -> None:
        self.stage = "validation"
        if not self.has_steps_after_check():
            return  # `_close` checks the constraints in the last message: one round trip less
        self._check_constraints()
        self.verify()
        self.check_transaction()

    def has_steps_after_check(self) -> bool:
        """Return True if a hook or ``verify()`` runs after the constraints are checked."""
        return self._has_verify() or self.hook_runner.has_hooks(HookPhase.AFTER_VALIDATION, HookPhase.CLEANUP)

    def _has_verify(self) -> bool:
        return type(self.migration).verify is not Migration.verify and self.work.direction == "forward"

    def verify(self) -> None:
        """Run the migration's own ``verify()``, which checks what ``up()`` did."""
        if self._has_verify():
            self.migration.verify()

    def _close(self) -> None:
        """Check constraints, read locks, restore settings and write the ledger row, in one message.

        One message for all of it keeps a migration at 1.2 times plain psycopg; a message each cost 1.7
        times. The order matters: constraints first, because their triggers may still take locks; then the
        sentinel, so that nothing is read or recorded in a transaction that is not ours; the ledger row
        last, after the reset has ended the role that the migration may have taken.
        """
        self.stage = "validation"
        check = "SET CONSTRAINTS ALL IMMEDIATE;"
        if self._shares_transaction:
            # Not ALL where the transaction goes on: it would hold for the migrations that follow, too.
            conn = self.run_context.session.conn
            check = "" if self.observer.left_nothing else render_constraint_check(conn)
        lock_condition = self.run_context.migration_lock.render_condition()
        closing = self.observer.render_closing_sql(lock_condition, checks=bool(check))
        try:
            answers = self._send_end(check, closing)
        except InvalidSavepointSpecification as error:
            raise self.mark_transaction_ended() from error
        # Without the migration lock another run may be at work, and this one must not commit.
        if not self.observer.close(answers):
            raise build_lock_lost_fault()
        # The names of the locked relations are known only now. A migration that locks nothing that existed
        # before costs no round trip more.
        if self.run_context.events and (locks := self._list_locks()):
            # They were held until now, and no lock is to be held longer than the migration took.
            sql = self.run_context.events.render_locks_sql(locks, self.measure_elapsed_ms())
            send(self.run_context.session.conn, sql)

    def _send_end(self, check: str, closing: str) -> list[list[Row]]:
        """Send the last message of the migration, and return the answers to ``closing``."""
        session, release = self.run_context.session, f"RELEASE {self._sentinel};"
        if self._sends_sql_only and self.observer.left_nothing:
            # Nothing to check, to reset or to record: the next migration's first message brings the RELEASE.
            session.defer(release)
            return send(session.conn, closing) if closing else []
        # As the only savepoint, it undoes a failure of this message too.
        middle, end = ("", release) if self._sends_sql_only else (release, "")
        first = f"{check} {middle} {closing};"
        render_last = self._render_ledger_trial if self.run_context.rolls_back else self.render_ledger_sql
        if session.owned:
            return send(session.conn, f"{first} {session.render_reset_sql()} {render_last()} {end}")
        answers = send(session.conn, first)
        session.restore({**self._timeouts, **self.hook_runner.local_settings})
        # Rendered now: it says how long the migration took.
        send(session.conn, render_last())
        return answers

    def _render_ledger_trial(self) -> str:
        """Return SQL that writes the ledger row and takes it back: what a run may not do fails here too."""
        point = f"{self._sentinel}_ledger"
        create = self.run_context.create_ledger_sql
        return f"SAVEPOINT {point}; {create} {self.render_ledger_sql()} ROLLBACK TO {point}; RELEASE {point};"

    def render_ledger_sql(self) -> str:
        """Return SQL that inserts the migration's ledger row, or deletes it after ``down``, and its event."""
        work, events = self.work, self.run_context.events
        if work.direction == "backward":
            event = events.render_success_sql(self.build_event("REVERTED")) if events else ""
            return self.run_context.ledger.render_delete_sql(work.version) + event
        event = events.render_success_sql(self.build_event("APPLIED")) if events else ""
        row = self.run_context.ledger.render_insert_sql(
            LedgerRow(
                version=work.version,
                name=work.name,
                checksum=work.checksum,
                duration_ms=self.measure_elapsed_ms(),
                transactional=self.migration.transactional,
                plugins=tuple(f"{plugin.name}=={plugin.version}" for plugin in self.run_context.plugins),
                hooks=tuple(f"{report.phase} {report.hook}" for report in self.hook_runner.reports),
                repeated=work.repeatable,
                was_unfinished=work.recorded is not None,
            )
        )
        return f"{row} {event}"

    def build_event(self, kind: EventKind, error: EventError | None = None) -> NewEvent:
        """Return the event of this attempt, with what is known of it by now."""
        return NewEvent(
            kind=kind,
            version=self.work.version,
            name=self.work.name,
            direction=self.work.direction,
            duration_ms=self.measure_elapsed_ms() if error is None else self.duration_ms,
            transactional=self.migration.transactional,
            hooks=tuple(
                EventHook(report.phase, report.hook, report.outcome, report.duration_ms)
                for report in (self.hook_runner.reports if error is None else self.undo_hooks())
            ),
            locks=self._list_locks(),
            error=error,
        )

    def _list_locks(self) -> tuple[EventLock, ...]:
        report = self.measure(MigrationReport(self.work.version, self.work.name, "applied"))
        return tuple(EventLock(lock.relation, lock.mode, lock.blocks, lock.held_ms) for lock in report.locks)

    # The report.

    @property
    def may_be_repeated(self) -> bool:
        """True if a new attempt repeats nothing that may be committed already."""
        return True  # one transaction: the failure has undone all of it

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with the migration's statements and what the observer saw."""
        return self.observer.measure(evolve(report, statements=tuple(self.statements.reports)))

    def describe_remains(self) -> str | None:
        """Describe what stays committed after a failure; ``None`` if nothing does."""
        return None

    def undo_hooks(self) -> tuple[HookReport, ...]:
        """Return the hook reports after a failure: undone with the transaction, except ``on_error`` hooks."""
        return tuple(
            hook if hook.phase == HookPhase.ON_ERROR.spec else evolve(hook, outcome="undone")
            for hook in self.hook_runner.reports
        )

    def measure_elapsed_ms(self) -> float:
        """Return the time since the attempt began, in milliseconds."""
        return self._read_clock_ms() - self._began_ms
