"""Begin a fleet run, or go on with one that was stopped, killed or paused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import ConnectionFault, Interrupted, RecordLost, UsageFault
from confiture.fleet.coordinator import Coordinator, Watch
from confiture.fleet.health_check import CheckHealth
from confiture.fleet.prepare_fleet import FleetRequest, PreparedFleet, prepare_fleet
from confiture.fleet.store import FleetStore, refuse_other_plan
from confiture.fleet.target import Target
from confiture.fleet.work import TargetTask, close_connections, select_shared_settings
from confiture.models.fleet import FleetResult, RunRecord
from confiture.postgres.connect import connect

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


def run_fleet(
    settings: Settings,
    control: Settings,
    request: FleetRequest,
    plugins: Sequence[LoadedPlugin] = (),
    watch: Watch = lambda _: None,
    check_health: CheckHealth = lambda _run, _wave, _outcomes: None,
) -> FleetResult:
    """Migrate the targets in waves, and return how the run ended.

    SIGINT and SIGTERM pause it: what has begun ends and is recorded.

    Raises:
        UsageFault: The policy can never be met, or a target's URL holds a password that would leave here.
        LedgerFault: The migrations differ from those of the run to go on with.
        LockFault: Another process works on that run.
        ConnectionFault: The control database or the scheduler cannot be reached.
    """
    prepared = prepare_fleet(settings, request)
    policy, executor = prepared.request.policy, request.executor
    with _open_control(control) as conn, executor.open(policy.workers, request.scheduler) as pool:
        store = FleetStore(conn, control.schema)
        record = _open_run(store, prepared)
        states = Counter(target.state for target in record.targets)
        coordinator = Coordinator(
            store,
            record.run,
            policy,
            pool,
            _build_task_maker(settings, prepared.plan, plugins),
            total=len(request.targets),
            ended_before=len(record.targets) - states["waiting"],
            failed_before=states["failed"],
            watch=watch,
            check_health=check_health,
        )
        try:
            return _run_to_end(store, coordinator, _select_waves(record, request.targets))
        except psycopg.OperationalError as error:
            raise _build_record_lost(record.run, error) from error
        finally:
            close_connections()


def _build_record_lost(run: int, error: psycopg.OperationalError) -> RecordLost:
    (first, *_) = str(error).splitlines() or [type(error).__name__]
    return RecordLost(
        f"the control database was lost: {first}",
        hint=f"what has begun ends, and nothing is lost; go on with: confiture fleet run --resume {run}",
    )


def _build_task_maker(
    settings: Settings, plan: str, plugins: Sequence[LoadedPlugin]
) -> Callable[[Target], TargetTask]:
    names = tuple(plugin.name for plugin in plugins)
    shared = select_shared_settings(settings)
    return lambda target: TargetTask(target, shared, plan, names)


def check_control(control: Settings) -> None:
    """Connect to the control database, as a run would before its first target.

    Raises:
        ConnectionFault: It cannot be reached.
    """
    with _open_control(control):
        pass


@contextmanager
def _open_control(control: Settings) -> Iterator[Connection[Any]]:
    try:
        conn = connect(control)
    except ConnectionFault as fault:
        raise ConnectionFault(
            f"the control database cannot be used: {fault.message}",
            hint="correct --control (or control in the table fleet); without it, the embedded server keeps "
            "the record",
        ) from None
    with closing(conn):
        yield conn


def _open_run(store: FleetStore, prepared: PreparedFleet) -> RunRecord:
    request, plan = prepared.request, prepared.plan
    if request.resume is None:
        return store.read_run(store.create_run(plan, request.policy, prepared.waves))
    store.read_run(request.resume)
    store.lock_run(request.resume)
    # Read under the lock: until then another process may have worked on it.
    record = store.read_run(request.resume)
    refuse_other_plan(record, plan)
    _refuse_other_targets(record, request.targets)
    again = {"running", "failed"} if request.retries_failed else {"running"}
    _refuse_too_many_failures(record, request, again)
    # Nobody else works on it: what was running is not running any more.
    store.reset_targets(record.run, [target.name for target in record.targets if target.state in again])
    store.end_run(record.run, "running")
    return store.read_run(record.run)


def _run_to_end(store: FleetStore, coordinator: Coordinator, waves: dict[int, list[Target]]) -> FleetResult:
    run = coordinator.run
    try:
        stop = coordinator.run_waves(waves)
    except KeyboardInterrupt as interruption:
        store.end_run(run, "paused", "interrupted")
        code = interruption.exit_code if isinstance(interruption, Interrupted) else 130
        return FleetResult(store.read_run(run), code)
    store.end_run(run, "stopped" if stop else "done", stop.reason if stop else None)
    record = store.read_run(run)
    return FleetResult(record, record.exit_code or (stop.exit_code if stop else 0))


def _select_waves(record: RunRecord, targets: Sequence[Target]) -> dict[int, list[Target]]:
    """Return the targets that still wait, by wave."""
    by_name = {target.name: target for target in targets}
    waves: dict[int, list[Target]] = {}
    for target in record.targets:
        if target.state == "waiting":
            waves.setdefault(target.wave, []).append(by_name[target.name])
    return waves


def _refuse_other_targets(record: RunRecord, targets: Sequence[Target]) -> None:
    recorded = {(target.name, target.place) for target in record.targets}
    given = {(target.name, target.place) for target in targets}
    if recorded != given:
        other = min(recorded ^ given)[0]
        raise UsageFault(
            f"the targets have changed since fleet run {record.run} began: {other}",
            hint="restore the list, or begin a new run: confiture fleet run",
        )


def _refuse_too_many_failures(record: RunRecord, request: FleetRequest, again: set[str]) -> None:
    failed = sum(target.state == "failed" and target.state not in again for target in record.targets)
    allowed = request.policy.count_allowed_failures(len(record.targets))
    if failed > allowed:
        raise UsageFault(
            f"{failed} of the targets of fleet run {record.run} failed, and {allowed} may",
            hint=f"try them again: confiture fleet run --resume {record.run} --retry-failed; or allow more: "
            "--stop-after N",
        )
