"""Refuse a table of settings that no installed plugin reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confiture.config.config_file import name_table
from confiture.did_you_mean import did_you_mean
from confiture.exceptions import ConfigurationFault
from confiture.plugins.find import FoundPlugin

# Named here and not looked up: none of them needs to be installed.
FIRST_PARTY = ("analyze", "anonymize", "backfill", "checks", "guard")


def check_tables(
    tables: Mapping[str, Mapping[str, Any]], found: tuple[FoundPlugin, ...], file: Path | None
) -> None:
    """Refuse a table of settings of a plugin that is not installed, which nobody would ever read.

    Args:
        tables: The plugins' tables, by name.
        found: The installed plugins.
        file: The configuration file.

    Raises:
        ConfigurationFault: It names the table, the nearest installed plugin and the ways on.
    """
    installed = {candidate.name for candidate in found}
    for name, table in tables.items():
        if name in installed:
            continue
        # A table from a file knows the lines of its keys.
        locate = getattr(table, "locate", None)
        place = f"{locate(('plugin', name))}: " if locate else ""
        package = f"confiture-{name}" if name in FIRST_PARTY else "the package that provides it"
        near = did_you_mean(name, {*installed, *FIRST_PARTY} - {name})
        ways = f"pip install {package}, or remove {name_table(file, 'plugin', name)}"
        raise ConfigurationFault(
            f"{place}there is a table for the plugin {name!r}, which is not installed",
            hint=f"{near} {ways}".strip(),
        )
