"""Begin a fleet run, or go on with one that was stopped, killed or paused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from attrs import evolve, frozen
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict

from confiture.config.fleet_settings import FleetSettings
from confiture.config.settings import Settings, mask_password
from confiture.config.urls import SECRETS
from confiture.exceptions import ConnectionFault, Interrupted, UsageFault
from confiture.fleet.coordinator import Coordinator, Watch
from confiture.fleet.executors import FleetExecutor
from confiture.fleet.find_aliases import refuse_aliases
from confiture.fleet.health_check import CheckHealth
from confiture.fleet.policy import Policy, assign_waves
from confiture.fleet.store import FleetStore, refuse_other_plan
from confiture.fleet.target import Target
from confiture.fleet.work import TargetTask, close_connections, hash_plan
from confiture.models.fleet import FleetResult, RunRecord
from confiture.postgres.connect import connect
from confiture.sources.read_migrations import read_migrations

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin

_VARIABLE = re.compile(r"\$\{\w+\}")


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
) -> FleetResult:
    """Migrate the targets in waves, and return how the run ended.

    SIGINT and SIGTERM pause it: what has begun ends and is recorded.

    Raises:
        UsageFault: The policy can never be met, or a target's URL holds a password that would leave here.
        LedgerFault: The migrations are other ones than those of the run to go on with.
        LockFault: Another process works on that run.
        ConnectionFault: The control database or the scheduler cannot be reached.
    """
    migrations = read_migrations(settings)
    if not migrations:
        raise UsageFault(f"there is no migration in {settings.migrations}", hint="confiture new NAME")
    plan = hash_plan(migrations)
    request = evolve(request, policy=_limit_workers(request))
    waves = assign_waves(request.targets, request.policy)
    if request.executor.remote:
        _refuse_passwords(request.targets)
    refuse_aliases(settings, request.targets)
    with (
        _open_control(control) as conn,
        request.executor.open(request.policy.workers, request.scheduler) as executor,
    ):
        store = FleetStore(conn, control.schema)
        record = _open_run(store, request, plan, waves)
        names = tuple(plugin.name for plugin in plugins)
        # Without what a worker need not know: the URLs here may hold passwords.
        shared = evolve(settings, url=None, direct_url=None, fleet=FleetSettings())
        states = Counter(target.state for target in record.targets)
        coordinator = Coordinator(
            store,
            record.run,
            request.policy,
            executor,
            lambda target: TargetTask(target, shared, plan, names),
            len(request.targets),
            len(record.targets) - states["waiting"],
            states["failed"],
            watch,
            check_health,
        )
        return _lead(store, coordinator, _select_waves(record, request.targets))


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


def _limit_workers(request: FleetRequest) -> Policy:
    workers = request.policy.workers
    return evolve(request.policy, workers=min(workers, request.executor.most_workers or workers))


def _open_run(
    store: FleetStore, request: FleetRequest, plan: str, waves: Sequence[Sequence[Target]]
) -> RunRecord:
    if request.resume is None:
        return store.read_run(store.create_run(plan, request.policy, waves))
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


def _lead(store: FleetStore, coordinator: Coordinator, waves: dict[int, list[Target]]) -> FleetResult:
    run = coordinator.run
    try:
        stop = coordinator.lead(waves)
    except KeyboardInterrupt as interruption:
        store.end_run(run, "paused", "interrupted")
        code = interruption.exit_code if isinstance(interruption, Interrupted) else 130
        return FleetResult(store.read_run(run), code)
    except psycopg.OperationalError as error:
        (first, *_) = str(error).splitlines() or [type(error).__name__]
        raise ConnectionFault(
            f"the control database was lost: {first}",
            hint=f"what has begun ends, and nothing is lost; go on with: confiture fleet run --resume {run}",
        ) from error
    finally:
        close_connections()
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


def _refuse_passwords(targets: Sequence[Target]) -> None:
    for target in targets:
        # What is left once the variables are gone is in the text itself.
        if mask_password(bare := _VARIABLE.sub("", target.url)) != bare and _holds_password(bare):
            raise UsageFault(
                f"the URL of {target.name} holds a password, which would be sent to the scheduler",
                hint="write ${VARIABLE} in its place, set where the workers run, or use a password file",
            )


def _holds_password(url: str) -> bool:
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return True
    return any(parts.get(secret) for secret in SECRETS)
