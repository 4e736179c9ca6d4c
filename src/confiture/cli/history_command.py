"""``confiture history``."""

from __future__ import annotations

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs


@click.command("history")
@database_options
def command(flags: Flags) -> int:
    """Show what was applied, reverted or failed: when, by whom, with which hooks and plugins."""
    from confiture.ledger.history import read_history

    with open_outputs(flags) as out:
        with open_server(read_settings(flags)) as settings:
            history = read_history(settings)
        out.write("history", history)
    return 0
