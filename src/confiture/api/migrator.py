"""The Python API to apply, undo or rehearse one migration on an application's connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from attrs import evolve
from psycopg import Connection
from psycopg.pq import TransactionStatus

from confiture.api.dry_run import DryRunError, DryRunResult
from confiture.api.open_runner import RehearsalSetup, open_runner
from confiture.config.settings import Settings
from confiture.engine.runner import MigrationResult, Runner
from confiture.exceptions import ConfitureError, UsageFault
from confiture.hooks.plugin_manager import GuardedPluginManager
from confiture.ledger.table import Ledger
from confiture.migrations.prepare import PreparedMigration, add_records, prepare_instance
from confiture.migrations.version import parse_version
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import Direction, Migration
from confiture.models.report import MigrationOutcome, MigrationReport
from confiture.postgres.connect import connect_like, read_parameters
from confiture.postgres.session import Session, send
from confiture.rehearsal.transaction import Rehearsal

if TYPE_CHECKING:
    from confiture.estimate.rehearse_sizes import Production


class DeferredConstraintFault(ConfitureError):
    """The caller's transaction contains rows that violate a deferred constraint; nothing was run."""


class Migrator:
    """Applies migrations on a connection that the application opened.

    On an idle connection, each call is one transaction. On a connection already in a transaction, it uses
    savepoints and leaves commit or rollback to the caller.
    """

    def __init__(
        self,
        connection: Connection[Any],
        *,
        settings: Settings | None = None,
        plugins: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self.connection = connection
        self.settings = settings or Settings(root=Path.cwd())
        self.plugins = plugins

    def apply(self, migration: Migration) -> MigrationResult:
        """Apply ``migration`` and record it; do nothing if it is already applied.

        Raises:
            HookError: A hook failed.
            psycopg.Error: A statement failed.
            LockFault: Another run holds the migration lock.
        """
        return self._run(migration, "forward")

    def rollback(self, migration: Migration) -> MigrationResult:
        """Undo ``migration`` with its ``down()``; do nothing if it is not applied. Raises like ``apply``."""
        return self._run(migration, "backward")

    def dry_run(self, migration: Migration, *, production: Production | Path | None = None) -> DryRunResult:
        """Run ``migration``, roll it back, and return the findings.

        With ``production``, the file that ``confiture stats export`` wrote, estimate its time there.

        Raises:
            DryRunError: It failed.
            LockFault: Another run holds the migration lock.
            StatisticsFault: The file with production's statistics is unusable.
        """
        work = prepare_instance(migration, "forward")
        target = None if production is None else _read_production(production)
        estimate = self._prepare_estimate(work, target) if target else None
        planner = target.build_planner() if target else None
        with self._open_runner(work, RehearsalSetup(production_planner=planner)) as runner:
            (result,) = Rehearsal(runner).run((work,), on_result=lambda _: None)
        if result.error:
            raise DryRunError(work.name, result.error) from result.error
        return DryRunResult.from_result(estimate(result) if estimate else result)

    def _prepare_estimate(
        self, work: PreparedMigration, target: Production
    ) -> Callable[[MigrationResult], MigrationResult]:
        """Export statistics before a rehearsal; return a function that adds estimates to its result."""
        from confiture.estimate.count_rows import count_rows
        from confiture.estimate.export import export_from
        from confiture.estimate.rehearse_sizes import add_estimates

        # On another connection: the export begins a transaction for one consistent snapshot, and the caller's
        # connection may already be in one.
        with closing(connect_like(read_parameters(self.connection))) as conn:
            counted = count_rows(conn, (work,))
            statistics = counted.correct(export_from(conn, self.settings.schema, sampled_s=0.0))
        return lambda result: evolve(result, report=add_estimates(result.report, statistics, target))

    def _run(self, migration: Migration, direction: Direction) -> MigrationResult:
        work = prepare_instance(migration, direction)
        if not work.version:
            raise UsageFault("the migration has no version", hint="set its class attributes version and name")
        with self._open_runner(work) as runner:
            ledger = runner.run_context.ledger
            ledger.create(self.connection)
            events = runner.run_context.events
            assert events is not None
            entries = self._read_entries(ledger)
            if _is_done(work, entries):
                outcome: MigrationOutcome = "applied" if direction == "forward" else "reverted"
                return MigrationResult(
                    MigrationReport(work.version, work.name, outcome, "there was nothing to do")
                )
            events.begin()
            result = runner.run(*add_records((work,), entries))
            events.observe_schema()
            result = _add_warnings(result, events.warnings)
        if result.stopped_by:
            if result.report.reason:
                result.stopped_by.add_note(f"of {work.label}, {result.report.reason}")
            raise result.stopped_by
        return result

    def _read_entries(self, ledger: Ledger) -> tuple[LedgerEntry, ...]:
        with self.connection.transaction():
            return ledger.read(self.connection)

    @contextmanager
    def _open_runner(
        self, work: PreparedMigration, rehearsal: RehearsalSetup | None = None
    ) -> Iterator[Runner]:
        session = Session.adopt(self.connection)
        _check_connection(session, work)
        parameters = read_parameters(self.connection)
        manager = GuardedPluginManager(self.settings.plugin_tables)
        # pluggy calls the plugin that was registered last first.
        for name, plugin in reversed(self.plugins):
            manager.register(plugin, name)
        with open_runner(
            self.settings,
            session,
            (work,),
            manager=manager,
            connect=lambda: connect_like(parameters),
            connect_observer=lambda: closing(connect_like(parameters)),
            rehearsal=rehearsal,
        ) as runner:
            if session.nested:
                _check_callers_constraints(self.connection)
            session.remember()
            try:
                yield runner
            finally:
                session.release_leftovers()


def _read_production(production: Production | Path) -> Production:
    from confiture.estimate.rehearse_sizes import Production

    return production if isinstance(production, Production) else Production.read(production)


def _add_warnings(result: MigrationResult, warnings: Sequence[str]) -> MigrationResult:
    """Return the result with what the events warn of, which a run reports as notes."""
    if not warnings:
        return result
    more = (warning.removeprefix("warning: ") for warning in warnings)
    return evolve(result, report=evolve(result.report, warnings=(*result.report.warnings, *more)))


def _is_done(work: PreparedMigration, entries: Sequence[LedgerEntry]) -> bool:
    applied = {parse_version(entry.version) for entry in entries if entry.finished}
    return (parse_version(work.version) in applied) is (work.direction == "forward")


def _check_connection(session: Session, work: PreparedMigration) -> None:
    """Raise a fault if this migration cannot run on this connection."""
    if session.conn.info.transaction_status == TransactionStatus.INERROR:
        raise UsageFault("the connection's transaction has failed already", hint="roll it back first")
    if session.nested and not work.transactional:
        raise UsageFault(
            f"migration {work.label} runs outside a transaction, but the connection is inside one",
            hint="commit first, or pass an idle connection",
        )


def _check_callers_constraints(conn: Connection[Any]) -> None:
    """Raise a fault if the caller's rows violate a deferred constraint.

    Otherwise the migration's own check would fail on them. The savepoint is rolled back, so that the caller's
    constraints stay deferred.
    """
    try:
        with conn.transaction(force_rollback=True):
            send(conn, "SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.OperationalError:
        raise  # a lost connection or a lock timeout says nothing about the rows
    except psycopg.DatabaseError as error:
        raise DeferredConstraintFault(
            f"the caller's own transaction violates a deferred constraint: {error}"
        ) from error
