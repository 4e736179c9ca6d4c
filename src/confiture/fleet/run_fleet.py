"""Begin a fleet run, or go on with one that was stopped, killed or paused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from psycopg.conninfo import conninfo_to_dict

from confiture.config.settings import Settings
from confiture.exceptions import UsageFault
from confiture.fleet.coordinator import Coordinator, Watch
from confiture.fleet.executors import FleetExecutor
from confiture.fleet.health_check import CheckHealth
from confiture.fleet.policy import Policy, assign_waves
from confiture.fleet.store import FleetStore, refuse_other_plan
from confiture.fleet.target import Target
from confiture.fleet.work import TargetTask, close_connections, hash_plan
from confiture.models.fleet import RunRecord
from confiture.postgres.connect import open_connection
from confiture.sources.read_migrations import read_migrations

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


@frozen
class FleetRequest:
    """What to do with a fleet.

    Attributes:
        targets: All targets.
        policy: How they are migrated.
        executor: Where the work is done.
        scheduler: The address of a scheduler; ``None`` for a local one.
        resume: The number of the run to go on with; ``None`` for a new one.
        retries_failed: True to try the failed targets again.
    """

    targets: tuple[Target, ...]
    policy: Policy
    executor: FleetExecutor
    scheduler: str | None = None
    resume: int | None = None
    retries_failed: bool = False


def run_fleet(
    settings: Settings,
    control: Settings,
    request: FleetRequest,
    plugins: Sequence[LoadedPlugin] = (),
    watch: Watch = lambda _: None,
    check_health: CheckHealth = lambda _run, _wave, _outcomes: None,
) -> RunRecord:
    """Migrate the targets in waves, and return the record of the run.

    Raises:
        UsageFault: The policy can never be met, or a target's URL holds a password that would leave here.
        LedgerFault: The migrations are other ones than those of the run to go on with.
        LockFault: Another process works on that run.
    """
    plan = hash_plan(read_migrations(settings))
    waves = assign_waves(request.targets, request.policy)
    request.policy.count_allowed_failures(len(request.targets))
    if request.executor.remote:
        _refuse_passwords(request.targets)
    with open_connection(control) as conn:
        store = FleetStore(conn, control.schema)
        record = _open_run(store, request, plan, waves)
        names = tuple(f"{plugin.name}" for plugin in plugins)
        shared = evolve(settings, url=None, direct_url=None)
        with request.executor.open(request.policy.workers, request.scheduler) as executor:
            coordinator = Coordinator(
                store,
                record.run,
                request.policy,
                executor,
                lambda target: TargetTask(target, shared, plan, names),
                len(request.targets),
                sum(target.state == "failed" for target in record.targets),
                watch,
                check_health,
            )
            _lead(store, coordinator, _select_waves(record, request.targets))
        return store.read_run(record.run)


def _open_run(
    store: FleetStore, request: FleetRequest, plan: str, waves: Sequence[Sequence[Target]]
) -> RunRecord:
    if request.resume is None:
        run = store.create_run(plan, request.policy, waves)
        store.lock_run(run)
        return store.read_run(run)
    record = store.read_run(request.resume)
    refuse_other_plan(record, plan)
    _refuse_other_targets(record, request.targets)
    store.lock_run(record.run)
    # Nobody else works on it: what was running is not running any more.
    again = {"running", "failed"} if request.retries_failed else {"running"}
    store.reset_targets(record.run, [target.name for target in record.targets if target.state in again])
    store.end_run(record.run, "running")
    return store.read_run(record.run)


def _lead(store: FleetStore, coordinator: Coordinator, waves: dict[int, list[Target]]) -> None:
    try:
        reason = coordinator.lead(waves)
    except BaseException:
        store.end_run(coordinator.run, "paused", "interrupted")
        raise
    finally:
        close_connections()
    store.end_run(coordinator.run, "stopped" if reason else "done", reason)


def _select_waves(record: RunRecord, targets: Sequence[Target]) -> dict[int, list[Target]]:
    """Return the targets that still wait, by wave."""
    by_name = {target.name: target for target in targets}
    waves: dict[int, list[Target]] = {}
    for target in record.targets:
        if target.state == "waiting":
            waves.setdefault(target.wave, []).append(by_name[target.name])
    return waves


def _refuse_other_targets(record: RunRecord, targets: Sequence[Target]) -> None:
    recorded, given = {target.name for target in record.targets}, {target.name for target in targets}
    if recorded != given:
        other = sorted(recorded ^ given)[0]
        raise UsageFault(
            f"the targets have changed since fleet run {record.run} began: {other}",
            hint="restore the list, or begin a new run: confiture fleet run",
        )


def _refuse_passwords(targets: Sequence[Target]) -> None:
    for target in targets:
        password = str(conninfo_to_dict(target.url).get("password") or "$")
        if not password.startswith("$"):
            raise UsageFault(
                f"the URL of {target.name} holds a password, which would be sent to the scheduler",
                hint="write ${VARIABLE} in its place, set where the workers run, or use a password file",
            )
