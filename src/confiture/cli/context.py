"""From flags to settings, and from ``embedded:`` to a server that answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from confiture.cli.error_messages import say, shorten_path
from confiture.cli.flags import Flags
from confiture.config.settings import Settings, load_settings
from confiture.escape import escape_control

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin

if TYPE_CHECKING:
    from confiture.models.report import MigrationReport, Report

EMBEDDED_URL = "embedded:"


def read_settings(flags: Flags) -> Settings:
    """Return the settings; paths below the working directory are relative to it, as a person writes them.

    Raises:
        ConfitureError: The configuration or a flag cannot be used.
    """
    settings = load_settings(flags)
    return evolve(settings, migrations=Path(shorten_path(str(settings.migrations))))


def add_extension_hints(report: Report) -> Report:
    """Return a report of the embedded server's that tells how to get an extension which it lacks."""
    from confiture.server.extensions import build_extension_hint

    def explained(migration: MigrationReport) -> MigrationReport:
        error = migration.error
        hint = build_extension_hint(error.sqlstate, error.message) if error else None
        return evolve(migration, error=evolve(error, hint=hint)) if error and hint else migration

    return evolve(report, migrations=tuple(map(explained, report.migrations)))


@contextmanager
def open_server(settings: Settings) -> Iterator[Settings]:
    """Lend settings whose URL leads to a server: for ``embedded:`` our own, as long as the block lasts.

    Raises:
        ServerFault: The embedded server cannot be had.
    """
    if settings.url != EMBEDDED_URL:
        yield settings
        return
    from confiture.server import open_embedded_server

    with open_embedded_server(settings.root) as conninfo:
        yield evolve(settings, url=conninfo, direct_url=None)


@contextmanager
def load_plugins(settings: Settings, flags: Flags) -> Iterator[tuple[LoadedPlugin, ...]]:
    """Lend the plugins to use; when all is done, name in one line those installed and not used.

    Raises:
        ConfitureError: One is unknown, not as pinned, or broken; every fault of all is named.
    """
    from confiture.plugins.find import find_plugins
    from confiture.plugins.load import load_all
    from confiture.plugins.select import select_plugins

    chosen = select_plugins(find_plugins(), settings.plugins, flags.plugins, flags.no_plugins, flags.locked)
    yield load_all(chosen, settings.plugin_tables)
    if chosen.unused and not flags.quiet and not flags.no_plugins:
        names = ", ".join(escape_control(candidate.name) for candidate in chosen.unused)
        say([f"installed but not used: {names}  (--plugins uses all)"])
