"""``confiture fleet run`` and ``confiture fleet status``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click
from attrs import evolve

from confiture.cli.commands import print_help_if_bare
from confiture.cli.context import load_plugins, open_server, read_settings
from confiture.cli.early_refusal import ReportCommand
from confiture.cli.error_messages import say, say_line
from confiture.cli.execute import write_refusal
from confiture.cli.flags import Flags, database_options, fleet_options
from confiture.cli.fleet_flags import (
    FleetFlags,
    add_fleet_flags,
    add_target_flags,
    build_policy,
    open_control,
    read_targets,
)
from confiture.cli.fleet_progress import FleetProgress
from confiture.cli.gate_flags import GateOptions, apply_gate, choose_scope
from confiture.cli.outputs import Outputs, open_outputs
from confiture.config.urls import EMBEDDED_URL
from confiture.exceptions import Interrupted, RecordLost
from confiture.streams import lend_streams

if TYPE_CHECKING:
    from confiture.config.fleet_settings import FleetSettings
    from confiture.config.settings import Settings
    from confiture.fleet.prepare_fleet import FleetRequest
    from confiture.plugins.load import LoadedPlugin


@click.group("fleet", invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run the migrations on many databases, or on the schemas of one."""
    print_help_if_bare(ctx)


@command.command("run", cls=ReportCommand, mode="run")
@fleet_options
@add_fleet_flags
@click.option("--dry-run", is_flag=True, help="Rehearse on a sample of the targets, and estimate the whole.")
@click.option(
    "--resume", type=int, metavar="RUN", help="Go on with a run that was stopped, killed or paused."
)
@click.option("--retry-failed", is_flag=True, help="With --resume, also try the failed targets again.")
def run(flags: Flags, fleet_flags: FleetFlags, dry_run: bool, resume: int | None, retry_failed: bool) -> int:
    """Migrate the targets in waves; --resume continues a run."""
    refuse = partial(write_refusal, "dry-run" if dry_run else "run")
    with open_outputs(flags, refuse) as out:
        try:
            if retry_failed and resume is None:
                raise click.UsageError("--retry-failed is for --resume RUN")
            if dry_run and resume is not None:
                raise click.UsageError("--dry-run and --resume cannot both be given")
            return _open_and_run(flags, out, fleet_flags, dry_run, resume, retry_failed)
        except (Exception, Interrupted) as error:
            # A run whose record is lost was begun: what became of it is for --resume to say.
            if not isinstance(error, RecordLost):
                refuse(out, error)
            raise


def _open_and_run(
    flags: Flags,
    out: Outputs,
    fleet_flags: FleetFlags,
    dry_run: bool,
    resume: int | None,
    retries_failed: bool,
) -> int:
    from confiture.postgres.signals import raise_on_signals

    settings = read_settings(flags)
    fleet = fleet_flags.override(settings.fleet)
    with (
        raise_on_signals(say_line),
        load_plugins(settings, flags) as plugins,
        open_server(settings) as opened,
    ):
        if dry_run:
            return _rehearse(out, opened, fleet, plugins)
        return _run(out, opened, fleet, plugins, resume, retries_failed)


def _run(
    out: Outputs,
    settings: Settings,
    fleet: FleetSettings,
    plugins: tuple[LoadedPlugin, ...],
    resume: int | None,
    retries_failed: bool,
) -> int:
    from confiture.fleet.health_check import build_health_check
    from confiture.fleet.run_fleet import run_fleet

    with open_control(settings, fleet) as control:
        request = _build_request(settings, control, fleet, plugins)
        request = evolve(request, resume=resume, retries_failed=retries_failed)
        progress = FleetProgress(out.quiet)
        with lend_streams():
            result = run_fleet(settings, control, request, plugins, progress, build_health_check(plugins))
    out.write("fleet", result.record)
    if result.record.state != "done":
        say([f"go on with: confiture fleet run --resume {result.record.run}"])
    return result.exit_code


def _rehearse(
    out: Outputs, settings: Settings, fleet: FleetSettings, plugins: tuple[LoadedPlugin, ...]
) -> int:
    from confiture.fleet.rehearse_fleet import rehearse_fleet
    from confiture.fleet.run_fleet import check_control

    # A run would refuse it. The embedded server is not started for a rehearsal, which records nothing.
    if fleet.control not in (None, EMBEDDED_URL):
        check_control(evolve(settings, url=fleet.control, direct_url=None))
    options = GateOptions()
    judge = partial(apply_gate, settings, gate_options=options, scope=choose_scope(settings, options))
    request = _build_request(settings, None, fleet, plugins)
    with lend_streams():
        rehearsal = rehearse_fleet(
            settings, request, plugins, judge, lambda line: None if out.quiet else say([line])
        )
    out.write("fleet_rehearsal", rehearsal)
    return rehearsal.exit_code


@command.command("status")
@database_options
@add_target_flags
@click.option("--drift", is_flag=True, help="Show which targets differ in schema, extensions or server.")
@click.argument("run", type=int, required=False)
def status(flags: Flags, fleet_flags: FleetFlags, drift: bool, run: int | None) -> int:
    """Show each target of a run, by default the last."""
    with open_outputs(flags) as out:
        settings = read_settings(flags)
        fleet = fleet_flags.override(settings.fleet)
        if drift and run is not None:
            raise click.UsageError("--drift reads the targets as they are now, and takes no RUN")
        if drift:
            _compare(flags, out, settings, fleet)
        else:
            _show(out, settings, fleet, run)
    return 0


def _show(out: Outputs, settings: Settings, fleet: FleetSettings, run: int | None) -> None:
    from confiture.fleet.store import FleetStore
    from confiture.postgres.connect import open_connection

    with open_control(settings, fleet) as control, open_connection(control) as conn:
        record = FleetStore(conn, control.schema).read_present(run)
    out.write("fleet", record)


def _compare(flags: Flags, out: Outputs, settings: Settings, fleet: FleetSettings) -> None:
    from confiture.fleet.compare_targets import find_drift
    from confiture.fleet.find_executor import find_executor

    # The executor may be a plugin's.
    with open_server(settings) as opened, load_plugins(settings, flags) as plugins:
        targets = read_targets(opened, fleet, None)
        executor = find_executor(fleet.executor, plugins)
        with lend_streams():
            drift = find_drift(opened, targets, build_policy(fleet), executor, fleet.scheduler)
    out.write("fleet_drift", drift)


def _build_request(
    settings: Settings, control: Settings | None, fleet: FleetSettings, plugins: tuple[LoadedPlugin, ...]
) -> FleetRequest:
    from confiture.fleet.find_executor import find_executor
    from confiture.fleet.prepare_fleet import FleetRequest

    return FleetRequest(
        read_targets(settings, fleet, control),
        build_policy(fleet),
        find_executor(fleet.executor, plugins),
        fleet.scheduler,
    )
