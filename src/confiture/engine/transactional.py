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
from confiture.engine.statements import Statements
from confiture.exceptions import MigrationFault
from confiture.hooks.api import HookContext, HookPhase
from confiture.hooks.hook_runner import Phases, own_hooks
from confiture.hooks.plugin_manager import GuardedPluginManager
from confiture.ledger.migration_lock import Keeper, lock_lost
from confiture.ledger.table import Ledger
from confiture.migrations.prepare import Work
from confiture.migrations.sql_migration import SqlMigration
from confiture.models.ledger import Row
from confiture.models.migration import Migration
from confiture.models.report import HookReport, MigrationReport, PluginUse
from confiture.postgres.locks import HELD
from confiture.postgres.session import Session, end_copy, left_open, literal, send

# Constraints that are INITIALLY DEFERRED go back to that once checked; another one of the same name
# in the same schema may not be deferrable at all, hence one by one.
DEFER_AGAIN = """
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
class Engine:
    """What all migrations of one run share.

    Attributes:
        session: Where they run.
        keeper: Who holds the migration lock.
        ledger: Where they are recorded.
        manager: The plugins.
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
    keeper: Keeper
    ledger: Ledger
    manager: GuardedPluginManager
    observer: Observer
    step_observer: StepObserver
    plugins: tuple[PluginUse, ...] = ()
    lock_timeout: str = "5s"
    statement_timeout: str | None = None
    wait_concurrently: str = "0"
    mode: ExecutionMode = ExecutionMode.RUN
    refuse_call: Callable[[Work, str, int | None], None] | None = None

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
class Walk:
    """One attempt at one migration.

    Attributes:
        engine: What it shares with the others.
        work: What is to be run.
        migration: A fresh one.
        phases: Its hooks, and what they did.
        statements: What it executed.
        stage: Where it is: a phase, ``up``, ``down``, ``validation`` or ``commit``.
        observer: Watches it from its begin to its end.
        committed: Whether anything of it was committed.
        complete: Whether all of it went well, the commit included.
        duration_ms: From its begin to its end, in milliseconds.
    """

    engine: Engine
    work: Work
    migration: Migration
    phases: Phases
    statements: Statements
    observer: Observer
    stage: str = "begin"
    committed: bool = False
    complete: bool = False
    duration_ms: float = 0.0
    _began_ms: float = field(init=False)
    _sentinel: str = field(factory=lambda: f"confiture_{secrets.token_hex(8)}")
    _timeouts: dict[str, str] = field(factory=dict)

    @_began_ms.default
    def _now_ms(self) -> float:
        """Return the clock, in milliseconds; a rehearsal's leaves out the time that tracing took."""
        return self.observer.now_ms()

    @classmethod
    def begin(cls, engine: Engine, work: Work, attempt: int, migration: Migration) -> Self:
        """Make a fresh migration ready for one attempt."""
        context = HookContext(
            work.name,
            work.version,
            work.direction,
            dry_run=engine.dry_run,
            attempt=attempt,
            folder=work.file.parent if work.file else None,
        )
        statements = Statements(engine.session.conn, work.file)
        migration._run_statement = statements.execute
        if isinstance(migration, SqlMigration):
            migration.run_statement = statements.run
        walk = cls(engine, work, migration, Phases(engine.manager, context), statements, engine.observer)
        walk.watch()
        return walk

    def watch(self) -> None:
        """Have every statement and hook watched."""
        self.observer.reset()
        self.statements.observer = self.phases.observer = self.observer

    def run(self) -> None:
        """Run it in one transaction, or in the one that is there.

        Raises:
            Exception: Whatever went wrong; everything of it has been rolled back.
        """
        try:
            with self.hooks(), self._transaction():
                self._open()
                self._phase(HookPhase.BEFORE_VALIDATION)
                self._phase(HookPhase.BEFORE_DDL)
                self.change()
                self._phase(HookPhase.AFTER_DDL)
                self._validate()
                self._phase(HookPhase.AFTER_VALIDATION)
                self._phase(HookPhase.CLEANUP)
                self._close()
        finally:
            self.duration_ms = self.elapsed_ms()

    # The steps.

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Register the migration's own hooks meanwhile."""
        self.stage = "begin"
        try:
            own = own_hooks(self.engine.manager, self.migration)
            own.__enter__()
        except TypeError as error:
            raise MigrationFault(str(error), file=self.work.file) from error
        try:
            yield
        finally:
            own.__exit__(None, None, None)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        def committing() -> None:
            self.stage = "commit"

        with self.engine.session.transaction(at_end=committing, ended=self._ended):
            yield

    def _ended(self) -> None:
        self.complete = True
        self.committed = not self._stays

    @property
    def _stays(self) -> bool:
        """Whether the transaction goes on after this migration."""
        return self.engine.rolls_back or self.engine.session.nested

    def _open(self) -> None:
        """Set the timeouts, and the savepoint by whose loss a COMMIT in the migration is seen."""
        conn = self.engine.session.conn
        query = self.observer.opening_sql(shared=self._stays)
        timeouts, *answers = send(conn, f"SAVEPOINT {self._sentinel}; {self.timeouts(local=True)} {query}")
        self._timeouts = dict(zip(("lock_timeout", "statement_timeout"), timeouts[0], strict=True))
        self.observer.begin(answers, shared=self._stays, hooks=self.phases.any(*HookPhase))

    def timeouts(self, *, local: bool) -> str:
        """Return SQL that sets this migration's timeouts."""
        lock = self.migration.lock_timeout or self.engine.lock_timeout
        statement = self.migration.statement_timeout or self.engine.statement_timeout or "0"
        return (
            f"SELECT set_config('lock_timeout', {literal(str(lock))}, {str(local).lower()}), "
            f"set_config('statement_timeout', {literal(str(statement))}, {str(local).lower()});"
        )

    def _phase(self, phase: HookPhase) -> None:
        self.stage = phase.spec
        self.phases.run(self.engine.session, phase)

    def change(self) -> None:
        """Run ``up()`` or ``down()``."""
        forward = self.work.direction == "forward"
        self.stage = "up" if forward else "down"
        (self.migration.up if forward else self.migration.down)()
        self.check_whole()

    def _check_sentinel(self) -> None:
        """See a COMMIT followed by a BEGIN now, before hooks run in a transaction that is not this one."""
        if isinstance(self.migration, SqlMigration):
            return  # no statement of a file ends a transaction: they were checked
        try:
            send(self.engine.session.conn, f"RELEASE {self._sentinel}; SAVEPOINT {self._sentinel}")
        except InvalidSavepointSpecification as error:
            raise self.ended_the_transaction() from error

    def check_whole(self) -> None:
        """Refuse what a migration left behind, before anything is sent."""
        self.refuse_open()
        status = self.engine.session.conn.info.transaction_status
        if status == TransactionStatus.INERROR:
            raise MigrationFault(
                "an SQL error was caught and not undone",
                hint="let it rise, or put `with self.connection.transaction():` round the statement",
                file=self.work.file,
            )
        if status == TransactionStatus.IDLE:
            raise self.ended_the_transaction()
        if status != TransactionStatus.INTRANS:
            raise MigrationFault("the connection was closed or lost", file=self.work.file)
        self._check_sentinel()

    def refuse_open(self) -> None:
        """Refuse a COPY left open: every query sent beside it would wait for ever."""
        conn = self.engine.session.conn
        if left_open(conn):
            end_copy(conn)
            raise MigrationFault("it left a COPY or a result open", file=self.work.file)

    def ended_the_transaction(self) -> EndedTransaction:
        """The fault of a migration that ended its own transaction."""
        self.committed = True
        return EndedTransaction(
            f"migration {self.work.label} ended its transaction (a COMMIT or ROLLBACK of its own)",
            hint="take the transaction control out, or mark it `-- confiture: no-transaction`",
            file=self.work.file,
        )

    def _validate(self) -> None:
        self.stage = "validation"
        if not self.validates():
            return  # the constraints are checked in the last message
        send(self.engine.session.conn, f"SET CONSTRAINTS ALL IMMEDIATE; {DEFER_AGAIN}")
        self.verify()
        self.check_whole()

    def validates(self) -> bool:
        """Whether anything but the end comes after the check of the constraints."""
        return self._verifies() or self.phases.any(HookPhase.AFTER_VALIDATION, HookPhase.CLEANUP)

    def _verifies(self) -> bool:
        return type(self.migration).verify is not Migration.verify and self.work.direction == "forward"

    def verify(self) -> None:
        """Run the migration's own ``verify()``, which checks what ``up()`` did."""
        if self._verifies():
            self.migration.verify()

    def _close(self) -> None:
        """Check constraints, read locks, put settings back, write the ledger row: all in one message."""
        self.stage = "validation"
        session = self.engine.session
        check = f"SET CONSTRAINTS ALL IMMEDIATE; {DEFER_AGAIN if self._stays else ''}"
        keeper = self.engine.keeper.lock_sql()
        first = f"{check} RELEASE {self._sentinel}; {HELD} OR {keeper};"
        last = "" if self.engine.rolls_back else self.ledger_sql()
        try:
            if session.ours:
                (held,) = send(session.conn, f"{first} {session.reset_message()} {last}")
            else:
                (held,) = send(session.conn, first)
                session.put_back({**self._timeouts, **self.phases.locals})
                send(session.conn, last or "SELECT")
        except InvalidSavepointSpecification as error:
            raise self.ended_the_transaction() from error
        locks = [row for row in held if row[0] is not None]
        if len(locks) == len(held):
            raise lock_lost()
        self.observer.end(locks)

    def ledger_sql(self) -> str:
        """Return the SQL that records the migration as applied, or forgets it."""
        work = self.work
        if work.direction == "backward":
            return self.engine.ledger.delete_sql(work.version)
        return self.engine.ledger.insert_sql(
            Row(
                version=work.version,
                name=work.name,
                checksum=work.checksum,
                duration_ms=self.elapsed_ms(),
                transactional=self.migration.transactional,
                plugins=tuple(f"{each.name}=={each.version}" for each in self.engine.plugins),
                hooks=tuple(f"{each.phase} {each.hook}" for each in self.phases.reports),
            )
        )

    # What the report says of it.

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with its statements, and with what was seen of it."""
        return self.observer.measure(evolve(report, statements=tuple(self.statements.reports)))

    def what_remains(self) -> str | None:
        """Say what is committed of it although it failed; ``None`` if that is nothing."""
        return None

    def undo_hooks(self) -> tuple[HookReport, ...]:
        """Return its hooks after a failure: undone with its transaction, except those of ``on_error``."""
        return tuple(
            hook if hook.phase == HookPhase.ON_ERROR.spec else evolve(hook, outcome="undone")
            for hook in self.phases.reports
        )

    def elapsed_ms(self) -> float:
        """Return the time since its begin, in milliseconds."""
        return self._now_ms() - self._began_ms
