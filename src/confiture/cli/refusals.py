"""Build the report of a command that was refused before it began: what is wrong, for every format."""

from __future__ import annotations

import click

from confiture.cli.error_messages import explain_error, shorten_path
from confiture.exceptions import Interrupted, MigrationFault, MigrationFaults, UserFault
from confiture.models.report import Fault, Mode, Report


def build_refused_report(mode: Mode, error: BaseException) -> Report | None:
    """Return the report of a command that this error stopped before it began; ``None`` for a bug."""
    if isinstance(error, Interrupted):
        return Report(mode, "refused", error.exit_code, error=Fault(f"{error}: nothing was begun"))
    try:
        _, exit_code = explain_error(error)
    except BaseException as bug:
        if bug is not error:
            raise
        return None
    return Report(mode, "refused", exit_code, error=_build_fault(error))


def _build_fault(error: BaseException) -> Fault:
    if isinstance(error, MigrationFaults):
        lines = (error.message, *map(_describe_file_fault, error.faults))
        return _locate_fault(Fault("\n".join(lines), hint=_join_hints(error)), error.faults[0])
    if isinstance(error, UserFault):
        fault = Fault(error.message, hint=error.hint)
        return _locate_fault(fault, error) if isinstance(error, MigrationFault) else fault
    if isinstance(error, click.ClickException):
        return Fault(error.format_message())
    if isinstance(error, OSError):
        return Fault(error.strerror or str(error), file=str(error.filename) if error.filename else None)
    # Imported here, because it imports psycopg, which a refusal of lint does not need.
    from confiture.engine.failures import build_outer_fault

    return build_outer_fault(error)


def _locate_fault(fault: Fault, place: MigrationFault) -> Fault:
    from attrs import evolve

    return evolve(fault, file=str(place.file) if place.file else None, line=place.line, column=place.column)


def _describe_file_fault(fault: MigrationFault) -> str:
    from confiture.output.format import format_place

    where = format_place(shorten_path(str(fault.file)), fault.line, fault.column) if fault.file else ""
    named = not where or str(fault.file) in fault.message
    return fault.message if named else f"{where}: {fault.message}"


def _join_hints(error: MigrationFaults) -> str | None:
    hints = dict.fromkeys(fault.hint for fault in error.faults if fault.hint)
    return "\n".join(hints) or None
