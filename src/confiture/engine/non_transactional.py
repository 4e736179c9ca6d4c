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
from confiture.engine.transactional import Engine, Walk
from confiture.exceptions import LedgerFault, LockFault, MigrationFault
from confiture.hooks.api import HookPhase
from confiture.hooks.checkpoints import Stretches
from confiture.hooks.implementation import HookRef
from confiture.ledger.migration_lock import lock_lost, still_held
from confiture.migrations.folder import sha256
from confiture.migrations.prepare import Work
from confiture.migrations.sql_migration import SqlMigration
from confiture.models.ledger import Entry
from confiture.models.migration import Migration, SqlScript, Statement
from confiture.models.report import HookReport, MigrationReport
from confiture.postgres.invalid_indexes import Build, build_of, drop, is_concurrently
from confiture.postgres.locks import CHANGED, HELD
from confiture.postgres.session import end_copy, literal, rows, send


@define
class Piecewise(Walk):
    """One attempt at one no-transaction migration.

    Attributes:
        python_steps: How many statements a Python migration has begun.
    """

    _resumes: dict[tuple[str, ...], Any] = field(factory=dict)
    python_steps: int = 0

    @classmethod
    def begin(cls, engine: Engine, work: Work, attempt: int, migration: Migration) -> Self:
        """Make a fresh migration ready for one attempt."""
        walk = super().begin(engine, work, attempt, migration)
        walk.statements.around = walk._by_python
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
        session = self.engine.session
        try:
            with self.hooks(), session.idle():
                send(session.conn, self.timeouts(local=False))
                self.engine.step_observer.begin()
                self._resumes = self._yielded()
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

    def _yielded(self) -> dict[tuple[str, ...], Any]:
        """Return what generator hooks yielded last before a crash; asked before any role is taken."""
        if not self.phases.any(*HookPhase):
            return {}
        found = rows(self.engine.session.conn, self.engine.ledger.resume_sql(self.work))
        return {tuple(key): progress for *key, progress in found}

    def _stretches(self) -> Stretches:
        def store(ref: HookRef, stored: str) -> None:
            sql = self.engine.ledger.yielded_sql(self.work, _key(ref), stored)
            send(self.engine.session.conn, f"{AS_OURSELVES} {sql}")

        return Stretches(self._own_transaction, lambda ref: self._resumes.get(_key(ref)), store)

    def _by_itself(self, phase: HookPhase) -> None:
        self.stage = phase.spec
        if not self.phases.any(phase):
            return
        self.engine.step_observer.skip_hooks(phase.spec)
        before, stretches = len(self.phases.reports), self._stretches()
        try:
            with stretches:
                self.phases.run(self.engine.session, phase, stretches)
        except BaseException:
            if not stretches.commits:
                # Hooks of this phase that had been kept are undone with its transaction.
                self.phases.reports[before:] = [
                    evolve(report, outcome="undone") for report in self.phases.reports[before:]
                ]
            raise
        self._keep_settings()

    def _own_transaction(self, ended: Callable[[], None] | None = None) -> Any:
        def committing() -> None:
            if not still_held(self.engine.keeper):
                raise lock_lost()

        return self.engine.session.transaction(at_end=committing, ended=ended)

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
            self._start_over()
            (self.migration.up if forward else self.migration.down)()
            self._refuse_unfinished()
        self.committed = self.committed or bool(self.statements.reports)

    def _start_over(self) -> None:
        """Say that a Python migration does again what it had done, and forget the record of that."""
        if self.work.done is None:
            return
        ran = len(self.work.done.done)
        self.phases.warnings.append(f"it starts over; statements that had run before it was stopped: {ran}")
        self._record(self.engine.ledger.starts_over_sql(self.work))

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
            self._refuse_left_by(script)
        for step in range(len(done), len(script.statements)):
            self._step(step, script.statements[step])

    def _refuse_left_by(self, script: SqlScript) -> None:
        builds = [build_of(each.sql) for each in script.statements if not each.in_transaction]
        left = sorted({name for build in builds if build for name in build.invalid(self.engine.session.conn)})
        if left:
            raise LedgerFault(
                f"migration {self.work.label} is unfinished and has left an invalid index: {', '.join(left)}",
                hint=f"confiture repair {self.work.version}",
            )

    def _step(self, step: int, statement: Statement) -> None:
        ledger = self.engine.ledger
        entry = self._entry()
        if self._was_done(statement):
            self._record(ledger.done_sql(entry, step))
        elif statement.in_transaction:
            record = ledger.begun_sql(entry, step, statement.sql) + ledger.done_sql(entry, step)
            self._step_in_transaction(statement, record)
        else:
            build = build_of(statement.sql)
            self._refuse_invalid(build, statement.line)
            self._record(ledger.begun_sql(entry, step, statement.sql))
            with (
                self._outside(statement.sql, build, ledger.not_begun_sql(entry, step)),
                self.engine.step_observer.watch_statement(
                    len(self.statements.reports), statement.sql, statement.line
                ),
            ):
                self.statements.run(statement)
            self.phases.changed_before.update(build.table(self.engine.session.conn) if build else ())
            self.engine.step_observer.note_unseen(statement.line)
            self._record(ledger.done_sql(entry, step))
        self.committed = True

    def _entry(self) -> Entry:
        work = self.work
        return Entry(work.version, work.name, work.checksum, None, (), work.direction)

    def _was_done(self, statement: Statement) -> bool:
        """Whether a statement that was begun had ended before its record could be written."""
        done = self.work.done
        if done is None or done.begun != sha256(statement.sql) or statement.kind != "index_stmt":
            return False
        build = build_of(statement.sql)
        return build is not None and build.is_there(self.engine.session.conn)

    def _step_in_transaction(self, statement: Statement, record: str) -> None:
        conn = self.engine.session.conn
        watched = self.engine.step_observer.watch_transaction(len(self.statements.reports))
        with self._own_transaction(), watched as self.statements.observer:
            self.statements.run(statement)
            held, changed = send(conn, f"{HELD}; {CHANGED}; {AS_OURSELVES} {record}")
            self.phases.changed_before.update(name for (name,) in changed)
            self.engine.step_observer.take_locks(held)
        self.statements.observer = self.observer

    @contextmanager
    def _by_python(self, sql: str, line: int | None) -> Iterator[None]:
        """Stand round one statement of a Python migration, which is committed when it ends."""
        if not still_held(self.engine.keeper):
            raise lock_lost()
        if self.engine.refuse_call:
            self.engine.refuse_call(self.work, sql, line)
        build = build_of(sql)
        self._refuse_invalid(build, line)
        if self.engine.session.conn.info.transaction_status != TransactionStatus.IDLE:
            # A transaction of its own, which may yet be rolled back: a record would go with it.
            yield
            return
        step, self.python_steps = self.python_steps, self.python_steps + 1
        self._record(self.engine.ledger.begun_sql(self._entry(), step, sql))
        with (
            self._outside(sql, build, self.engine.ledger.not_begun_sql(self._entry(), step)),
            self.engine.step_observer.watch_statement(len(self.statements.reports), sql, line),
        ):
            yield
        if self.engine.session.conn.info.transaction_status == TransactionStatus.IDLE:
            self._record(self.engine.ledger.done_sql(self._entry(), step))

    @contextmanager
    def _outside(self, sql: str, build: Build | None, forget: str = "") -> Iterator[None]:
        """Stand round a statement that has no transaction of ours; see what it leaves where it fails."""
        conn = self.engine.session.conn
        before = build.invalid(conn) if build else ()
        try:
            with self._patient() if is_concurrently(sql) else nullcontext():
                yield
        except psycopg.Error as error:
            if self.engine.session.lost:
                raise
            left = tuple(name for name in build.invalid(conn) if name not in before) if build else ()
            if left and isinstance(error, LockNotAvailable):
                self._drop_left(left, error)
                left = ()
            if forget and not left:
                self._record(forget)
            raise

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """Give CONCURRENTLY its own lock_timeout: it waits for old transactions, and blocks nobody."""
        conn = self.engine.session.conn
        send(conn, f"SET lock_timeout = {literal(self.engine.wait_concurrently)}")
        try:
            yield
        finally:
            if not self.engine.session.lost:
                send(conn, self.timeouts(local=False))

    def _drop_left(self, left: tuple[str, ...], error: LockNotAvailable) -> None:
        """Drop the invalid index of a CONCURRENTLY that waited in vain, so that it can be tried again."""
        try:
            with self._patient():
                drop(self.engine.session.conn, left)
        except LockNotAvailable:
            raise LockFault(
                f"{error.diag.message_primary}; it left the invalid index {left[0]}, and dropping that "
                "waited in vain too",
                hint=f"when the old transactions are over: DROP INDEX CONCURRENTLY {left[0]}; run again",
            ) from error

    def _record(self, record: str) -> None:
        with self._own_transaction():
            send(self.engine.session.conn, f"{AS_OURSELVES} {record}")

    def _refuse_invalid(self, build: Build | None, line: int | None) -> None:
        """Refuse to take an invalid index for done, as IF NOT EXISTS would."""
        left = build.invalid(self.engine.session.conn) if build and build.index else ()
        if left:
            raise MigrationFault(
                f"index {left[0]} is there but invalid: an earlier attempt failed",
                hint=f"DROP INDEX CONCURRENTLY {left[0]}; then run again",
                file=self.work.file,
                line=line,
            )

    def _validate_by_itself(self) -> None:
        self.stage = "validation"
        if self._verifies():
            with self._own_transaction():
                self.verify()

    def _finish(self) -> None:
        """Write the ledger row, last, in a transaction of its own."""
        self.stage = "commit"
        with self._own_transaction(self._ended):
            send(self.engine.session.conn, self.ledger_sql())

    # What the report says of it.

    def measure(self, report: MigrationReport) -> MigrationReport:
        """Return the report with its statements, each as it was watched."""
        return self.engine.step_observer.measure(evolve(report, statements=tuple(self.statements.reports)))

    def what_remains(self) -> str | None:
        """Say what is committed of it although it failed; ``None`` if that is nothing."""
        if not self.committed:
            return None
        if self.engine.dry_run:
            return "a run would keep and record what it had done until then, and go on from there"
        return "what it had done until then is kept and recorded; a run goes on from there"

    def undo_hooks(self) -> tuple[HookReport, ...]:
        """Return its hooks: each phase has committed or undone its own."""
        return tuple(self.phases.reports)

    def _clean(self) -> None:
        session = self.engine.session
        end_copy(session.conn)
        if session.lost:
            return
        if session.conn.info.transaction_status != TransactionStatus.IDLE:
            send(session.conn, "ROLLBACK")
            # What began the transaction left nothing behind either.
            self._record(self.engine.ledger.not_begun_sql(self._entry(), self.python_steps - 1))
        if session.ours:
            send(session.conn, session.reset_message())
        else:
            session.put_back()


# The ledger is the runner's: whatever role the migration has taken must not write it. Ours is the one
# that the session began with, which ALTER ROLE … SET role may have made another than the user.
AS_OURSELVES = "SET LOCAL role TO DEFAULT;"


def _key(ref: HookRef) -> tuple[str, str, str]:
    return ref.phase.spec, ref.plugin or "", ref.name
