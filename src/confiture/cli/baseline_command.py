"""``confiture baseline``."""

from __future__ import annotations

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.error_messages import say_line
from confiture.cli.flags import Flags, ledger_options
from confiture.cli.outputs import open_outputs


@click.command("baseline")
@ledger_options
@click.argument("version", metavar="V")
@click.option("--dry-run", is_flag=True, help="Show what would be recorded; record nothing.")
def command(flags: Flags, version: str, dry_run: bool) -> int:
    """Record migrations as applied without running them.

    Records every migration up to and including V, for a database that already has their changes.
    """
    from confiture.ledger.baseline import record_baseline
    from confiture.postgres.signals import raise_on_signals

    with open_outputs(flags) as out:
        with raise_on_signals(say_line), open_server(read_settings(flags)) as settings:
            recorded = record_baseline(settings, version, dry_run=dry_run)
        out.write("baseline", recorded)
    return 0
