"""What the migrations of one run share, and whether they are applied or rehearsed."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from attrs import field, frozen

from confiture.engine.observer import Observer, StepObserver
from confiture.engine.statements import CpuWait
from confiture.hooks.plugin_manager import GuardedPluginManager
from confiture.ledger.event_recorder import EventRecorder
from confiture.ledger.migration_lock import MigrationLock
from confiture.ledger.table import Ledger
from confiture.migrations.prepare import PreparedMigration
from confiture.models.report import PluginUse
from confiture.postgres.session import Session


class ExecutionMode(Enum):
    """How the migrations of one command end."""

    RUN = auto()
    """Each is committed and recorded, or is part of the caller's transaction."""
    REHEARSE = auto()
    """All of them share one transaction, which is rolled back."""
    REHEARSE_IN_COPY = auto()
    """Each is committed in a copy of the database, which is dropped."""


@frozen
class RunContext:
    """The values that all migrations of one run share.

    Attributes:
        session: The session that they run in.
        migration_lock: The migration lock and the connection that keeps it.
        ledger: The table that records them.
        plugin_manager: The registered plugins.
        plugins: The plugins with their versions, as the ledger records them.
        lock_timeout: For migrations that set none.
        statement_timeout: For migrations that set none.
        wait_concurrently: The ``lock_timeout`` of CONCURRENTLY.
        mode: Whether they are applied or rehearsed.
        observer: Observes a migration in its transaction.
        step_observer: Observes the statements of a no-transaction migration.
        refuse_call: Refuses a Python migration's statement, before it is sent, if a copy does not isolate it.
        events: Records what happens; ``None`` in a rehearsal.
        create_ledger_sql: Creates the ledger for each trial of its rows; empty if there is one.
        cpu_wait: Reads how long the session's server process has waited for a CPU.
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
    events: EventRecorder | None = None
    create_ledger_sql: str = ""
    cpu_wait: CpuWait = field(init=False)

    @cpu_wait.default
    def _find_cpu_wait(self) -> CpuWait:
        return CpuWait.find(self.session.conn)

    @property
    def dry_run(self) -> bool:
        """True in a rehearsal."""
        return self.mode is not ExecutionMode.RUN

    @property
    def rolls_back(self) -> bool:
        """True if everything is rolled back at the end."""
        return self.mode is ExecutionMode.REHEARSE
