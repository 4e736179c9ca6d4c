"""Walk one migration through its phases: the same walk for run, rehearsal and down.

Who ends the transaction is all that differs: a run commits, a rehearsal stands inside a transaction
that is rolled back, an application's own transaction is left to the application.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Self

from attrs import define, evolve, field, frozen
from psycopg.errors import InvalidSavepointSpecification
from psycopg.pq import TransactionStatus

from confiture.engine.observer import Observer, StepObserver
from confiture.engine.statements import StatementRunner
from confiture.exceptions import MigrationFault
from confiture.hooks.api import HookContext, HookPhase
from confiture.hooks.hook_runner import HookRunner, register_own_hooks
from confiture.hooks.plugin_manager import GuardedPluginManager
from confiture.ledger.migration_lock import MigrationLock, build_lock_lost_fault
from confiture.ledger.table import Ledger
from confiture.migrations.prepare import PreparedMigration
from confiture.migrations.sql_migration import SqlMigration
from confiture.models.ledger import LedgerRow
from confiture.models.migration import Migration
from confiture.models.report import HookReport, MigrationReport, PluginUse
from confiture.postgres.locks import HELD_SQL
from confiture.postgres.session import Session, end_copy, has_open_copy, quote_literal, send

# Constraints that are INITIALLY DEFERRED go back to that once checked; another one of the same name
# in the same schema may not be deferrable at all, hence one by one.
RESTORE_DEFERRED_SQL = """
    DO $confiture$
    DECLARE each text;
    BEGIN
        FOR each IN SELECT DISTINCT format('%I.%I', n.nspname, c.conname)
            FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
            WHERE c.condeferred
        LOOP
            BEGIN
                EXECUTE 'SET CONSTRAINTS ' || each || ' DEFERRED';
            EXCEPTION WHEN wrong_object_type THEN NULL;
            END;
        END LOOP;
    END
    $confiture$;
