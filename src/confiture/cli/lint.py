"""``confiture lint``."""

from __future__ import annotations

from pathlib import Path

import click

from confiture.cli.choosing import loaded
from confiture.cli.connecting import settings_of
from confiture.cli.executing import refused
from confiture.cli.flags import Flags, judging
from confiture.cli.reporting import outputs
from confiture.exceptions import ConfitureError


@click.command("lint")
@judging
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Every ignore needs a reason.")
@click.option("--allow-empty", is_flag=True, help="That no file is found is no error.")
def command(flags: Flags, files: tuple[Path, ...], strict: bool, allow_empty: bool) -> int:
    """Judge migration files by their text alone; needs no server."""
    from confiture.rules.linting import lint

    with outputs(flags) as out:
        settings = settings_of(flags)
        try:
            with loaded(settings, flags) as plugins:
                report = lint(settings, plugins, files, strict=strict, allow_empty=allow_empty)
        except ConfitureError as fault:
            out.machines().write("report", refused("dry-run", fault))
            raise
        out.write("report", report)
    return report.exit_code
