"""``confiture stats export``."""

from __future__ import annotations

import click

from confiture.cli.commands import print_help_if_bare
from confiture.cli.context import open_server, read_settings
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs


@click.group("stats", invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]...")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Export the statistics that estimates need from production; no row data."""
    print_help_if_bare(ctx)


@command.command("export")
@database_options
def export(flags: Flags) -> int:
    """Write a database's sizes, statistics and settings as JSON. Read-only; no row data.

    confiture stats export --url PRODUCTION > production.json
    """
    from confiture.estimate.export import export as read_statistics

    with open_outputs(flags) as out:
        with open_server(read_settings(flags)) as settings:
            statistics = read_statistics(settings)
        out.write("statistics", statistics)
    return 0
