"""Keep the report of what has run: an error in what follows is added to it and never replaces it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve

from confiture.engine.failures import build_outer_fault, choose_exit_code
from confiture.models.report import Report


@define
class KeptReport:
    """The report as it is so far; ``None`` while nothing has run."""

    report: Report | None = None

    def keep(self, report: Report) -> Report:
        """Keep the report from now on, and return it."""
        self.report = report
        return report


def keep_report(work: Callable[[KeptReport], Report]) -> Report:
    """Return the report of ``work``; if it fails after it has kept one, that report with the error.

    Raises:
        BaseException: The error of ``work``, if it has kept no report.
    """
    kept = KeptReport()
    try:
        return work(kept)
    except (Exception, KeyboardInterrupt) as error:
        if kept.report is None:
            raise
        return add_error(kept.report, error)


def add_error(report: Report, error: BaseException) -> Report:
    """Return the report with an error outside its migrations; the first failure keeps its exit code."""
    return evolve(
        report,
        outcome="failed",
        exit_code=report.exit_code or choose_exit_code(error),
        error=report.error or build_outer_fault(error),
    )
