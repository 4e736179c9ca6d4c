"""``confiture dry-run``: the same as ``confiture run --dry-run``."""

from __future__ import annotations

from functools import partial

import click

from confiture.cli.early_refusal import ReportCommand
from confiture.cli.execute import rehearse
from confiture.cli.flags import Flags, run_options
from confiture.cli.gate_flags import GateOptions, add_gate_flags
from confiture.cli.rehearsal_flags import RehearsalOptions, add_rehearsal_flags


@click.command("dry-run", cls=ReportCommand, mode="dry-run")
@run_options
@add_rehearsal_flags
@add_gate_flags
def command(flags: Flags, rehearsal_options: RehearsalOptions, gate_options: GateOptions) -> int:
    """Rehearse the pending migrations: run them, then roll back."""
    return rehearse(
        flags, rehearsal_options, gate_options, check=partial(rehearsal_options.check, rehearses=True)
    )
