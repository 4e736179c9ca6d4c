"""``confiture fleet run`` and ``confiture fleet status``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from attrs import evolve, fields, frozen

from confiture.cli.commands import print_help_if_bare
from confiture.cli.context import EMBEDDED_URL, load_plugins, open_server, read_settings
from confiture.cli.error_messages import say, say_line
from confiture.cli.flags import Flags, collect_options, database_options, fleet_options
from confiture.cli.outputs import open_outputs
from confiture.config.fleet_settings import FleetSettings
from confiture.config.settings import Settings
from confiture.exceptions import UsageFault

if TYPE_CHECKING:
    from confiture.fleet.coordinator import Coordinator
    from confiture.fleet.policy import Policy
    from confiture.fleet.run_fleet import FleetRequest
    from confiture.fleet.target import Target
    from confiture.plugins.load import LoadedPlugin

_CONTROL = click.option(
    "--control", metavar="URL", help="The database that keeps the record; embedded: if not given."
)


@frozen
class FleetFlags:
    """The flags of ``fleet run``; those that are ``None`` were not given, see ``FleetSettings``."""

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


_add_fleet_flags = collect_options(
    FleetFlags,
    "fleet_flags",
    click.option("--targets", metavar="FILE", help="A CSV file of targets: name,url,schema and tags."),
    click.option("--query", metavar="SQL", help="A query on the control database that gives the targets."),
    click.option("--command", metavar="COMMAND", help="A command that prints the targets."),
    click.option(
        "--schemas", metavar="PATTERN", help="The schemas of the database that are targets: tenant_*."
    ),
    _CONTROL,
    click.option("--executor", metavar="NAME", help="serial, threads (the default), dask, or a plugin's."),
    click.option("--scheduler", metavar="ADDRESS", help="The Dask scheduler: tcp://host:8786."),
    click.option(
        "--workers", type=click.IntRange(min=1), default=None, metavar="N", help="Targets at a time (8)."
    ),
    click.option("--waves", metavar="1,10%", callback=_split_waves, help="The sizes of the waves."),
    click.option("--canary", metavar="TAG=VALUE", help="The targets that go first."),
    click.option("--stop-after", metavar="N|X%", help="Stop if more targets than this fail (0)."),
)


@click.group("fleet", invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run the migrations on many databases, or on the schemas of one."""
    print_help_if_bare(ctx)


@command.command("run")
@fleet_options
@_add_fleet_flags
@click.option(
    "--resume", type=int, metavar="RUN", help="Go on with a run that was stopped, killed or paused."
)
@click.option("--retry-failed", is_flag=True, help="With --resume, also try the failed targets again.")
def run(flags: Flags, fleet_flags: FleetFlags, resume: int | None, retry_failed: bool) -> int:
    """Migrate the targets in waves; --resume goes on where a run ended."""
    from confiture.fleet.health_check import build_health_check
    from confiture.fleet.run_fleet import run_fleet
    from confiture.postgres.signals import raise_on_signals

    with open_outputs(flags) as out:
        if retry_failed and resume is None:
            raise click.UsageError("--retry-failed is for --resume RUN")
        settings = read_settings(flags)
        fleet = fleet_flags.override(settings.fleet)
        with (
            raise_on_signals(say_line),
            load_plugins(settings, flags) as plugins,
            _open_control(settings, fleet) as control,
            open_server(settings) as opened,
        ):
            request = _build_request(opened, control, fleet, plugins, resume, retry_failed)
            result = run_fleet(
                opened, control, request, plugins, _Watch(flags.quiet), build_health_check(plugins)
            )
        out.write("fleet", result.record)
        if result.record.state != "done":
            say([f"go on with: confiture fleet run --resume {result.record.run}"])
    return result.exit_code


@command.command("status")
@database_options
@_CONTROL
@click.argument("run", type=int, required=False)
def status(flags: Flags, control: str | None, run: int | None) -> int:
    """Show what became of each target of a run; of the last one if none is named."""
    from confiture.fleet.store import FleetStore
    from confiture.postgres.connect import open_connection

    with open_outputs(flags) as out:
        settings = read_settings(flags)
        fleet = FleetFlags(control=control).override(settings.fleet)
        with _open_control(settings, fleet) as opened, open_connection(opened) as conn:
            store = FleetStore(conn, opened.schema)
            record = store.read_run(run)
            if record.state == "running" and not store.is_led(record.run):
                way_on = f"no process works on it; go on with: confiture fleet run --resume {record.run}"
                record = evolve(record, state="killed", reason=way_on)
        out.write("fleet", record)
    return 0


@contextmanager
def _open_control(settings: Settings, fleet: FleetSettings) -> Iterator[Settings]:
    with open_server(evolve(settings, url=fleet.control or EMBEDDED_URL, direct_url=None)) as control:
        yield control


def _build_request(
    settings: Settings,
    control: Settings,
    fleet: FleetSettings,
    plugins: tuple[LoadedPlugin, ...],
    resume: int | None,
    retries_failed: bool,
) -> FleetRequest:
    from confiture.fleet.find_executor import find_executor
    from confiture.fleet.run_fleet import FleetRequest

    return FleetRequest(
        _read_targets(settings, control, fleet),
        _build_policy(fleet),
        find_executor(fleet.executor, plugins),
        fleet.scheduler,
        resume,
        retries_failed,
    )


def _read_targets(settings: Settings, control: Settings, fleet: FleetSettings) -> tuple[Target, ...]:
    from confiture.fleet import read_targets

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
        return read_targets.read_file(settings.root / fleet.targets)
    if fleet.query:
        return read_targets.query_targets(control, fleet.query)
    if fleet.command:
        return read_targets.run_command(fleet.command)
    return read_targets.list_schemas(settings, fleet.schemas or "")


def _build_policy(fleet: FleetSettings) -> Policy:
    from confiture.fleet.policy import Policy

    return Policy(
        waves=fleet.waves,
        canary=fleet.canary,
        order_by=fleet.order_by,
        soak_s=fleet.soak_s,
        stop_after=fleet.stop_after,
        connections_per_host=fleet.connections_per_host,
        workers=fleet.workers,
    )


class _Watch:
    """Says on stderr how far a run is, at most once a second and once a wave."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.last = self.began = time.monotonic()

    def __call__(self, coordinator: Coordinator) -> None:
        if self.quiet or time.monotonic() - self.last < 1.0:
            return
        self.last = time.monotonic()
        say([describe_progress(coordinator, time.monotonic() - self.began)])


def describe_progress(coordinator: Coordinator, elapsed_s: float) -> str:
    """Return how far a run is, how fast, and how long the rest takes at this rate."""
    from confiture.units import format_duration

    ended = coordinator.ended_before + coordinator.ended
    line = f"{ended} of {coordinator.total} ended, {coordinator.failures} failed"
    line = f"wave {coordinator.wave + 1}: {line}, {len(coordinator.in_flight)} running"
    if coordinator.draining:
        return f"{line}; waiting for these, and then no further"
    rate = coordinator.ended / elapsed_s if elapsed_s else 0.0
    if not rate:
        return line
    left_ms = (coordinator.total - ended) / rate * 1000
    return f"{line}; {rate:.3g}/s, {format_duration(left_ms).strip()} left"
