"""``confiture status``."""

from __future__ import annotations

import click

from confiture.cli.context import note_unversioned, open_server, read_settings
from confiture.cli.flags import Flags, database_options
from confiture.cli.outputs import open_outputs


@click.command("status")
@database_options
@click.option("--exit-code", is_flag=True, help="Exit 1 if a migration is pending.")
def command(flags: Flags, exit_code: bool) -> int:
    """Show which migrations are applied and which are pending."""
    from confiture.api.operations import read_status

    with open_outputs(flags) as out:
        with open_server(read_settings(flags)) as settings:
            statuses = read_status(settings)
            note_unversioned(settings, flags)
        out.write("status", statuses)
    return int(exit_code and any(status.state != "applied" for status in statuses))