"""


class ExecutionMode(Enum):
    """What becomes of the migrations of one command."""

    RUN = auto()
    """Each is committed and recorded, or belongs to the transaction of the caller."""
    REHEARSE = auto()
    """All of them share one transaction, which is rolled back."""
    REHEARSE_IN_COPY = auto()
    """Each is committed, in a copy of the database that is dropped."""


@frozen
class RunContext:
    """What all migrations of one run share.

    Attributes:
        session: Where they run.
        migration_lock: Who holds the migration lock.
        ledger: Where they are recorded.
        plugin_manager: The plugins.
        plugins: The same, as the ledger names them.
        lock_timeout: Where a migration has none of its own.
        statement_timeout: The same.
        wait_concurrently: The ``lock_timeout`` of CONCURRENTLY.
        mode: Whether they are applied or rehearsed.
        observer: Watches a migration in its transaction.
        step_observer: Watches the statements of a no-transaction migration.
        refuse_call: Refuses a Python migration's statement, before it is sent, if a copy does not isolate it.
    """

    session: Session
    migration_lock: MigrationLock
    ledger: Ledger
    plugin_manager: GuardedPluginManager
    observer: Observer
    step_observer: StepObserver
    plugins: tuple[PluginUse, ...] = ()
    lock_timeout: str = "5s"
    statement_timeout: str | None = None
    wait_concurrently: str = "0"
    mode: ExecutionMode = ExecutionMode.RUN
    refuse_call: Callable[[PreparedMigration, str, int | None], None] | None = None

    @property
    def dry_run(self) -> bool:
        """True in a rehearsal."""
        return self.mode is not ExecutionMode.RUN

    @property
    def rolls_back(self) -> bool:
        """True if all of it is rolled back in the end."""
        return self.mode is ExecutionMode.REHEARSE


class EndedTransaction(MigrationFault):
    """A migration ended its own transaction: the runner says what may be committed."""


@define
class TransactionalAttempt:
    """One attempt at one migration.

    Attributes:
        run_context: What it shares with the others.
        work: What is to be run.
        migration: A fresh one.
        hook_runner: Its hooks, and what they did.
        statements: What it executed.
        stage: Where it is: a phase, ``up``, ``down``, ``validation`` or ``commit``.
        observer: Watches it from its begin to its end.
        committed: Whether anything of it was committed.
        complete: Whether all of it went well, the commit included.
        duration_ms: From its begin to its end, in milliseconds.
    """

    run_context: RunContext
    work: PreparedMigration
    migration: Migration
    hook_runner: HookRunner
    statements: StatementRunner
    observer: Observer
    stage: str = "begin"
    committed: bool = False
    complete: bool = False
    duration_ms: float = 0.0
    _began_ms: float = field(init=False)
    _sentinel: str = field(factory=lambda: f"confiture_{secrets.token_hex(8)}")
    _timeouts: dict[str, str] = field(factory=dict)

    @_began_ms.default
    def _read_clock_ms(self) -> float:
        """Return the clock, in milliseconds; a rehearsal's leaves out the time that tracing took."""
        return self.observer.now_ms()

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
        statements = StatementRunner(run_context.session.conn, work.file)
        migration._run_statement = statements.execute
        if isinstance(migration, SqlMigration):
            migration.run_statement = statements.run
        walk = cls(
            run_context,
            work,
            migration,
            HookRunner(run_context.plugin_manager, context),
            statements,
            run_context.observer,
        )
        walk.watch()
        return walk

    def watch(self) -> None:
        """Have every statement and hook watched."""
        self.observer.reset()
        self.statements.observer = self.hook_runner.observer = self.observer

    def run(self) -> None:
        """Run it in one transaction, or in the one that is there.

        Raises:
            Exception: Whatever went wrong; everything of it has been rolled back.
        """
        try:
            with self.register_hooks(), self._open_transaction():
                self._prepare_transaction()
                self._run_phase(HookPhase.BEFORE_VALIDATION)
                self._run_phase(HookPhase.BEFORE_DDL)
                self.run_migration()
                self._run_phase(HookPhase.AFTER_DDL)
                self._validate()
                self._run_phase(HookPhase.AFTER_VALIDATION)
                self._run_phase(HookPhase.CLEANUP)
                self._close()
        finally:
            self.duration_ms = self.measure_elapsed_ms()

    # The steps.

    @contextmanager
    def register_hooks(self) -> Iterator[None]:
        """Register the migration's own hooks meanwhile."""
        self.stage = "begin"
        try:
            own = register_own_hooks(self.run_context.plugin_manager, self.migration)
            own.__enter__()
        except TypeError as error:
            raise MigrationFault(str(error), file=self.work.file) from error
        try:
            yield
        finally:
            own.__exit__(None, None, None)

    @contextmanager
    def _open_transaction(self) -> Iterator[None]:
        def committing() -> None:
            self.stage = "commit"

        with self.run_context.session.transaction(before_commit=committing, after_commit=self._mark_complete):
            yield

    def _mark_complete(self) -> None:
        self.complete = True
        self.committed = not self._shares_transaction

    @property
    def _shares_transaction(self) -> bool:
        """Whether the transaction goes on after this migration."""
        return self.run_context.rolls_back or self.run_context.session.nested

    def _prepare_transaction(self) -> None:
        """Set the timeouts, and the savepoint by whose loss a COMMIT in the migration is seen."""
        conn = self.run_context.session.conn
        query = self.observer.opening_sql(shared=self._shares_transaction)
        timeouts, *answers = send(
            conn, f"SAVEPOINT {self._sentinel}; {self.timeouts_sql(local=True)} {query}"
        )
        self._timeouts = dict(zip(("lock_timeout", "statement_timeout"), timeouts[0], strict=True))
        self.observer.begin(
            answers, shared=self._shares_transaction, hooks=self.hook_runner.has_hooks(*HookPhase)
        )

    def timeouts_sql(self, *, local: bool) -> str:
        """Return SQL that sets this migration's timeouts."""
        lock = self.migration.lock_timeout or self.run_context.lock_timeout
        statement = self.migration.statement_timeout or self.run_context.statement_timeout or "0"
        return (
            f"SELECT set_config('lock_timeout', {quote_literal(str(lock))}, {str(local).lower()}), "
            f"set_config('statement_timeout', {quote_literal(str(statement))}, {str(local).lower()});"
        )

    def _run_phase(self, phase: HookPhase) -> None:
        self.stage = phase.spec
        self.hook_runner.run(self.run_context.session, phase)

    def run_migration(self) -> None:
        """Run ``up()`` or ``down()``."""
        forward = self.work.direction == "forward"
        self.stage = "up" if forward else "down"
        (self.migration.up if forward else self.migration.down)()
        self.check_transaction()

    def _check_sentinel(self) -> None:
        """See a COMMIT followed by a BEGIN now, before hooks run in a transaction that is not this one."""
        if isinstance(self.migration, SqlMigration):
            return  # no statement of a file ends a transaction: they were checked
        try:
            send(self.run_context.session.conn, f"RELEASE {self._sentinel}; SAVEPOINT {self._sentinel}")
        except InvalidSavepointSpecification as error:
            raise self.mark_transaction_ended() from error

    def check_transaction(self) -> None:
        """Refuse what a migration left behind, before anything is sent."""
        self.refuse_open_copy()
        status = self.run_context.session.conn.info.transaction_status
        if status == TransactionStatus.INERROR:
            raise MigrationFault(
                "an SQL error was caught and not undone",
                hint="let it rise, or put `with self.connection.transaction():` round the statement",
                file=self.work.file,
            )
        if status == TransactionStatus.IDLE:
            raise self.mark_transaction_ended()
        if status != TransactionStatus.INTRANS:
            raise MigrationFault("the connection was closed or lost", file=self.work.file)
        self._check_sentinel()

    def refuse_open_copy(self) -> None:
        """Refuse a COPY left open: every query sent beside it would wait for ever."""
        conn = self.run_context.session.conn
        if has_open_copy(conn):
            end_copy(conn)
            raise MigrationFault("it left a COPY or a result open", file=self.work.file)

    def mark_transaction_ended(self) -> EndedTransaction:
        """The fault of a migration that ended its own transaction."""
        self.committed = True
        return EndedTransaction(
            f"migration {self.work.label} ended its transaction (a COMMIT or ROLLBACK of its own)",
            hint="take the transaction control out, or mark it `-- confiture: no-transaction`",
            file=self.work.file,
        )

    def _validate(self) -> None:
        self.stage = "validation"
        if not self.has_steps_after_check():
            return  # the constraints are checked in the last message
        send(self.run_context.session.conn, f"SET CONSTRAINTS ALL IMMEDIATE; {RESTORE_DEFERRED_SQL}")
        self.verify()
        self.check_transaction()

    def has_steps_after_check(self) -> bool:
        """Whether anything but the end comes after the check of the constraints."""
        return self._has_verify() or self.hook_runner.has_hooks(HookPhase.AFTER_VALIDATION, HookPhase.CLEANUP)

    def _has_verify(self) -> bool:
        return type(self.migration).verify is not Migration.verify and self.work.direction == "forward"

    def verify(self) -> None:
        """Run the migration's own ``verify()``, which checks what ``up()`` did."""
        if self._has_verify():
            self.migration.verify()

    def _close(self) -> None:
        """Check constraints, read locks, put settings back, write the ledger row: all in one message."""
        self.stage = "validation"
        session = self.run_context.session
        check = f"SET CONSTRAINTS ALL IMMEDIATE; {RESTORE_DEFERRED_SQL if self._shares_transaction else ''}"
        keeper = self.run_context.migration_lock.render_condition()
        first = f"{check} RELEASE {self._sentinel}; {HELD_SQL} OR {keeper};"
        last = "" if self.run_context.rolls_back else self.ledger_sql()
        try:
            if session.owned:
                (held,) = send(session.conn, f"{first} {session.render_reset_sql()} {last}")
            else:
                (held,) = send(session.conn, first)
                session.restore({**self._timeouts, **self.hook_runner.local_settings})
                send(session.conn, last or "SELECT")
        except InvalidSavepointSpecification as error:
            raise self.mark_transaction_ended() from error
        locks = [row for row in held if row[0] is not None]
        if len(locks) == len(held):
            raise build_lock_lost_fault()
        self.observer.end(locks)

    def ledger_sql(self) -> str:
        """Return the SQL that records the migration as applied, or forgets it."""
        work = self.work
        if work.direction == "backward":
            return self.run_context.ledger.render_delete_sql(work.version)
        return self.run_context.ledger.render_insert_sql(
            LedgerRow(
                version=work.version,
                name=work.name,
                checksum=work.checksum,
                duration_ms=self.measure_elapsed_ms(),
                transactional=self.migration.transactional,
                plugins=tuple(f"{plugin.name}=={plugin.version}" for plugin in self.run_context.plugins),
                hooks=tuple(f"{report.phase} {report.hook}" for report in self.hook_runner.reports),
            )
        )

    # What the report says of it.

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with its statements, and with what was seen of it."""
        return self.observer.measure(evolve(report, statements=tuple(self.statements.reports)))

    def describe_remains(self) -> str | None:
        """Say what is committed of it although it failed; ``None`` if that is nothing."""
        return None

    def undo_hooks(self) -> tuple[HookReport, ...]:
        """Return its hooks after a failure: undone with its transaction, except those of ``on_error``."""
        return tuple(
            hook if hook.phase == HookPhase.ON_ERROR.spec else evolve(hook, outcome="undone")
            for hook in self.hook_runner.reports
        )

    def measure_elapsed_ms(self) -> float:
        """Return the time since its begin, in milliseconds."""
        return self._read_clock_ms() - self._began_ms
