"""``confiture adopt``."""

from __future__ import annotations

import click

from confiture.cli.context import open_server, read_settings
from confiture.cli.error_messages import say_line
from confiture.cli.flags import Flags, ledger_options
from confiture.cli.outputs import open_outputs

_AUTO = "auto"


@click.command("adopt")
@ledger_options
@click.option(
    "--from", "source", metavar="NAME", default=_AUTO, help="The tool: goose, diesel, flyway…; or auto."
)
@click.option("--dry-run", is_flag=True, help="Show what would be recorded; record nothing.")
@click.option("--mirror", is_flag=True, help="Keep the tool's own ledger up to date in every run, too.")
def command(flags: Flags, source: str, dry_run: bool, mirror: bool) -> int:
    """Continue from another migration tool, with its files as they are.

    Records in confiture's ledger what the tool's ledger says is applied. Leaves the tool's as it is.
    """
    from confiture.ledger.adopt import adopt
    from confiture.postgres.signals import raise_on_signals

    with open_outputs(flags) as out:
        with raise_on_signals(say_line), open_server(read_settings(flags)) as settings:
            name = None if source == _AUTO else source
            adopted = adopt(settings, name=name, dry_run=dry_run, mirror=mirror)
        out.write("adoption", adopted)
    return 0
