"""``confiture plugins``."""

from __future__ import annotations

from collections.abc import Mapping

import click
from attrs import evolve

from confiture.cli.choosing import loaded
from confiture.cli.connecting import settings_of
from confiture.cli.flags import ALL_INSTALLED, Flags, surveying
from confiture.cli.reporting import outputs
from confiture.config import Settings


@click.command("plugins")
@surveying
@click.option("--order", "in_order", is_flag=True, help="Show the hooks of each phase in their real order.")
def command(flags: Flags, in_order: bool) -> int:
    """List the installed plugins."""
    from confiture.plugins.surveying import survey

    with outputs(flags) as out:
        settings = settings_of(flags)
        if in_order:
            out.write("order", _order(settings, flags))
        else:
            out.write("plugins", survey(settings))
    return 0


def _order(settings: Settings, flags: Flags) -> Mapping[str, tuple[str, ...]]:
    """Return the order of the hooks that a run with these flags calls; where none are configured, of all."""
    from confiture.plugins.ordering import order

    if settings.plugins is None and flags.plugins is None and not flags.no_plugins:
        flags = evolve(flags, plugins=ALL_INSTALLED)
    with loaded(settings, flags) as plugins:
        return order(plugins)
