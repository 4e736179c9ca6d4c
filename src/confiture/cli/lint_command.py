"""``confiture lint``."""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confiture.cli.context import read_settings
from confiture.cli.execute import build_refused_report
from confiture.cli.flags import Flags, lint_options
from confiture.cli.gate_flags import GateOptions, add_gate_flags, lint_files
from confiture.cli.outputs import open_outputs
from confiture.config.settings import Settings
from confiture.exceptions import UserFault

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


@click.command("lint")
@lint_options
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@add_gate_flags
def command(flags: Flags, files: tuple[Path, ...], gate_options: GateOptions) -> int:
    """Check migration files without a server."""
    # Lint ends soon and exits, so collecting its parse trees would only cost time.
    gc.disable()
    with open_outputs(flags) as out:
        settings = read_settings(flags)
        try:
            with _load_chosen_plugins(settings, flags) as plugins:
                report = lint_files(settings, plugins, gate_options, files)
        except UserFault as fault:
            out.drop_text().write("report", build_refused_report("dry-run", fault))
            raise
        out.write("report", report)
    # Python runs one more collection at exit even if gc is disabled; frozen objects are exempt from it.
    gc.freeze()
    return report.exit_code


def _load_chosen_plugins(
    settings: Settings, flags: Flags
) -> AbstractContextManager[tuple[LoadedPlugin, ...]]:
    """Lend the plugins whose rules are asked; who has chosen none does not wait for the search."""
    if settings.plugins is None and flags.plugins is None and not flags.locked:
        return nullcontext(())
    from confiture.cli.context import load_plugins

    return load_plugins(settings, flags)
