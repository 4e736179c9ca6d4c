"""Define the flags of a fleet: which targets it has, and how they are migrated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from attrs import evolve, fields, frozen

from confiture.cli.context import open_server
from confiture.cli.flags import collect_options
from confiture.config.fleet_settings import FleetSettings
from confiture.config.settings import Settings
from confiture.config.urls import EMBEDDED_URL
from confiture.exceptions import UsageFault

if TYPE_CHECKING:
    from confiture.fleet.policy import FleetPolicy
    from confiture.fleet.target import Target


@frozen
class FleetFlags:
    """The flags of a fleet; those that are ``None`` were not given, see ``FleetSettings``."""

    targets: str | None = None
    query: str | None = None
    command: str | None = None
    schemas: str | None = None
    control: str | None = None
    executor: str | None = None
    scheduler: str | None = None
    workers: int | None = None
    waves: tuple[str, ...] | None = None
    canary: str | None = None
    stop_after: str | None = None

    def override(self, settings: FleetSettings) -> FleetSettings:
        """Return the configured settings with the flags that were given."""
        given = {field.name: getattr(self, field.name) for field in fields(FleetFlags)}
        return evolve(settings, **{name: value for name, value in given.items() if value is not None})


def _split_waves(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(part.strip() for part in value.split(","))


_TARGETS = (
    click.option("--targets", metavar="FILE", help="A CSV file of targets: name,url,schema and tags."),
    click.option("--query", metavar="SQL", help="A query on the control database that gives the targets."),
    click.option("--command", metavar="COMMAND", help="A command that prints the targets."),
    click.option(
        "--schemas", metavar="PATTERN", help="The schemas of the database that are targets: tenant_*."
    ),
    click.option(
        "--control", metavar="URL", help="The database that keeps the record; embedded: if not given."
    ),
    click.option("--executor", metavar="NAME", help="serial, threads (the default), dask, or a plugin's."),
    click.option("--scheduler", metavar="ADDRESS", help="The Dask scheduler: tcp://host:8786."),
    click.option(
        "--workers", type=click.IntRange(min=1), default=None, metavar="N", help="Targets at a time (8)."
    ),
)
_POLICY = (
    click.option("--waves", metavar="1,10%", callback=_split_waves, help="The sizes of the waves."),
    click.option("--canary", metavar="TAG=VALUE", help="The targets that go first."),
    click.option("--stop-after", metavar="N|X%", help="Stop if more targets than this fail (0)."),
)
add_fleet_flags = collect_options(FleetFlags, "fleet_flags", *_TARGETS, *_POLICY)
"""Add the flags to a command that migrates, which gets them as one value, ``fleet_flags``."""
add_target_flags = collect_options(FleetFlags, "fleet_flags", *_TARGETS)
"""Add the flags to a command that only reads the targets."""


@contextmanager
def open_control(settings: Settings, fleet: FleetSettings) -> Iterator[Settings]:
    """Yield the settings for the control database; the embedded server is started if it is that."""
    with open_server(evolve(settings, url=fleet.control or EMBEDDED_URL, direct_url=None)) as control:
        yield control


def read_targets(settings: Settings, fleet: FleetSettings, control: Settings | None) -> tuple[Target, ...]:
    """Return the targets from their one origin; ``control`` is only needed for a query.

    Raises:
        UsageFault: There is no origin, or more than one, or a target is not usable.
    """
    from confiture.fleet import read_targets as read

    ways = {
        "targets": fleet.targets,
        "query": fleet.query,
        "command": fleet.command,
        "schemas": fleet.schemas,
    }
    given = [name for name, value in ways.items() if value]
    if len(given) != 1:
        named = " and ".join(f"--{name}" for name in given) or "no way"
        raise UsageFault(
            f"the targets of a fleet have one origin, and {named} was given",
            hint="give one of --targets FILE, --query SQL, --command COMMAND or --schemas PATTERN",
        )
    if fleet.targets:
        return read.read_file(settings.root / fleet.targets)
    if fleet.query:
        if control is None:
            with open_control(settings, fleet) as opened:
                return read.query_targets(opened, fleet.query)
        return read.query_targets(control, fleet.query)
    if fleet.command:
        return read.run_command(fleet.command)
    return read.list_schemas(settings, fleet.schemas or "")


def build_policy(fleet: FleetSettings) -> FleetPolicy:
    """Return the policy that the settings describe."""
    from confiture.fleet.policy import FleetPolicy

    return FleetPolicy(
        waves=fleet.waves,
        canary=fleet.canary,
        order_by=fleet.order_by,
        soak_s=fleet.soak_s,
        stop_after=fleet.stop_after,
        connections_per_host=fleet.connections_per_host,
        workers=fleet.workers,
    )
