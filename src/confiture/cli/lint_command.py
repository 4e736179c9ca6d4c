"""``confiture lint``."""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from confiture.cli.context import read_settings
from confiture.cli.early_refusal import ReportCommand
from confiture.cli.execute import write_refusal, write_report
from confiture.cli.flags import Flags, lint_options
from confiture.cli.gate_flags import GateOptions, add_gate_flags, lint_files
from confiture.cli.outputs import open_outputs
from confiture.cli.schema_flags import check_schema_flags, judge_schema
from confiture.config.settings import Settings
from confiture.exceptions import Interrupted
from confiture.postgres.signals import raise_on_signals
from confiture.streams import lend_streams

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


@click.command("lint", cls=ReportCommand, mode="dry-run")
@lint_options
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--schema",
    is_flag=True,
    help="Check the schema that the migrations lead to, or with --url the one of a database.",
)
@add_gate_flags
def command(flags: Flags, files: tuple[Path, ...], schema: bool, gate_options: GateOptions) -> int:
    """Check migration files without a server, or the schema that they lead to."""
    # Lint ends soon and exits, so collecting its parse trees would only cost time.
    gc.disable()
    refuse = partial(write_refusal, "dry-run")
    with open_outputs(flags, refuse) as out:
        try:
            check_schema_flags(flags, files, schema=schema)
            settings = read_settings(flags)
            # Rules of plugins may print; stdout carries only the report, which a machine may parse.
            with raise_on_signals(), lend_streams(), _load_chosen_plugins(settings, flags) as plugins:
                judge = partial(judge_schema, flags=flags) if schema else partial(lint_files, files=files)
                report = judge(settings, plugins, gate_options)
        except (Exception, Interrupted) as error:
            refuse(out, error)
            raise
        write_report(out, report)
    return report.exit_code


def _load_chosen_plugins(
    settings: Settings, flags: Flags
) -> AbstractContextManager[tuple[LoadedPlugin, ...]]:
    """Yield the chosen plugins; if none are chosen, do not even search for them, which takes time."""
    if settings.plugins is None and flags.plugins is None and not flags.locked:
        return nullcontext(())
    from confiture.cli.context import load_plugins

    return load_plugins(settings, flags)
