"""``confiture dry-run``: the same as ``confiture run --dry-run``."""

from __future__ import annotations

import click

from confiture.cli.flags import Flags, executing
from confiture.cli.gating import Gating, with_gating
from confiture.cli.rehearsing import Rehearsing, with_rehearsing
from confiture.cli.run import rehearse


@click.command("dry-run")
@executing
@with_rehearsing
@with_gating
def command(flags: Flags, rehearsing: Rehearsing, gating: Gating) -> int:
    """Rehearse the pending migrations: run it all, keep nothing."""
    rehearsing.check(rehearses=True)
    return rehearse(flags, rehearsing, gating)
