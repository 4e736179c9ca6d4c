"""Run one migration to its end: attempts, ``on_error``, callbacks, and what the report says of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import psycopg
from attrs import define, evolve, field, frozen
from psycopg import Connection

from confiture.engine.blockers import Blockers, Now
from confiture.engine.failures import fault_of, lock_not_granted, root, source_line, waited_in_vain
from confiture.engine.non_transactional import Piecewise
from confiture.engine.transactional import EndedTransaction, Engine, Walk
from confiture.exceptions import ConfitureError, MigrationFault
from confiture.hooks.api import HookError, HookPhase
from confiture.hooks.implementation import HookFatal, callback_name, called
from confiture.migrations.planner import unfinished
from confiture.migrations.prepare import Work
from confiture.models.report import MigrationOutcome, MigrationReport
from confiture.postgres.session import Session


@frozen
class Ran:
    """What became of one migration.

    Attributes:
        report: As the reporters show it.
        error: What stopped it, ``None`` where it went well.
        on_commit: Callbacks not called: the commit is the caller's, or there is none.
        stats: What hooks set.
        interrupted: The signal that arrived when it was committed already: nothing may come after it.
    """

    report: MigrationReport
    error: BaseException | None = None
    on_commit: tuple[Callable[[], object], ...] = ()
    stats: dict[str, Any] = field(factory=dict)
    interrupted: KeyboardInterrupt | None = None

    @property
    def stops(self) -> BaseException | None:
        """Why no other migration may come after this one, ``None`` where it may."""
        return self.error or self.interrupted


@define
class Runner:
    """Runs migrations, one after the other.

    Attributes:
        engine: What they share.
        retries: How many new attempts after a ``lock_timeout``.
        reconnect: Opens a new connection for ``on_error`` where the old one is gone.
        blockers: Watches who holds what the migration waits for.
        excuse: Says why a failure is none, or ``None``; a rehearsal has reasons of its own.
    """

    engine: Engine
    retries: int
    reconnect: Callable[[], Connection[Any]]
    blockers: Blockers
    excuse: Callable[[BaseException], str | None] = lambda _: None
    _rehearsed: list[str] = field(factory=list)
    _walk: Walk | None = None

    def now(self) -> Now | None:
        """Return what runs at this moment; may be asked from another thread."""
        walk = self._walk
        if walk is None:
            return None
        line, sql = walk.statements.running or (None, None)
        return Now(walk.work.label, walk.stage, walk.elapsed_ms(), line, sql, self.blockers.waits_for)

    def run(self, work: Work) -> Ran:
        """Run one migration, retries and ``on_error`` included. Never raises for what a migration does."""
        attempt = 1
        while True:
            walk, error = self._attempt(work, attempt)
            if error is None or not self._may_retry(walk, error, attempt):
                break
            try:
                # Jitter, so that two that wait for each other do not meet again.
                time.sleep(random.uniform(0.5, 1.0) * min(0.2 * 2**attempt, 5.0))
            except KeyboardInterrupt as signal:
                error = signal
                break
            attempt += 1
            work = self._resumed(work)
        if error is None:
            return self._done(walk)
        if walk.complete and isinstance(error, KeyboardInterrupt):
            return evolve(self._done(walk), interrupted=error)
        if reason := self.excuse(error):
            return Ran(
                evolve(self._report(walk, "not_rehearsed", []), reason=reason, hooks=walk.undo_hooks())
            )
        return self._failed(walk, error, attempt)

    def _resumed(self, work: Work) -> Work:
        """Return the work with what an earlier attempt recorded of it: a retry does not do that again."""
        if work.transactional:
            return work
        entries = self.engine.ledger.read(self.engine.session.conn)
        return evolve(work, done=unfinished(entries, work.version, work.direction))

    def _attempt(self, work: Work, attempt: int) -> tuple[Walk, BaseException | None]:
        migration = work.make(self.engine.session.conn)
        # In a rehearsal that is rolled back, a no-transaction migration runs in the transaction too.
        kind = Walk if migration.transactional or self.engine.rolls_back else Piecewise
        self._walk = walk = kind.begin(self.engine, work, attempt, migration)
        try:
            walk.run()
        except BaseException as error:
            return walk, error
        finally:
            self._walk = None
        return walk, None

    def _may_retry(self, walk: Walk, error: BaseException, attempt: int) -> bool:
        return (
            lock_not_granted(error)
            and attempt <= self.retries
            and not self.engine.dry_run
            and not self.engine.session.nested
            and not self.engine.session.lost
            and all(ref.retries for ref in walk.phases.ran)
        )

    def _done(self, walk: Walk) -> Ran:
        callbacks = tuple(walk.phases.context.callbacks)
        warnings: list[str] = []
        interrupted: KeyboardInterrupt | None = None
        kept = self.engine.dry_run or self.engine.session.nested
        if self.engine.rolls_back:
            self._rehearsed.append(walk.work.label)
        try:
            for each in () if kept else callbacks:
                warnings += filter(None, [called(each)])
        except KeyboardInterrupt as signal:
            interrupted = signal
        outcome: MigrationOutcome = "applied" if walk.work.direction == "forward" else "reverted"
        report = self._report(walk, "rehearsed" if self.engine.dry_run else outcome, warnings)
        return Ran(
            evolve(report, on_commit=tuple(map(callback_name, callbacks)) if kept else ()),
            on_commit=callbacks if kept else (),
            stats=walk.phases.context.stats,
            interrupted=interrupted,
        )

    def _failed(self, walk: Walk, error: BaseException, attempt: int) -> Ran:
        stage = error.phase.spec if isinstance(error, HookError) else walk.stage
        holder = self.blockers.last_seen() if waited_in_vain(error) else None
        fault = fault_of(error, stage, walk.statements, holder)
        if attempt > 1:
            fault = evolve(fault, message=f"{fault.message} ({attempt} attempts)")
        if isinstance(error, EndedTransaction) or (isinstance(error, HookFatal) and error.may_be_committed):
            said = self._may_be_committed(walk)
            error.add_note(said)
            fault = evolve(fault, message=f"{fault.message}; {said}")
        elif stage == "commit" and self.engine.session.lost:
            unknown = "the connection was lost during the commit: whether it was committed is not known"
            fault = evolve(fault, message=f"{unknown} ({fault.message})", hint="look: confiture status")
        line = source_line(error, walk.statements)
        walk.phases.context.callbacks.clear()
        if self.engine.rolls_back and fault.sqlstate == "53200":
            fault = evolve(fault, hint=_PILED_UP)
        warnings = [] if isinstance(error, KeyboardInterrupt) else self._on_error(walk, error)
        report = self._report(walk, "failed", warnings)
        return Ran(
            evolve(
                report, reason=walk.what_remains(), error=fault, source_line=line, hooks=walk.undo_hooks()
            ),
            error=error,
            stats=walk.phases.context.stats,
        )

    def _may_be_committed(self, walk: Walk) -> str:
        """Say what a COMMIT of a migration's or of a hook's own has left behind."""
        begun = ", ".join(dict.fromkeys(ref.name for ref in walk.phases.ran))
        hooks = f" (its hooks so far: {begun})" if begun else ""
        before = "".join(f" and migration {label}, rehearsed before it," for label in self._rehearsed)
        callers = " and the caller's transaction" if self.engine.session.nested else ""
        return (
            f"what migration {walk.work.label}{hooks}{before}{callers} had done until then may be committed, "
            "and is not in the ledger"
        )

    def _on_error(self, walk: Walk, error: BaseException) -> list[str]:
        """Run the ``on_error`` hooks in a new transaction; return what is to be said about it."""
        try:
            with walk.hooks():
                if not walk.phases.any(HookPhase.ON_ERROR):
                    return []
                return self._run_on_error(walk, error)
        except MigrationFault:
            return []  # its own lists are what is faulty; that is reported already

    def _run_on_error(self, walk: Walk, error: BaseException) -> list[str]:
        session, new = self.engine.session, None
        if session.lost:
            try:
                new = self.reconnect()
            except ConfitureError as fault:
                return [f"on_error did not run: no connection could be had ({fault.message})"]
            session = Session(new, ours=True)
        context = walk.phases.context
        context.error = root(error)
        try:
            with session.transaction():
                walk.phases.run(session, HookPhase.ON_ERROR, error=root(error))
        except (HookError, psycopg.Error) as second:
            return [f"on_error failed too: {second}"]
        finally:
            if new is not None:
                new.close()
        if session.nested or self.engine.dry_run:
            return []
        return [text for each in context.callbacks if (text := called(each))]

    def _report(self, walk: Walk, outcome: MigrationOutcome, warnings: list[str]) -> MigrationReport:
        report = MigrationReport(
            version=walk.work.version,
            name=walk.work.name,
            outcome=outcome,
            duration_ms=walk.duration_ms,
            rows_affected=walk.statements.rows_affected,
            hooks=tuple(walk.phases.reports),
            warnings=(*walk.phases.warnings, *warnings),
            file=str(walk.work.file) if walk.work.file else None,
        )
        return walk.measure(report)


_PILED_UP = (
    "all locks of the plan pile up in one transaction: raise max_locks_per_transaction on the server, or "
    "rehearse where each migration is committed: --in clone"
)
