"""``confiture lint``."""

from __future__ import annotations

from pathlib import Path

import click

from confiture.cli.choosing import loaded
from confiture.cli.connecting import settings_of
from confiture.cli.executing import refused
from confiture.cli.flags import Flags, judging
from confiture.cli.gating import Gating, linted, with_gating
from confiture.cli.reporting import outputs
from confiture.exceptions import ConfitureError


@click.command("lint")
@judging
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@with_gating
def command(flags: Flags, files: tuple[Path, ...], gating: Gating) -> int:
    """Judge migration files by their text alone; needs no server."""
    with outputs(flags) as out:
        settings = settings_of(flags)
        try:
            with loaded(settings, flags) as plugins:
                report = linted(settings, plugins, gating, files)
        except ConfitureError as fault:
            out.machines().write("report", refused("dry-run", fault))
            raise
        out.write("report", report)
    return report.exit_code
