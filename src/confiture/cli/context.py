"""Turn flags into settings, ``embedded:`` into a running server, and names into loaded plugins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from confiture.cli.error_messages import say, shorten_path
from confiture.cli.flags import Flags
from confiture.cli.plugin_contributions import find_contribution_faults
from confiture.config.settings import Settings, load_settings
from confiture.config.urls import EMBEDDED_URL
from confiture.escape import escape_control
from confiture.exceptions import PluginFault

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin


def read_settings(flags: Flags, *, checks_tables: bool = True) -> Settings:
    """Return the settings; a migrations folder below the working directory is relative to it.

    Without ``checks_tables`` or with ``--no-plugins``, a plugin's table may be there without the plugin.

    Raises:
        ConfitureError: The configuration or a flag is not valid.
    """
    settings = load_settings(flags)
    # Only where there is a table: reading what is installed takes as long as all the rest of a command.
    if settings.plugin_tables and checks_tables and not flags.no_plugins:
        from confiture.plugins.find import find_plugins
        from confiture.plugins.plugin_tables import check_tables

        check_tables(settings.plugin_tables, find_plugins(), settings.file)
    return evolve(settings, migrations=Path(shorten_path(str(settings.migrations))))


@contextmanager
def open_server(settings: Settings) -> Iterator[Settings]:
    """Start the embedded server if the URL is ``embedded:``, and yield settings that connect to it.

    The server stops when the last process that uses it leaves this block.

    Raises:
        ServerFault: The embedded server cannot be installed or started.
    """
    if settings.url != EMBEDDED_URL:
        yield settings
        return
    from confiture.server import open_embedded_server

    with open_embedded_server(settings.root) as conninfo:
        yield evolve(settings, url=conninfo, direct_url=None)


@contextmanager
def load_plugins(settings: Settings, flags: Flags) -> Iterator[tuple[LoadedPlugin, ...]]:
    """Load the plugins that the flags and the configuration choose, and yield them.

    After the block, print one line that names the installed plugins that were not used.

    Raises:
        ConfitureError: A plugin is unknown, broken, or not the pinned version. The message has every fault.
    """
    from confiture.plugins.find import find_plugins
    from confiture.plugins.load import join_faults, load_all
    from confiture.plugins.select import select_plugins

    chosen = select_plugins(find_plugins(), settings.plugins, flags.plugins, flags.no_plugins, flags.locked)
    loaded = load_all(chosen, settings.plugin_tables)
    if faults := find_contribution_faults(loaded):
        raise PluginFault(
            join_faults(faults), hint="fix or uninstall the plugin, or run without plugins: --no-plugins"
        )
    yield loaded
    # Not in a finally: after an error, only the error matters.
    if chosen.unused and not flags.quiet and not flags.no_plugins:
        names = ", ".join(escape_control(candidate.name) for candidate in chosen.unused)
        say([f"installed but not used: {names}  (--plugins uses all)"])


def note_unversioned(settings: Settings, flags: Flags) -> None:
    """Name the ``.sql`` files that no run reads, because no version begins their names."""
    from confiture.migrations.file_notes import format_names
    from confiture.migrations.folder import find_unversioned, has_migrations

    # The other conventions, named or adopted, have names of another kind.
    if settings.source not in (None, "plain") or not has_migrations(settings.migrations):
        return
    names = find_unversioned(settings.migrations)
    if names and not flags.quiet:
        listed = escape_control(format_names(names))
        say([f"not read, because no version begins its name: {listed}  (a migration is VERSION_name.sql)"])
