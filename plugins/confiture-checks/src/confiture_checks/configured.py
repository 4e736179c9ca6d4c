"""What the plugin's table of the configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from confiture.exceptions import UsageFault
from confiture.migrations.version import parse_version
from confiture.units import parse_milliseconds
from confiture_checks.table import Table, expected

CONFIG_KEYS = {
    "constraints": 'NOT VALID constraints of touched tables: "warn" (default), "error" or "off".',
    "count_violations": "Whether the rows that violate a NOT VALID constraint are counted: reads the table.",
    "not_valid_allowed": "Constraints that may be NOT VALID: SCHEMA.TABLE.CONSTRAINT.",
    "counts": "Row counts to agree: a table each, with migration, source, target and difference.",
    "require": "What must be so before a migration begins: a table, or several.",
}
COUNT_KEYS = {
    "migration": "The migration after which they must agree: its version, or its name.",
    "source": "A query for one whole number.",
    "target": "A query for another.",
    "difference": "By how many rows they may differ: 0.",
}
REQUIRE_KEYS = {
    "migration": "The only migration it is for: its version, or its name; every one without it.",
    "tables": "Tables that must exist.",
    "columns": "Columns that must exist: SCHEMA.TABLE.COLUMN.",
    "no_invalid_indexes": "Whether an invalid index anywhere stops the migration.",
    "max_replication_lag": "How far a replica may be behind.",
    "connection_headroom": "How many connections must be free.",
}
POLICIES = ("warn", "error", "off")
_PLACE = "plugin.checks"


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
    """What must be so before a migration begins.

    Attributes:
        migration: The only one it is for; ``None``: every one.
        tables: Must exist.
        columns: Must exist.
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
class Configured:
    """Everything the plugin's table asks for."""

    constraints: str
    count_violations: bool
    not_valid_allowed: tuple[str, ...]
    counts: tuple[Count, ...]
    requires: tuple[Require, ...]


def is_for(migration: str | None, version: str, name: str) -> bool:
    """Whether that is this migration: by version, number by number, or by name; ``None`` is every one."""
    if migration is None or migration in (name, f"{version}_{name}"):
        return True
    try:
        return parse_version(migration) == parse_version(version)
    except UsageFault:
        return False


def configured(config: Mapping[str, Any]) -> Configured:
    """Return what is asked for.

    Raises:
        Misconfigured: Something is not usable; its key is named.
    """
    # What the runner itself reads stands in the same table, and it has checked the keys.
    own = {key: value for key, value in config.items() if key in CONFIG_KEYS}
    table = Table.read(_PLACE, own, CONFIG_KEYS)
    counts = own.get("counts", {})
    if not isinstance(counts, Mapping):
        raise expected(f"{_PLACE}.counts", counts, "a table of tables, one an expectation")
    require = own.get("require", [])
    return Configured(
        constraints=table.choice("constraints", POLICIES),
        count_violations=table.flag("count_violations"),
        not_valid_allowed=table.names("not_valid_allowed"),
        counts=tuple(_count(name, given) for name, given in counts.items()),
        requires=tuple(map(_require, require if isinstance(require, list) else [require])),
    )


def _count(name: str, given: Any) -> Count:
    table = Table.read(f"{_PLACE}.counts.{name}", given, COUNT_KEYS)
    return Count(
        name=name,
        migration=table.text("migration").strip(),
        source=table.text("source"),
        target=table.text("target"),
        difference=table.number("difference") or 0,
    )


def _require(given: Any) -> Require:
    table = Table.read(f"{_PLACE}.require", given, REQUIRE_KEYS)
    return Require(
        migration=table.text("migration").strip() if "migration" in table.given else None,
        tables=table.names("tables"),
        columns=table.names("columns"),
        no_invalid_indexes=table.flag("no_invalid_indexes"),
        max_replication_lag_ms=_lag(table),
        connection_headroom=table.number("connection_headroom"),
    )


def _lag(table: Table) -> float | None:
    if "max_replication_lag" not in table.given:
        return None
    written = table.text("max_replication_lag")
    try:
        return parse_milliseconds(written)
    except ValueError as error:
        raise expected(f"{table.place}.max_replication_lag", written, f"a time: {error}") from None
