"""Reads ``[tool.confiture.plugin.analyze]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from confiture.plugins.kit import FLAG, TEXTS, open_settings

CONFIG_KEYS = {
    "analyze": "true to analyze what a migration changed after its commit; the default if tables are named.",
    "tables": "The only tables to look at; if not set, whatever a migration changed.",
    "exact_rows": "true to count the rows of these tables instead of estimating them: reads them twice.",
}


@frozen
class AnalyzeSettings:
    """What the plugin's table asks for.

    Attributes:
        on: True if anything is done at all.
        tables: The only tables to look at; empty: whatever was changed.
        exact_rows: True if rows are counted.
    """

    on: bool
    tables: tuple[str, ...]
    exact_rows: bool


def read_settings(config: Mapping[str, Any]) -> AnalyzeSettings:
    """Return the settings of the plugin's table.

    Raises:
        PluginSettingsFault: A key is unknown, or its value cannot be used.
    """
    table = open_settings(config, "analyze", CONFIG_KEYS)
    tables = table.get("tables", TEXTS, ())
    exact_rows = table.get("exact_rows", FLAG, False)
    if exact_rows and not tables:
        raise table.refuse(
            "exact_rows",
            "needs plugin.analyze.tables",
            hint="name the tables to count: which others change is not known before the migration",
        )
    return AnalyzeSettings(table.get("analyze", FLAG, bool(tables)), tables, exact_rows)
