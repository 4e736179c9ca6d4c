"""``confiture down``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from confiture.cli.execute import execute
from confiture.cli.flags import Flags, undoing
from confiture.cli.progress import Progress
from confiture.config.settings import Settings
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.plugins.load import Loaded


@click.command("down")
@undoing
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="How many to undo; 1 if not given.")
def command(flags: Flags, steps: int | None) -> int:
    """Undo the last migration, or several."""
    if steps is not None and flags.to is not None:
        raise click.UsageError("--steps and --to cannot both be given")
    return execute(flags, "down", partial(_down, to=flags.to, steps=steps))


def _down(
    settings: Settings,
    plugins: tuple[Loaded, ...],
    tell: Progress | None,
    *,
    to: str | None,
    steps: int | None,
) -> Report:
    from confiture.api.operations import down

    return down(settings, steps=steps, to=to, plugins=plugins, on_progress=tell, watcher=tell)
