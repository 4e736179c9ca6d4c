"""Reads the read models of ``[tool.confiture.plugin.backfill]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from confiture.plugins.kit import TEXT, TableReader, names_migration, open_settings
from confiture_backfill.batch import BATCH_KEYS, read_batch
from confiture_backfill.read_model import ReadModel, make_read_model

CONFIG_KEYS = {
    "models": "The read models to fill: a table each, with migration, insert, count, mode and batch."
}
MODEL_KEYS = {
    "migration": "The migration that needs it: its version or its name.",
    "insert": "The SQL that fills it from the write tables.",
    "count": "A query for the number of rows that it must then hold.",
    "mode": '"on-conflict" (default) or "truncate".',
    "batch": "How it is filled in batches: source, column, key, rows, time and pause.",
}


@frozen
class BackfillSettings:
    """A read model, and the migration that needs it."""

    migration: str
    model: ReadModel

    def applies_to(self, version: str, name: str) -> bool:
        """Return True if that migration needs this read model."""
        return names_migration(self.migration, version, name)


def read_settings(config: Mapping[str, Any]) -> tuple[BackfillSettings, ...]:
    """Return every read model of the plugin's table.

    Raises:
        PluginSettingsFault: A key is unknown, or its value cannot be used.
    """
    table = open_settings(config, "backfill", CONFIG_KEYS)
    models = table.get_named_tables("models", MODEL_KEYS)
    return tuple(_read_model(name, model) for name, model in models.items())


def _read_model(name: str, table: TableReader) -> BackfillSettings:
    model = make_read_model(
        table=name,
        insert=table.require("insert", TEXT),
        mode=table.get("mode", TEXT, "on-conflict").strip(),
        count=table.get("count", TEXT, None),
        source=table.label,
        batch=read_batch(table.get_table("batch", BATCH_KEYS)) if "batch" in table.values else None,
    )
    return BackfillSettings(table.require("migration", TEXT).strip(), model)
