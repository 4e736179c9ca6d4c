"""``confiture repair``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from confiture.cli.context import reachable, settings_of
from confiture.cli.flags import Flags, recording
from confiture.cli.outputs import outputs
from confiture.config.settings import Settings

if TYPE_CHECKING:
    from confiture.models.ledger import Repair


@click.command("repair")
@recording
@click.argument("version", metavar="[V]", required=False)
@click.option("--accept-changed", metavar="V", help="Take the file of an applied migration as it is now.")
@click.option("--forget", metavar="V", help="Take a missing or unfinished migration out of the ledger.")
def command(flags: Flags, version: str | None, accept_changed: str | None, forget: str | None) -> int:
    """Show what is unfinished, and the exact next command.

    Changes nothing without a flag.
    """
    if sum(each is not None for each in (version, accept_changed, forget)) > 1:
        raise click.UsageError("give one of V, --accept-changed V and --forget V")
    from confiture.postgres.signals import interruptible

    with outputs(flags) as out:
        with interruptible(), reachable(settings_of(flags)) as settings:
            repair = _repaired(settings, version, accept_changed, forget)
        out.write("repair", repair)
    return 0


def _repaired(settings: Settings, version: str | None, accepted: str | None, forgotten: str | None) -> Repair:
    from confiture.ledger import repair as repairing

    if accepted is not None:
        return repairing.accept_changed(settings, accepted)
    if forgotten is not None:
        return repairing.forget(settings, forgotten)
    return repairing.read_repair(settings, version)
