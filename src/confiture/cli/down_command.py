"""``confiture down``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from confiture.cli.early_refusal import ReportCommand
from confiture.cli.execute import execute
from confiture.cli.flags import Flags, down_options
from confiture.cli.progress import ProgressDisplay
from confiture.config.settings import Settings
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


@click.command("down", cls=ReportCommand, mode="down")
@down_options
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="How many migrations to undo (1).")
def command(flags: Flags, steps: int | None) -> int:
    """Undo the last migration, or several."""

    def check() -> None:
        if steps is not None and flags.to is not None:
            raise click.UsageError("--steps and --to cannot both be given")

    return execute(flags, "down", partial(_run_down, to=flags.to, steps=steps), check=check)


def _run_down(
    settings: Settings,
    plugins: tuple[LoadedPlugin, ...],
    progress: ProgressDisplay | None,
    *,
    to: str | None,
    steps: int | None,
) -> Report:
    from confiture.api.operations import undo

    return undo(settings, steps=steps, to=to, plugins=plugins, on_progress=progress, watcher=progress)
