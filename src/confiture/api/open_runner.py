"""Build a runner from the migration lock, observers and plugins, for commands and the Python API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from attrs import frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.engine.blockers import LockWaitMonitor, open_monitor_connection
from confiture.engine.observer import Observer, StepObserver
from confiture.engine.run_context import ExecutionMode, RunContext
from confiture.engine.run_locks import LocksAtEnd, LocksOfSteps
from confiture.engine.runner import Runner
from confiture.hooks.plugin_manager import GuardedPluginManager
from confiture.ledger.event_recorder import EventRecorder
from confiture.ledger.event_table import EventTable
from confiture.ledger.git_revision import read_git_revision
from confiture.ledger.migration_lock import MigrationLock, take_migration_lock
from confiture.ledger.table import Ledger
from confiture.migrations.prepare import PreparedMigration
from confiture.models.report import PluginUse
from confiture.postgres.connect import read_server_version
from confiture.postgres.session import Session

if TYPE_CHECKING:
    from confiture.rehearsal.copies import DatabaseCopy
    from confiture.rehearsal.trace.plan_comparison import ProductionPlanner


@frozen
class RehearsalSetup:
    """How a rehearsal runs, and what it measures besides time and locks.

    Attributes:
        copy: The copy to rehearse in; ``None`` to rehearse in one transaction that is rolled back.
        explain: True to run EXPLAIN for DML.
        production_planner: Plans the statements as production would.
    """

    copy: DatabaseCopy | None = None
    explain: bool = False
    production_planner: ProductionPlanner | None = None

    @property
    def mode(self) -> ExecutionMode:
        """How its migrations end."""
        return ExecutionMode.REHEARSE_IN_COPY if self.copy else ExecutionMode.REHEARSE


@contextmanager
def open_runner(
    settings: Settings,
    session: Session,
    works: Iterable[PreparedMigration],
    *,
    manager: GuardedPluginManager,
    connect: Callable[[], Connection[Any]],
    connect_observer: Callable[[], AbstractContextManager[Connection[Any]]],
    plugins: tuple[PluginUse, ...] = (),
    ledger: Ledger | None = None,
    rehearsal: RehearsalSetup | None = None,
) -> Iterator[Runner]:
    """Take the migration lock and yield a runner for ``works``; release everything at the end.

    Args:
        settings: Timeouts, retries and the ledger's schema.
        session: The session in which the migrations run.
        works: The migrations to run; a no-transaction one needs a separate connection to observe it.
        manager: The plugins.
        connect: Opens another connection to the same database.
        connect_observer: Opens another connection past a transaction pooler.
        plugins: The plugins as the ledger records them.
        ledger: The ledger; ``None`` for that of the settings.
        rehearsal: How to rehearse the migrations; ``None`` to apply them.

    Raises:
        LockFault: Another run holds the migration lock.
        ConnectionFault: There is no second connection.
    """
    ledger = ledger or Ledger(settings.schema)
    # The lock comes first, so that it is released last.
    with (
        take_migration_lock(connect(), settings.schema, settings.lock_wait_s) as migration_lock,
        session.keep_idle(),
        open_monitor_connection(migration_lock, works, connect_observer) as monitor_conn,
        LockWaitMonitor(monitor_conn, session.conn, measures_waits=rehearsal is not None) as blockers,
    ):
        observer, step_observer = _make_observers(session, migration_lock, blockers, ledger, rehearsal)
        run_context = RunContext(
            session=session,
            migration_lock=migration_lock,
            ledger=ledger,
            plugin_manager=manager,
            observer=observer,
            step_observer=step_observer,
            plugins=plugins,
            lock_timeout=settings.lock_timeout,
            statement_timeout=settings.statement_timeout,
            wait_concurrently=settings.wait_concurrently,
            mode=rehearsal.mode if rehearsal else ExecutionMode.RUN,
            refuse_call=rehearsal.copy.refuse_call if rehearsal and rehearsal.copy else None,
            events=None if rehearsal else create_recorder(settings, session, plugins, connect),
        )
        yield Runner(run_context, settings.lock_retries, connect, blockers)


def create_recorder(
    settings: Settings,
    session: Session,
    plugins: tuple[PluginUse, ...],
    connect: Callable[[], Connection[Any]],
) -> EventRecorder | None:
    """Return the recorder of a run's events."""
    table = EventTable(
        settings.schema,
        plugins=tuple(f"{plugin.name}=={plugin.version}" for plugin in plugins),
        git_revision=read_git_revision(settings.migrations),
        server_version=read_server_version(session.conn),
        channel=settings.notify,
        tenant=settings.tenant,
    )
    return EventRecorder(session, table, connect)


def _make_observers(
    session: Session,
    migration_lock: MigrationLock,
    blockers: LockWaitMonitor,
    ledger: Ledger,
    rehearsal: RehearsalSetup | None,
) -> tuple[Observer, StepObserver]:
    if rehearsal is None:
        return LocksAtEnd(session.conn, migration_lock.conn), LocksOfSteps(migration_lock.conn)
    # Imported here: a run needs no tracer.
    from confiture.rehearsal.transaction import create_tracer

    trace = create_tracer(
        session.conn,
        blockers,
        ledger,
        explain=rehearsal.explain,
        production_planner=rehearsal.production_planner,
    )
    if (copy := rehearsal.copy) is None:
        # Everything runs in one transaction, and the step observer is never called.
        return trace, LocksOfSteps(migration_lock.conn)
    from confiture.rehearsal.copy_observer import CopyObserver
    from confiture.rehearsal.isolation import build_outward_fault

    trace.outward.scopes, trace.outward.build_error = copy.refused_scopes, build_outward_fault
    return trace, CopyObserver(session.conn, trace, copy.sampler)
