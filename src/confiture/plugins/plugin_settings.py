"""Read the table of a plugin's settings, and settings that name a migration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confiture.config.table_reader import TableReader
from confiture.exceptions import ConfigurationFault, UsageFault
from confiture.migrations.version import parse_version

RUNNERS_KEYS = ("on_failure", "retry")
"""The keys of every plugin's table that confiture itself reads."""


class PluginSettingsFault(ConfigurationFault, ValueError):
    """A plugin's table of settings, or a file next to a migration, is not valid."""


def open_settings(config: Mapping[str, Any], plugin: str, keys: Mapping[str, str]) -> TableReader:
    """Return a reader for ``[tool.confiture.plugin.NAME]``, which a hook gets as ``context.config``.

    Args:
        config: The table.
        plugin: The plugin's name, for messages.
        keys: The allowed keys with their descriptions: the plugin's ``config_keys``.

    Raises:
        PluginSettingsFault: The table has an unknown key.
    """
    return locate_settings(config, plugin, keys).check_keys(also=RUNNERS_KEYS)


def locate_settings(config: Mapping[str, Any], plugin: str, keys: Mapping[str, str]) -> TableReader:
    """Return a reader for a plugin's table without checking its keys."""
    return TableReader(
        config,
        keys,
        label=f"plugin.{plugin}",
        # A table from a file knows the lines of its keys; a plain dict, as in a test, does not.
        locate=getattr(config, "locate", None),
        path=("plugin", plugin),
        fault=PluginSettingsFault,
    )


def names_migration(reference: str, version: str, name: str) -> bool:
    """Return True if a setting such as ``"5"``, ``"add_value"`` or ``"005_add_value"`` names a migration.

    Versions are compared number by number: ``"5"`` means version ``005``.
    """
    if reference in (name, f"{version}_{name}"):
        return True
    try:
        return parse_version(reference) == parse_version(version)
    except UsageFault:
        return False
