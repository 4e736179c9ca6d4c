"""Read ``[tool.confiture.plugin.analyze]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from confiture.plugins.kit import FLAG, TEXTS, TableReader, open_settings

CONFIG_KEYS = {
    "analyze": "Whether to analyze what a migration changed, after its commit; true if tables are named.",
    "tables": "The only tables to analyze; whatever a migration changed if not set.",
    "exact_rows": "Whether to count the rows of these tables instead of estimating them; reads them twice.",
}


@frozen
class AnalyzeSettings:
    """What to analyze.

    Attributes:
        table: The table they were read from, for faults that only the server finds.
        enabled: Whether the plugin does anything.
        tables: The only tables to analyze; empty: whatever a migration changed.
        exact_rows: Whether to count rows.
    """

    table: TableReader
    enabled: bool
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
            f"needs {table.name_key('tables')}",
            hint="name the tables whose rows to count: which others will change is not known beforehand",
        )
    return AnalyzeSettings(table, table.get("analyze", FLAG, bool(tables)), tables, exact_rows)
