"""``confiture baseline``."""

from __future__ import annotations

import click

from confiture.cli.context import reachable, settings_of
from confiture.cli.flags import Flags, recording
from confiture.cli.outputs import outputs


@click.command("baseline")
@recording
@click.argument("version", metavar="V")
@click.option("--dry-run", is_flag=True, help="Say what would be recorded, and record nothing.")
def command(flags: Flags, version: str, dry_run: bool) -> int:
    """Record migrations as applied without running them.

    All of them up to and including V: for a database that has their changes already.
    """
    from confiture.ledger.baseline import baseline
    from confiture.postgres.signals import interruptible

    with outputs(flags) as out:
        with interruptible(), reachable(settings_of(flags)) as settings:
            recorded = baseline(settings, version, dry_run=dry_run)
        out.write("baseline", recorded)
    return 0
