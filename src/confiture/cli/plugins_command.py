"""``confiture plugins``, and ``confiture plugins new``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from attrs import evolve

from confiture.cli.context import load_plugins, read_settings
from confiture.cli.flags import ALL_INSTALLED, Flags, plugin_options
from confiture.cli.outputs import open_outputs
from confiture.cli.plugin_contributions import find_contribution_faults
from confiture.config.settings import Settings
from confiture.exceptions import UsageFault


@click.group("plugins", invoke_without_command=True)
@plugin_options
@click.option("--order", "in_order", is_flag=True, help="Show the hooks of each phase in call order.")
def command(flags: Flags, in_order: bool) -> int:
    """List the installed plugins."""
    if click.get_current_context().invoked_subcommand:
        if flags != Flags() or in_order:
            raise UsageFault("plugins new takes no flags of plugins", hint="leave them out")
        return 0
    return _list_plugins(flags, in_order)


def _list_plugins(flags: Flags, in_order: bool) -> int:
    from confiture.plugins.inventory import list_plugins

    with open_outputs(flags) as out:
        # A table without its plugin is listed as broken; this command is where its fault sends people.
        settings = read_settings(flags, checks_tables=in_order)
        if in_order:
            out.write("order", _read_hook_order(settings, flags))
        else:
            out.write("plugins", list_plugins(settings, find_contribution_faults))
    return 0


def _read_hook_order(settings: Settings, flags: Flags) -> Mapping[str, tuple[str, ...]]:
    """Return the hooks in call order; those of all installed plugins if none are configured."""
    from confiture.plugins.order import list_order

    if settings.plugins is None and flags.plugins is None and not flags.no_plugins:
        flags = evolve(flags, plugins=ALL_INSTALLED)
    with load_plugins(settings, flags) as plugins:
        return list_order(plugins)


@command.command("new")
@click.argument("name")
def new(name: str) -> int:
    """Create a plugin package: one hook, its test, and pyproject.toml."""
    from confiture.plugins.scaffold import name_plugin, render_files, write_plugin

    plugin = name_plugin(name)
    folder = write_plugin(plugin, Path.cwd()).name
    for path in render_files(plugin):
        click.echo(f"{folder}/{path}")
    click.echo(f"\nnext: cd {folder} && pip install -e '.[test]' && pytest")
    return 0
