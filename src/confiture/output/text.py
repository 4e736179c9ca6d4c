"""The report of a run, a rehearsal, a down, or of files that were read, for a person at a terminal."""

from __future__ import annotations

import click

from confiture.models.report import Report
from confiture.output.findings import lines_of_files, only_read


def render(report: Report, *, colour: bool = False, room: int | None = None) -> str:
    """Return the report as lines to read, in colour where asked for.

    Args:
        report: What happened.
        colour: Whether to colour it.
        room: How many columns there are, ``None`` where nobody counts them.
    """
    text = "\n".join(_lines(report, room)) + "\n"
    return text if colour else click.unstyle(text)


def _lines(report: Report, room: int | None) -> list[str]:
    if only_read(report):
        return lines_of_files(report, room)
    from confiture.output.migration_text import lines_of_run

    return lines_of_run(report, room)
