"""What ``run``, ``dry-run`` and ``down`` share: plugins, a server, the work, its report, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from confiture.cli.choosing import loaded
from confiture.cli.connecting import EMBEDDED, reachable, settings_of, with_way_on
from confiture.cli.explaining import explained, say
from confiture.cli.flags import Flags
from confiture.cli.reporting import Outputs, outputs
from confiture.config import Settings
from confiture.exceptions import ConfitureError, Interrupted, MigrationFault
from confiture.models.report import Fault, Mode, Report

if TYPE_CHECKING:
    from confiture.cli.progress import Progress
    from confiture.plugins.loading import Loaded

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
    from confiture.core.interrupts import interruptible

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
    from confiture.output.migrations import error_lines
    from confiture.output.words import inert

    for migration in report.migrations:
        if migration.error:
            label = inert(f"{migration.version} {migration.name}".rstrip())
            say([f"{label}:", *error_lines(migration.error, migration.source_line)])
    if report.fault:
        say(error_lines(report.fault))
