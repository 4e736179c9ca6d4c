"""What a command that a package brings uses to report findings: in every format of ``--output``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from confiture.cli.early_refusal import ReportCommand
from confiture.cli.execute import write_refusal, write_report
from confiture.cli.flags import Flags, finding_options
from confiture.cli.outputs import open_outputs
from confiture.models.report import Report

__all__ = ["Flags", "ReportCommand", "finding_options", "report_findings"]


def report_findings(flags: Flags, find: Callable[[], Report]) -> int:
    """Write the report that ``find`` returns, or its refusal, and return the exit code.

    A command is made with ``cls=ReportCommand, mode="dry-run"`` and ``@finding_options``.
    """
    refuse = partial(write_refusal, "dry-run")
    with open_outputs(flags, refuse) as out:
        try:
            report = find()
        except Exception as error:
            refuse(out, error)
            raise
        write_report(out, report)
    return report.exit_code
