"""The report of a run, a rehearsal, a down, or of files that were read, for a person at a terminal."""

from __future__ import annotations

import click

from confiture.models.report import Report
from confiture.output.findings import is_lint_report, render_lint_report


def render(report: Report, *, colour: bool = False, max_width: int | None = None) -> str:
    """Return the report as lines to read, in colour where asked for.

    Args:
        report: What happened.
        colour: Whether to colour it.
        max_width: How many columns there are, ``None`` where nobody counts them.
    """
    text = "\n".join(_render_lines(report, max_width)) + "\n"
    return text if colour else click.unstyle(text)


def _render_lines(report: Report, max_width: int | None) -> list[str]:
    if is_lint_report(report):
        return render_lint_report(report, max_width)
    from confiture.output.migration_text import render_run

    return render_run(report, max_width)
