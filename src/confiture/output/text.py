"""Render the report of a run, a rehearsal, a down or a lint for a terminal."""

from __future__ import annotations

import click

from confiture.models.report import Report
from confiture.output.findings import is_lint_report, render_lint_report


def render(
    report: Report, *, colour: bool = False, max_width: int | None = None, verbose: bool = False
) -> str:
    """Render the report for a terminal, in colour if requested.

    Args:
        report: The report.
        colour: True to keep the colour codes.
        max_width: Columns to wrap at, ``None`` not to wrap.
        verbose: True to show every migration of a long plan, and the server's notices.
    """
    text = "\n".join(_render_lines(report, max_width, verbose=verbose)) + "\n"
    return text if colour else click.unstyle(text)


def _render_lines(report: Report, max_width: int | None, *, verbose: bool) -> list[str]:
    if is_lint_report(report):
        return render_lint_report(report, max_width)
    # Imported here: lint runs as a pre-commit hook and must start fast.
    from confiture.output.migration_text import render_run

    return render_run(report, max_width, verbose=verbose)
