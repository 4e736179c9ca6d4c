"""``confiture dry-run``: the same as ``confiture run --dry-run``."""

from __future__ import annotations

import click

from confiture.cli.flags import Flags, executing
from confiture.cli.gate_flags import Gating, with_gating
from confiture.cli.rehearsal_flags import Rehearsing, with_rehearsing
from confiture.cli.run_command import rehearse


@click.command("dry-run")
@executing
@with_rehearsing
@with_gating
def command(flags: Flags, rehearsing: Rehearsing, gating: Gating) -> int:
    """Rehearse the pending migrations: run it all, keep nothing."""
    rehearsing.check(rehearses=True)
    return rehearse(flags, rehearsing, gating)
