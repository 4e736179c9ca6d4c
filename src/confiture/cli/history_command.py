"""``confiture history``."""

from __future__ import annotations

import click

from confiture.cli.context import reachable, settings_of
from confiture.cli.flags import Flags, reading
from confiture.cli.outputs import outputs


@click.command("history")
@reading
def command(flags: Flags) -> int:
    """Show what was applied when, by whom, with which hooks and plugins."""
    from confiture.ledger.history import read_history

    with outputs(flags) as out:
        with reachable(settings_of(flags)) as settings:
            history = read_history(settings)
        out.write("history", history)
    return 0
