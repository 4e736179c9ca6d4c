"""``confiture status``."""

from __future__ import annotations

import click

from confiture.cli.context import reachable, settings_of
from confiture.cli.flags import Flags, reading
from confiture.cli.outputs import outputs


@click.command("status")
@reading
@click.option("--exit-code", is_flag=True, help="End with 1 where something is pending.")
def command(flags: Flags, exit_code: bool) -> int:
    """Show which migrations are applied and which are pending."""
    from confiture.api.operations import read_status

    with outputs(flags) as out:
        with reachable(settings_of(flags)) as settings:
            statuses = read_status(settings)
        out.write("status", statuses)
    return int(exit_code and any(each.state != "applied" for each in statuses))
