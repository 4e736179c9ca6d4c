"""Check what a fleet is asked to do before its first target: the policy, the waves, and the targets."""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg
from attrs import evolve, frozen
from psycopg.conninfo import conninfo_to_dict

from confiture.config.settings import Settings, mask_password
from confiture.config.urls import SECRETS
from confiture.exceptions import UsageFault
from confiture.fleet.executors import FleetExecutor
from confiture.fleet.find_aliases import refuse_aliases
from confiture.fleet.policy import FleetPolicy, assign_waves
from confiture.fleet.target import Target
from confiture.fleet.work import hash_plan
from confiture.sources.read_migrations import read_migrations

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
    policy: FleetPolicy
    executor: FleetExecutor
    scheduler: str | None = None
    resume: int | None = None
    retries_failed: bool = False


@frozen
class PreparedFleet:
    """A request that can be met.

    Attributes:
        request: The request, with as many workers as its executor has.
        plan: The checksum of all migrations.
        waves: The targets of each wave, in order.
    """

    request: FleetRequest
    plan: str
    waves: tuple[tuple[Target, ...], ...]


def prepare_fleet(settings: Settings, request: FleetRequest) -> PreparedFleet:
    """Return the request with its plan and its waves.

    Raises:
        UsageFault: The policy can never be met, two targets are one database, or a password would leave here.
    """
    migrations = read_migrations(settings)
    if not migrations:
        raise UsageFault(f"there is no migration in {settings.migrations}", hint="confiture new NAME")
    request = evolve(request, policy=_limit_workers(request))
    waves = assign_waves(request.targets, request.policy)
    if request.executor.remote:
        _refuse_passwords(request.targets)
    refuse_aliases(settings, request.targets)
    return PreparedFleet(request, hash_plan(migrations), waves)


def _limit_workers(request: FleetRequest) -> FleetPolicy:
    workers = request.policy.workers
    return evolve(request.policy, workers=min(workers, request.executor.most_workers or workers))


def _refuse_passwords(targets: Sequence[Target]) -> None:
    for target in targets:
        # Without its variables, the text has only what is written in it.
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
