"""``confiture dry-run``: the same as ``confiture run --dry-run``."""

from __future__ import annotations

import click

from confiture.cli.flags import Flags, executing
from confiture.cli.rehearsing import Rehearsing, with_rehearsing
from confiture.cli.run import apply


@click.command("dry-run")
@executing
@with_rehearsing
@click.option("--no-gate", is_flag=True, help="Report only; nothing found changes the exit code.")
def command(
    flags: Flags,
    rehearsing: Rehearsing,
    no_gate: bool,  # noqa: ARG001 - accepted before there is a gate
) -> int:
    """Rehearse the pending migrations: run it all, keep nothing."""
    rehearsing.check(dry_run=True)
    return apply(flags, rehearsing)
