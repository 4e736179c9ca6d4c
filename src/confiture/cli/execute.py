"""Run one executing command: load plugins, reach the server, do the work, write the report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from confiture.cli.context import EMBEDDED_URL, add_extension_hints, load_plugins, open_server, read_settings
from confiture.cli.error_messages import explain_error, say
from confiture.cli.flags import Flags
from confiture.cli.gate_flags import GateOptions, apply_gate, build_rules_judge, choose_scope
from confiture.cli.outputs import Outputs, open_outputs
from confiture.cli.progress import ProgressDisplay
from confiture.cli.rehearsal_flags import RehearsalOptions
from confiture.config.settings import Settings
from confiture.exceptions import Interrupted, MigrationFault, SourceFault, UserFault
from confiture.models.report import Fault, Mode, Report

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin

if TYPE_CHECKING:
    from confiture.cli.progress import ProgressDisplay
    from confiture.plugins.load import LoadedPlugin

Operation = Callable[[Settings, "tuple[LoadedPlugin, ...]", "ProgressDisplay | None"], Report]


def execute(flags: Flags, mode: Mode, operation: Operation) -> int:
    """Do the work, write every report, and only then return the exit code."""
    from confiture.logs import is_json

    with open_outputs(flags) as out:
        try:
            report = _run_operation(flags, operation)
        except UserFault as fault:
            _write_report(out.drop_text(), build_refused_report(mode, fault))
            raise
        except Interrupted as signal:
            why = Fault(f"{signal}: nothing was begun")
            _write_report(out.drop_text(), Report(mode, "refused", signal.exit_code, fault=why))
            raise
        _write_report(out, report)
        if not out.on_screen and not is_json():
            _say_failures(report)
    return report.exit_code


def _run_operation(flags: Flags, operation: Operation) -> Report:
    import logging

    from confiture.cli.progress import open_progress
    from confiture.postgres.signals import raise_on_signals

    # Of a connection that is lost the driver warns as it tidies up; the report says it, once.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    # Hooks and migrations may print. Stdout carries only the report, which a machine may parse.
    with raise_on_signals(), open_progress(flags) as tell, redirect_stdout(sys.stderr):
        settings = read_settings(flags)
        with load_plugins(settings, flags) as plugins, open_server(settings) as there:
            report = operation(there, plugins, tell)
        return add_extension_hints(report) if settings.url == EMBEDDED_URL else report


def _write_report(out: Outputs, report: Report) -> None:
    """Write the report; if the run had already failed, its exit code wins over a write error."""
    try:
        out.write("report", report)
    except (UserFault, OSError) as error:
        if not report.exit_code:
            raise
        say(explain_error(error)[0])


def build_refused_report(mode: Mode, fault: UserFault) -> Report:
    """Return the report of a run that was not begun."""
    place = fault if isinstance(fault, MigrationFault) else None
    return Report(
        mode,
        "refused",
        fault.exit_code,
        fault=Fault(
            fault.message,
            hint=fault.hint,
            file=str(place.file) if place and place.file else None,
            line=place.line if place else None,
            column=place.column if place else None,
        ),
    )


def _say_failures(report: Report) -> None:
    from confiture.escape import escape_control
    from confiture.output.migration_text import render_error

    for migration in report.migrations:
        if migration.error:
            label = escape_control(f"{migration.version} {migration.name}".rstrip())
            say([f"{label}:", *render_error(migration.error, migration.source_line)])
    if report.fault:
        say(render_error(report.fault))


def rehearse_pending(
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    progress: ProgressDisplay | None,
    *,
    to: str | None,
    rehearsal_options: RehearsalOptions,
    gate_options: GateOptions,
) -> Report:
    """Rehearse the pending migrations and return the report with the gate's verdict.

    Raises:
        ConfitureError: Nothing was begun.
    """
    from confiture.api.operations import run

    scope = choose_scope(settings, gate_options)
    try:
        report = run(
            settings,
            to=to,
            plugins=plugins,
            dry_run=True,
            on_progress=progress,
            watcher=progress,
            judge=build_rules_judge(settings, plugins, strict=gate_options.strict),
            **rehearsal_options.run_arguments,
        )
    except SourceFault:
        if not gate_options.allow_empty:
            raise
        report = Report("dry-run", "ok", 0)
    return apply_gate(settings, report, gate_options, scope)
