"""``confiture lint``."""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confiture.cli.context import settings_of
from confiture.cli.execute import refused
from confiture.cli.flags import Flags, judging
from confiture.cli.gate_flags import Gating, linted, with_gating
from confiture.cli.outputs import outputs
from confiture.config.settings import Settings
from confiture.exceptions import ConfitureError

if TYPE_CHECKING:
    from confiture.plugins.load import Loaded


@click.command("lint")
@judging
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@with_gating
def command(flags: Flags, files: tuple[Path, ...], gating: Gating) -> int:
    """Judge migration files by their text alone; needs no server."""
    # A command that ends soon: what the collector would look through a hundred times goes with it.
    gc.disable()
    with outputs(flags) as out:
        settings = settings_of(flags)
        try:
            with _plugins(settings, flags) as plugins:
                report = linted(settings, plugins, gating, files)
        except ConfitureError as fault:
            out.machines().write("report", refused("dry-run", fault))
            raise
        out.write("report", report)
    # Python's last collection, on its way out, is not kept from what is disabled, but from what is frozen.
    gc.freeze()
    return report.exit_code


def _plugins(settings: Settings, flags: Flags) -> AbstractContextManager[tuple[Loaded, ...]]:
    """Lend the plugins whose rules are asked; who has chosen none does not wait for the search."""
    if settings.plugins is None and flags.plugins is None and not flags.locked:
        return nullcontext(())
    from confiture.cli.context import loaded

    return loaded(settings, flags)
