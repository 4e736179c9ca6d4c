"""Run a command that executes migrations: load plugins, start the server, work, write the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from attrs import evolve

from confiture.cli.context import load_plugins, open_server, read_settings
from confiture.cli.error_messages import explain_error, say, say_line
from confiture.cli.flags import Flags
from confiture.cli.gate_flags import GateOptions, apply_gate, build_rules_judge, choose_scope
from confiture.cli.outputs import Outputs, open_outputs
from confiture.cli.progress import ProgressDisplay
from confiture.cli.refusals import build_refused_report
from confiture.cli.rehearsal_flags import RehearsalOptions
from confiture.config.settings import Settings
from confiture.config.urls import EMBEDDED_URL
from confiture.exceptions import Interrupted, SourceFault, UserFault
from confiture.models.report import Mode, Report
from confiture.streams import lend_streams

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin

Operation = Callable[[Settings, "tuple[LoadedPlugin, ...]", "ProgressDisplay | None"], Report]


def execute(
    flags: Flags, mode: Mode, operation: Operation, *, check: Callable[[], None] = lambda: None
) -> int:
    """Run the operation, write every report, and return the exit code.

    ``check`` refuses flags that do not fit together; that is reported as any other refusal.
    """
    from confiture.logs import is_json

    refuse = partial(write_refusal, mode)
    with open_outputs(flags, refuse) as out:
        try:
            check()
            report = _run_operation(flags, operation)
        except (Exception, Interrupted) as error:
            refuse(out, error)
            raise
        write_report(out, report)
        # At a terminal, and where both streams go to one log, the text report has just shown the errors; the
        # JSON log has them as events.
        if not (out.on_screen or out.shares_stderr or is_json()):
            _say_failures(report)
    return report.exit_code


def write_refusal(mode: Mode, out: Outputs, error: BaseException) -> None:
    """Write every report but the text on stdout: stderr gets the message."""
    if report := build_refused_report(mode, error):
        write_report(out.drop_screen_text(), report)


def _run_operation(flags: Flags, operation: Operation) -> Report:
    import logging

    from confiture.api.kept_report import KeptReport, keep_report
    from confiture.cli.progress import open_progress
    from confiture.postgres.signals import raise_on_signals

    # psycopg logs a warning when it rolls back on a lost connection. The report has that error already.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())

    def work(kept: KeptReport) -> Report:
        settings = read_settings(flags)
        with load_plugins(settings, flags) as plugins, open_server(settings) as opened:
            report = operation(opened, plugins, progress)
            kept.keep(_add_hints(report) if settings.url == EMBEDDED_URL else report)
        assert kept.report
        return kept.report

    # Hooks and migrations may print. Stdout carries only the report, which a machine may parse.
    with (
        raise_on_signals(say_line),
        open_progress(flags) as progress,
        lend_streams(),
    ):
        return keep_report(work)


def _add_hints(report: Report) -> Report:
    from confiture.server.extensions import add_extension_hints

    return evolve(report, migrations=add_extension_hints(report.migrations))


def write_report(out: Outputs, report: Report) -> None:
    """Write the report; if the run has failed already, a write error does not replace its exit code."""
    try:
        out.write("report", report)
    except (UserFault, OSError) as error:
        if not report.exit_code:
            raise
        say(explain_error(error)[0])


def _say_failures(report: Report) -> None:
    from confiture.escape import escape_control
    from confiture.output.migration_text import render_error

    for migration in report.migrations:
        if migration.error:
            label = escape_control(f"{migration.version} {migration.name}".rstrip())
            say([f"{label}:", *render_error(migration.error, migration.source_line)])
    if report.error:
        say(render_error(report.error))


def rehearse(
    flags: Flags,
    rehearsal_options: RehearsalOptions,
    gate_options: GateOptions,
    *,
    check: Callable[[], None],
) -> int:
    """Rehearse the pending migrations, apply the gate and return the exit code."""
    work = partial(
        rehearse_pending, to=flags.to, rehearsal_options=rehearsal_options, gate_options=gate_options
    )
    return execute(flags, "dry-run", work, check=check)


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
    from confiture.api.kept_report import add_error
    from confiture.api.operations import run

    scope = choose_scope(settings, gate_options)
    arguments = rehearsal_options.build_run_arguments(settings)
    try:
        report = run(
            settings,
            to=to,
            plugins=plugins,
            dry_run=True,
            on_progress=progress,
            watcher=progress,
            judge=build_rules_judge(
                settings,
                plugins,
                strict=gate_options.strict,
                scope=scope,
                production=arguments.get("production"),
            ),
            **arguments,
        )
    except SourceFault:
        if not gate_options.allow_empty:
            raise
        report = Report("dry-run", "ok", 0)
    try:
        return apply_gate(settings, report, gate_options, scope)
    except UserFault as fault:
        # The file of accepted findings cannot be read. The rehearsal is reported all the same.
        return add_error(report, fault)
