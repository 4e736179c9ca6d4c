"""Read ``[tool.confiture.plugin.backfill]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from confiture.plugins.kit import TEXT, TableReader, names_migration, open_settings
from confiture_backfill.batch import BATCH_KEYS, read_batch
from confiture_backfill.read_model import DEFAULT_MODE, MODE, ReadModel, make_read_model

CONFIG_KEYS = {
    "models": "The read models to fill: a table each, with migration, insert, count, mode and batch."
}
MODEL_KEYS = {
    "migration": "The migration that fills it: its version or its name.",
    "insert": "The SQL that fills it from the write tables.",
    "count": "A query for the number of rows it must then hold.",
    "mode": '"on-conflict" (default) or "truncate".',
    "batch": "How to fill it in batches: source, column, key, rows, time and pause.",
}


@frozen
class BackfillSettings:
    """What to fill.

    Attributes:
        models: Each read model, with the version or name of the migration that fills it.
    """

    models: tuple[tuple[str, ReadModel], ...]

    def select_models(self, version: str, name: str) -> tuple[ReadModel, ...]:
        """Return the read models that a migration fills."""
        return tuple(model for migration, model in self.models if names_migration(migration, version, name))


def read_settings(config: Mapping[str, Any]) -> BackfillSettings:
    """Return the settings of the plugin's table.

    Raises:
        PluginSettingsFault: A key is unknown, or its value cannot be used.
    """
    table = open_settings(config, "backfill", CONFIG_KEYS)
    models = table.get_named_tables("models", MODEL_KEYS)
    return BackfillSettings(
        tuple(
            (model.require("migration", TEXT).strip(), _read_model(name, model))
            for name, model in models.items()
        )
    )


def _read_model(name: str, table: TableReader) -> ReadModel:
    return make_read_model(
        table=name,
        insert=table.require("insert", TEXT),
        mode=table.get("mode", MODE, DEFAULT_MODE),
        count=table.get("count", TEXT, None),
        place=table.label,
        batch=read_batch(table.get_table("batch", BATCH_KEYS)) if "batch" in table.values else None,
    )
