"""Reads a plugin's table of settings, and settings that name a migration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confiture.config.table_reader import TableReader
from confiture.exceptions import ConfigurationFault, UsageFault
from confiture.migrations.version import parse_version

RUNNERS_KEYS = ("on_failure", "retry")
"""Keys of every plugin's table that the runner reads itself."""


class PluginSettingsFault(ConfigurationFault, ValueError):
    """A plugin's table of settings, or a file of it, holds something that cannot be used."""


def open_settings(config: Mapping[str, Any], plugin: str, keys: Mapping[str, str]) -> TableReader:
    """Return the reader of ``[tool.confiture.plugin.NAME]``, which a hook has as ``context.config``.

    Args:
        config: The table.
        plugin: The plugin's name, for messages.
        keys: The keys there are, and what each means: the plugin's ``config_keys``.

    Raises:
        PluginSettingsFault: A key is unknown.
    """
    return locate_settings(config, plugin, keys).check_keys(also=RUNNERS_KEYS)


def locate_settings(config: Mapping[str, Any], plugin: str, keys: Mapping[str, str]) -> TableReader:
    """Return the reader of a plugin's table whose keys are not checked."""
    return TableReader(
        config,
        keys,
        label=f"plugin.{plugin}",
        # Only a table that was read from a file knows where its keys are written; a test's does not.
        locate=getattr(config, "locate", None),
        path=("plugin", plugin),
        fault=PluginSettingsFault,
    )


def names_migration(reference: str, version: str, name: str) -> bool:
    """Return whether a setting such as ``"5"``, ``"add_value"`` or ``"005_add_value"`` means a migration.

    Versions are compared number by number: ``"5"`` means version ``005``.
    """
    if reference in (name, f"{version}_{name}"):
        return True
    try:
        return parse_version(reference) == parse_version(version)
    except UsageFault:
        return False
