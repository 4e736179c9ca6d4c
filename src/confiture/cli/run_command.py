"""``confiture run``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve

from confiture.cli.early_refusal import ReportCommand
from confiture.cli.error_messages import shorten_path
from confiture.cli.execute import execute, rehearse, rehearse_pending
from confiture.cli.flags import Flags, run_options
from confiture.cli.gate_flags import GateOptions, add_gate_flags
from confiture.cli.progress import ProgressDisplay
from confiture.cli.rehearsal_flags import RehearsalOptions, add_rehearsal_flags
from confiture.cli.wizard_command import WizardOptions, add_wizard_flags, run_approved, walk_through
from confiture.config.settings import Settings
from confiture.exceptions import SourceFault, UsageFault
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


@click.command("run", cls=ReportCommand, mode="run")
@run_options
@click.option("--dry-run", is_flag=True, help="Rehearse: run everything, then roll back.")
@add_rehearsal_flags
@click.option("--interactive", is_flag=True, help="Decide about each migration first: confiture wizard.")
@add_wizard_flags
@click.option("--plan", "plan_file", metavar="FILE", help="Run the plan that the wizard wrote.")
@click.option("--gate", is_flag=True, help="Rehearse first, and apply only if the gate passes.")
@add_gate_flags
@click.option("--dump", is_flag=True, help="Afterwards, write schema.sql, as confiture dump does.")
def command(
    flags: Flags,
    dry_run: bool,
    rehearsal_options: RehearsalOptions,
    interactive: bool,
    wizard_options: WizardOptions,
    plan_file: str | None,
    gate: bool,
    gate_options: GateOptions,
    dump: bool,
) -> int:
    """Apply the pending migrations."""

    def check() -> None:
        if dry_run and dump:
            raise click.UsageError("--dump and --dry-run cannot both be given: a rehearsal keeps nothing")
        if gate and gate_options.no_gate:
            raise click.UsageError("--gate and --no-gate cannot both be given")
        given = {"--interactive": interactive, "--plan": plan_file, "--dry-run": dry_run, "--gate": gate}
        ways = [flag for flag, value in given.items() if value]
        if len(ways) > 1:
            raise click.UsageError(f"{ways[0]} and {ways[1]} cannot both be given")
        rehearsal_options.check(rehearses=dry_run or gate or interactive)
        gate_options.check(judges=dry_run or gate or interactive)
        wizard_options.check(interactive=interactive)

    if interactive:
        return walk_through(flags, rehearsal_options, gate_options, wizard_options, check=check)
    if plan_file:
        return execute(flags, "run", partial(_run_plan, file=plan_file, to=flags.to), check=check)
    if dry_run:
        return rehearse(flags, rehearsal_options, gate_options, check=check)
    first = (
        partial(rehearse_pending, to=flags.to, rehearsal_options=rehearsal_options, gate_options=gate_options)
        if gate
        else None
    )
    return execute(flags, "run", partial(_run, to=flags.to, dump=dump, rehearse_first=first), check=check)


def _run_plan(
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    progress: ProgressDisplay | None,
    *,
    file: str,
    to: str | None,
) -> Report:
    from confiture.wizard.plan_file import read_plan_file

    path = Path(file)
    return run_approved(settings, plugins, progress, read_plan_file(path), path, to)


def _run(
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    progress: ProgressDisplay | None,
    *,
    to: str | None,
    dump: bool,
    rehearse_first: partial[Report] | None,
) -> Report:
    if dump:
        _check_pg_dump(settings)
    if rehearse_first is None:
        report = _apply(settings, plugins, progress, to)
    else:
        report = _apply_gated(rehearse_first, settings, plugins, progress, to)
    return _add_dump(settings, report) if dump and not report.exit_code else report


def _apply_gated(
    rehearse_first: partial[Report],
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    progress: ProgressDisplay | None,
    to: str | None,
) -> Report:
    """Rehearse first, and apply exactly the rehearsed files if the gate passes."""
    before = _read_checksums(settings)
    rehearsal = rehearse_first(settings, plugins, progress)
    if rehearsal.exit_code:
        return evolve(rehearsal, notes=(*rehearsal.notes, "nothing was applied"))
    if not rehearsal.migrations:
        return evolve(rehearsal, mode="run")
    # A rehearsal can take minutes, in which somebody may edit or pull a file that the gate has not seen.
    if _read_checksums(settings) != before:
        raise UsageFault(
            "the migrations changed during the rehearsal: nothing was applied", hint="run it again"
        )
    report = _apply(settings, plugins, progress, to)
    return evolve(report, findings=rehearsal.findings, rules=rehearsal.rules, verdict=rehearsal.verdict)


def _apply(
    settings: Settings, plugins: tuple[LoadedPlugin, ...], progress: ProgressDisplay | None, to: str | None
) -> Report:
    from confiture.api.operations import run

    return run(settings, to=to, plugins=plugins, on_progress=progress, watcher=progress)


def _read_checksums(settings: Settings) -> frozenset[tuple[str, str]]:
    """Return version and checksum of every migration, to detect changes during the rehearsal."""
    from confiture.sources.read_migrations import read_migrations

    try:
        return frozenset((script.version, script.checksum) for script in read_migrations(settings))
    except SourceFault:
        # The rehearsal that follows reports the fault.
        return frozenset()


def _check_pg_dump(settings: Settings) -> None:
    """Check that a suitable ``pg_dump`` is installed, before anything is applied."""
    from confiture.postgres.connect import open_connection
    from confiture.postgres.dump import choose_pg_dump

    with open_connection(settings) as conn:
        choose_pg_dump(conn.info.server_version // 10000)


def _add_dump(settings: Settings, report: Report) -> Report:
    """Add the dump to the report; if it fails, the applied migrations stay applied."""
    from confiture.engine.failures import build_outer_fault, choose_exit_code
    from confiture.postgres.dump import write_schema

    try:
        dump = write_schema(settings)
    except (Exception, KeyboardInterrupt) as error:
        return evolve(report, exit_code=choose_exit_code(error), error=build_outer_fault(error))
    word = "wrote" if dump.changed else "not changed:"
    return evolve(report, notes=(*report.notes, f"{word} {shorten_path(dump.file)}"))
