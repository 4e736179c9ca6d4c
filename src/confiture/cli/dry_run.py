"""``confiture dry-run``: the same as ``confiture run --dry-run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from confiture.cli.flags import Flags, executing
from confiture.cli.rehearsing import Rehearsing, rehearsing
from confiture.cli.run import apply

if TYPE_CHECKING:
    from confiture.core.places import Place


@click.command("dry-run")
@executing
@rehearsing
@click.option("--no-gate", is_flag=True, help="Report only; nothing found changes the exit code.")
def command(
    flags: Flags,
    place: Place | None,
    sample: int | None,
    no_gate: bool,  # noqa: ARG001 - accepted before there is a gate
) -> int:
    """Rehearse the pending migrations: run it all, keep nothing."""
    return apply(flags, Rehearsing.given(place, sample))
