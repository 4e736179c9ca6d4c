"""Read ``[tool.confiture.plugin.checks]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

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
    "constraints": 'NOT VALID constraints of changed tables: "warn" (default), "error" or "off".',
    "count_violations": "Whether to count the rows that violate a NOT VALID constraint; reads the table.",
    "not_valid_allowed": "Constraints that may be NOT VALID: SCHEMA.TABLE.CONSTRAINT.",
    "counts": "Row counts that must agree: a table each, with migration, source, target and difference.",
    "require": "What a migration requires before it begins: one table or several.",
}
COUNT_KEYS = {
    "migration": "The migration after which they must agree: its version or its name.",
    "source": "A query that returns one whole number.",
    "target": "Another query that returns one whole number.",
    "difference": "By how many rows they may differ; 0 if not set.",
}
REQUIRE_KEYS = {
    "migration": "The only migration that requires it: its version or its name; every one if not set.",
    "tables": "Tables that must exist.",
    "columns": "Columns that must exist: SCHEMA.TABLE.COLUMN.",
    "no_invalid_indexes": "Whether an invalid index stops the migration.",
    "max_replication_lag": "How far a replica may be behind.",
    "connection_headroom": "How many connections must be free.",
}
_POLICY = make_choice("warn", "error", "off")


@frozen
class CountComparison:
    """Two row counts that must agree after a migration.

    Attributes:
        name: The name of its table.
        migration: Its version or its name.
        source: A query that returns one whole number.
        target: Another.
        difference: By how many rows they may differ.
    """

    name: str
    migration: str
    source: str
    target: str
    difference: int


@frozen
class Requirement:
    """What a migration requires before it begins.

    Attributes:
        migration: The only one that requires it; ``None``: every migration.
        tables: Tables that must exist.
        columns: Columns that must exist.
        no_invalid_indexes: Whether there must be no invalid index.
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
    """What to check.

    Attributes:
        constraints: What a NOT VALID constraint is: ``"warn"``, ``"error"`` or ``"off"``.
        count_violations: Whether to count the rows that violate it.
        not_valid_allowed: Constraints that may be NOT VALID.
        counts: Row counts to compare.
        requirements: What must be so before a migration begins.
    """

    constraints: str
    count_violations: bool
    not_valid_allowed: tuple[str, ...]
    counts: tuple[CountComparison, ...]
    requirements: tuple[Requirement, ...]


def read_settings(config: Mapping[str, Any]) -> CheckSettings:
    """Return the settings of the plugin's table.

    Raises:
        PluginSettingsFault: A key is unknown, or its value cannot be used.
    """
    table = open_settings(config, "checks", CONFIG_KEYS)
    counts = table.get_named_tables("counts", COUNT_KEYS)
    return CheckSettings(
        constraints=table.get("constraints", _POLICY, "warn"),
        count_violations=table.get("count_violations", FLAG, False),
        not_valid_allowed=table.get("not_valid_allowed", TEXTS, ()),
        counts=tuple(_read_count(name, count) for name, count in counts.items()),
        requirements=tuple(map(_read_requirement, table.get_table_list("require", REQUIRE_KEYS))),
    )


def _read_count(name: str, table: TableReader) -> CountComparison:
    return CountComparison(
        name=name,
        migration=table.require("migration", TEXT).strip(),
        source=table.require("source", TEXT),
        target=table.require("target", TEXT),
        difference=table.get("difference", COUNT, 0),
    )


def _read_requirement(table: TableReader) -> Requirement:
    migration = table.get("migration", TEXT, None)
    return Requirement(
        migration=migration.strip() if migration else None,
        tables=table.get("tables", TEXTS, ()),
        columns=table.get("columns", TEXTS, ()),
        no_invalid_indexes=table.get("no_invalid_indexes", FLAG, False),
        max_replication_lag_ms=table.get("max_replication_lag", DURATION_MS, None),
        connection_headroom=table.get("connection_headroom", COUNT, None),
    )
