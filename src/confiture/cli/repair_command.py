"""``confiture repair``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.flags import Flags, ledger_options
from confiture.cli.outputs import open_outputs
from confiture.config.settings import Settings

if TYPE_CHECKING:
    from confiture.models.ledger import Repair


@click.command("repair")
@ledger_options
@click.argument("version", metavar="[V]", required=False)
@click.option("--accept-changed", metavar="V", help="Accept the current file of an applied migration.")
@click.option("--forget", metavar="V", help="Remove a missing or unfinished migration from the ledger.")
def command(flags: Flags, version: str | None, accept_changed: str | None, forget: str | None) -> int:
    """Show unfinished migrations and the exact next command.

    Without a flag, changes nothing.
    """
    if sum(name is not None for name in (version, accept_changed, forget)) > 1:
        raise click.UsageError("give one of V, --accept-changed V and --forget V")
    from confiture.postgres.signals import raise_on_signals

    with open_outputs(flags) as out:
        with raise_on_signals(), open_server(read_settings(flags)) as settings:
            repair = _run_repair(settings, version, accept_changed, forget)
        out.write("repair", repair)
    return 0


def _run_repair(
    settings: Settings, version: str | None, changed_version: str | None, forgotten_version: str | None
) -> Repair:
    from confiture.ledger import repair as repairing

    if changed_version is not None:
        return repairing.accept_changed(settings, changed_version)
    if forgotten_version is not None:
        return repairing.forget(settings, forgotten_version)
    return repairing.read_repair(settings, version)
