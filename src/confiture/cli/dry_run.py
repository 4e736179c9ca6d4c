"""``confiture dry-run``: the same as ``confiture run --dry-run``."""

from __future__ import annotations

import click

from confiture.cli.flags import Flags, executing
from confiture.cli.run import apply


@click.command("dry-run")
@executing
@click.option("--no-gate", is_flag=True, help="Report only; nothing found changes the exit code.")
def command(flags: Flags, no_gate: bool) -> int:  # noqa: ARG001 - accepted before there is a gate
    """Rehearse the pending migrations: run it all, keep nothing."""
    return apply(flags, dry_run=True)
