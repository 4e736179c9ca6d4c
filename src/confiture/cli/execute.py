"""What ``run``, ``dry-run`` and ``down`` share: plugins, a server, the work, its report, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from confiture.cli.context import EMBEDDED, loaded, reachable, settings_of, with_way_on
from confiture.cli.error_messages import explained, say
from confiture.cli.flags import Flags
from confiture.cli.gate_flags import Gating, gated, rules_judge, scope_of
from confiture.cli.outputs import Outputs, outputs
from confiture.cli.progress import Progress
from confiture.cli.rehearsal_flags import Rehearsing
from confiture.config.settings import Settings
from confiture.exceptions import ConfitureError, Interrupted, MigrationFault, SourceFault
from confiture.models.report import Fault, Mode, Report

if TYPE_CHECKING:
    from confiture.plugins.load import Loaded

if TYPE_CHECKING:
    from confiture.cli.progress import Progress
    from confiture.plugins.load import Loaded

Work = Callable[[Settings, "tuple[Loaded, ...]", "Progress | None"], Report]


def execute(flags: Flags, mode: Mode, work: Work) -> int:
    """Do the work, write every report, and only then return the exit code."""
    from confiture.logs import as_json

    with outputs(flags) as out:
        try:
            report = _done(flags, work)
        except ConfitureError as fault:
            _write(out.machines(), refused(mode, fault))
            raise
        except Interrupted as signal:
            why = Fault(f"{signal}: nothing was begun")
            _write(out.machines(), Report(mode, "refused", signal.exit_code, fault=why))
            raise
        _write(out, report)
        if not out.on_screen and not as_json():
            _say_failures(report)
    return report.exit_code


def _done(flags: Flags, work: Work) -> Report:
    import logging

    from confiture.cli.progress import progress
    from confiture.postgres.signals import interruptible

    # Of a connection that is lost the driver warns as it tidies up; the report says it, once.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    # What hooks and migrations print is not the report: stdout is for that alone.
    with interruptible(), progress(flags) as tell, redirect_stdout(sys.stderr):
        settings = settings_of(flags)
        with loaded(settings, flags) as plugins, reachable(settings) as there:
            report = work(there, plugins, tell)
        return with_way_on(report) if settings.url == EMBEDDED else report


def _write(out: Outputs, report: Report) -> None:
    """Write the report; where that fails too, what failed first decides the exit code."""
    try:
        out.write("report", report)
    except (ConfitureError, OSError) as error:
        if not report.exit_code:
            raise
        say(explained(error)[0])


def refused(mode: Mode, fault: ConfitureError) -> Report:
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
    from confiture.escape import inert
    from confiture.output.migration_text import error_lines

    for migration in report.migrations:
        if migration.error:
            label = inert(f"{migration.version} {migration.name}".rstrip())
            say([f"{label}:", *error_lines(migration.error, migration.source_line)])
    if report.fault:
        say(error_lines(report.fault))


def rehearsed(
    settings: Settings,
    plugins: tuple[Loaded, ...],
    tell: Progress | None,
    *,
    to: str | None,
    rehearsing: Rehearsing,
    gating: Gating,
) -> Report:
    """Rehearse what is pending, and return the report with the gate's verdict.

    Raises:
        ConfitureError: Nothing was begun.
    """
    from confiture.api.operations import run

    scope = scope_of(settings, gating)
    try:
        report = run(
            settings,
            to=to,
            plugins=plugins,
            dry_run=True,
            on_progress=tell,
            watcher=tell,
            judge=rules_judge(settings, plugins, strict=gating.strict),
            **rehearsing.options,
        )
    except SourceFault:
        if not gating.allow_empty:
            raise
        report = Report("dry-run", "ok", 0)
    return gated(settings, report, gating, scope)
