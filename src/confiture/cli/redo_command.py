"""``confiture redo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from confiture.cli.early_refusal import ReportCommand
from confiture.cli.execute import execute
from confiture.cli.flags import Flags, redo_options
from confiture.cli.progress import ProgressDisplay
from confiture.config.settings import Settings
from confiture.models.report import Report

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


@click.command("redo", cls=ReportCommand, mode="run")
@redo_options
def command(flags: Flags) -> int:
    """Undo the last migration and apply it again."""
    return execute(flags, "run", _redo)


def _redo(settings: Settings, plugins: tuple[LoadedPlugin, ...], progress: ProgressDisplay | None) -> Report:
    from confiture.api.operations import redo

    return redo(settings, plugins=plugins, on_progress=progress, watcher=progress)
