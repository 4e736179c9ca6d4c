"""Reads ``[tool.confiture.plugin.checks]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from confiture.plugins.kit import (
    COUNT,
    DURATION_MS,
    FLAG,
    TEXT,
    TEXTS,
    TableReader,
    make_choice,
    open_settings,
)

CONFIG_KEYS = {
    "constraints": 'NOT VALID constraints of touched tables: "warn" (default), "error" or "off".',
    "count_violations": "true to count the rows that violate a NOT VALID constraint; reads the table.",
    "not_valid_allowed": "Constraints that may be NOT VALID: SCHEMA.TABLE.CONSTRAINT.",
    "counts": "Row counts to agree: a table each, with migration, source, target and difference.",
    "require": "Preconditions of a migration: a table, or several.",
}
COUNT_KEYS = {
    "migration": "The migration after which they must agree: its version, or its name.",
    "source": "A query for one whole number.",
    "target": "A query for another.",
    "difference": "By how many rows they may differ: 0.",
}
REQUIRE_KEYS = {
    "migration": "The only migration it applies to: its version or its name; every migration if not set.",
    "tables": "Tables that must exist.",
    "columns": "Columns that must exist: SCHEMA.TABLE.COLUMN.",
    "no_invalid_indexes": "true to stop if any index of the database is invalid.",
    "max_replication_lag": 'How far a replica may be behind: "10s".',
    "connection_headroom": "How many connections must be free.",
}
POLICIES = ("warn", "error", "off")
_POLICY = make_choice(*POLICIES)


@frozen
class Count:
    """Two row counts that must agree after a migration; ``difference`` rows more or less are allowed."""

    name: str
    migration: str
    source: str
    target: str
    difference: int


@frozen
class Require:
    """Preconditions of a migration.

    Attributes:
        migration: The only one they apply to; ``None``: every one.
        tables: Must exist.
        columns: Must exist.
        no_invalid_indexes: True if no index may be invalid.
        max_replication_lag_ms: How far a replica may be behind, in milliseconds.
        connection_headroom: How many connections must be free.
    """

    migration: str | None
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    no_invalid_indexes: bool
    max_replication_lag_ms: float | None
    connection_headroom: int | None


@frozen
class CheckSettings:
    """Everything that the plugin's table asks for."""

    constraints: str
    count_violations: bool
    not_valid_allowed: tuple[str, ...]
    counts: tuple[Count, ...]
    requires: tuple[Require, ...]


def read_settings(config: Mapping[str, Any]) -> CheckSettings:
    """Return the settings of the plugin's table.

    Raises:
        PluginSettingsFault: A key is unknown, or its value cannot be used.
    """
    table = open_settings(config, "checks", CONFIG_KEYS)
    return CheckSettings(
        constraints=table.get("constraints", _POLICY, POLICIES[0]),
        count_violations=table.get("count_violations", FLAG, False),
        not_valid_allowed=table.get("not_valid_allowed", TEXTS, ()),
        counts=tuple(
            _read_count(name, count) for name, count in table.get_named_tables("counts", COUNT_KEYS).items()
        ),
        requires=tuple(_read_require(require) for require in table.get_table_list("require", REQUIRE_KEYS)),
    )


def _read_count(name: str, table: TableReader) -> Count:
    return Count(
        name=name,
        migration=table.require("migration", TEXT).strip(),
        source=table.require("source", TEXT),
        target=table.require("target", TEXT),
        difference=table.get("difference", COUNT, 0),
    )


def _read_require(table: TableReader) -> Require:
    migration = table.get("migration", TEXT, None)
    return Require(
        migration=migration.strip() if migration else None,
        tables=table.get("tables", TEXTS, ()),
        columns=table.get("columns", TEXTS, ()),
        no_invalid_indexes=table.get("no_invalid_indexes", FLAG, False),
        max_replication_lag_ms=table.get("max_replication_lag", _LAG, None),
        connection_headroom=table.get("connection_headroom", COUNT, None),
    )


def _read_lag(value: object) -> float:
    # A bare number would be milliseconds, which nobody means by max_replication_lag = 10.
    if not isinstance(value, str):
        raise ValueError
    return DURATION_MS.read(value)


_LAG = evolve(DURATION_MS, example='"10s"', read=_read_lag)
