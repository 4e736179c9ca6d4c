"""``confiture stats export``."""

from __future__ import annotations

import click

from confiture.cli.context import reachable, settings_of
from confiture.cli.flags import Flags, reading
from confiture.cli.outputs import outputs


@click.group("stats")
def command() -> None:
    """Export what estimates need to know of production; no row data."""


@command.command("export")
@reading
def export(flags: Flags) -> int:
    """Write sizes, shapes and settings of a database as JSON; no row data, nothing is changed.

    confiture stats export --url PRODUCTION > production.json
    """
    from confiture.estimate.export import export as exported

    with outputs(flags) as out:
        with reachable(settings_of(flags)) as settings:
            statistics = exported(settings)
        out.write("statistics", statistics)
    return 0
