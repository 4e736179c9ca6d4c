"""``confiture plan``."""

from __future__ import annotations

import click

from confiture.cli.context import load_plugins, note_unversioned, open_server, read_settings
from confiture.cli.flags import Flags, plan_options
from confiture.cli.outputs import open_outputs
from confiture.streams import lend_streams


@click.command("plan")
@plan_options
def command(flags: Flags) -> int:
    """Show what would run, in order, with its hooks; with -v, its SQL too."""
    from confiture.api.operations import make_plan

    with open_outputs(flags) as out:
        settings = read_settings(flags)
        with (
            lend_streams(),
            load_plugins(settings, flags) as plugins,
            open_server(settings) as settings,
        ):
            plan = make_plan(settings, to=flags.to, plugins=plugins)
            note_unversioned(settings, flags)
        out.write("plan", plan)
    return 0
