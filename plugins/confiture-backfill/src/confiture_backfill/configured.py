"""The read models of the plugin's table in the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from confiture.did_you_mean import did_you_mean
from confiture.exceptions import UsageFault
from confiture.migrations.version import parse_version
from confiture_backfill.batch import Batch, batch
from confiture_backfill.faults import Misconfigured
from confiture_backfill.model import ReadModel, read_model

CONFIG_KEYS = {
    "models": "The read models to fill: a table each, with migration, insert, count, mode and batch."
}
MODEL_KEYS = {
    "migration": "The migration that needs it: its version, or its name.",
    "insert": "The SQL that fills it from the write tables.",
    "count": "A query for the number of rows it must then hold.",
    "mode": '"on-conflict" (default) or "truncate".',
    "batch": "How it is filled piece by piece: source, column, key, rows, time and pause.",
}
_PLACE = "plugin.backfill.models"


@frozen
class Configured:
    """A read model, and the migration that needs it."""

    migration: str
    model: ReadModel

    def is_for(self, version: str, name: str) -> bool:
        """Whether it belongs to this migration: by version, number by number, or by name."""
        if self.migration in (name, f"{version}_{name}"):
            return True
        try:
            return parse_version(self.migration) == parse_version(version)
        except UsageFault:
            return False


def configured(config: Mapping[str, Any]) -> tuple[Configured, ...]:
    """Return every read model of the plugin's table.

    Raises:
        Misconfigured: One is not usable; its key is named.
    """
    models = config.get("models", {})
    if not isinstance(models, Mapping):
        raise _expected(_PLACE, models, "a table of tables, one a read model")
    return tuple(_one(table, given) for table, given in models.items())


def _one(table: str, given: Any) -> Configured:
    place = f"{_PLACE}.{table}"
    if not isinstance(given, Mapping):
        raise _expected(place, given, "a table with migration, insert, count and mode")
    for fault in _unknown(place, given):
        raise fault
    model = read_model(
        table=table,
        insert=_text(place, given, "insert"),
        mode=_text(place, given, "mode") if "mode" in given else "on-conflict",
        count=_text(place, given, "count") if "count" in given else None,
        source=place,
        batch=_batch(f"{place}.batch", given["batch"]) if "batch" in given else None,
    )
    return Configured(_text(place, given, "migration"), model)


def _batch(place: str, given: Any) -> Batch:
    if not isinstance(given, Mapping):
        raise _expected(place, given, "a table with source and column")
    return batch(given, lambda key: f"{place}.{key}")


def _unknown(place: str, given: Mapping[str, Any]) -> Iterator[Misconfigured]:
    for key in given:
        if key not in MODEL_KEYS:
            near = did_you_mean(key, MODEL_KEYS) or f"the keys are {', '.join(MODEL_KEYS)}"
            yield Misconfigured(f"{place} has an unknown key {key!r}", hint=near)


def _text(place: str, given: Mapping[str, Any], key: str) -> str:
    if key not in given:
        raise Misconfigured(f"{place} has no {key!r}", hint=MODEL_KEYS[key])
    value = given[key]
    if not isinstance(value, str) or not value.strip():
        raise _expected(f"{place}.{key}", value, "a text in quotes")
    return value.strip() if key in ("migration", "mode") else value


def _expected(place: str, given: Any, what: str) -> Misconfigured:
    shown = "blank" if isinstance(given, str) else f"a {type(given).__name__}"
    return Misconfigured(f"{place} is {shown}", hint=f"expected is {what}")
