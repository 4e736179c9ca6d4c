"""``confiture plan``."""

from __future__ import annotations

import click

from confiture.cli.context import loaded, reachable, settings_of
from confiture.cli.flags import Flags, planning
from confiture.cli.outputs import outputs


@click.command("plan")
@planning
def command(flags: Flags) -> int:
    """Show what would run, in order, with its SQL and hooks."""
    from confiture.api.operations import make_plan

    with outputs(flags) as out:
        settings = settings_of(flags)
        with loaded(settings, flags) as plugins, reachable(settings) as settings:
            plan = make_plan(settings, to=flags.to, plugins=plugins)
        out.write("plan", plan)
    return 0
