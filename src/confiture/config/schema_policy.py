"""Read ``[tool.confiture.schema]``: what a schema is expected to look like."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from confiture.config.table_reader import FLAG, POSITIVE, SIZE_BYTES, TEXT, TEXTS, Kind, TableReader

_COMMENTED = ("table", "column", "view", "function")
_NO_NAMES: Mapping[str, Any] = MappingProxyType({})

SCHEMA_KEYS = {
    "ledger": "The schema of the target in which confiture keeps its ledger.",
    "schemas": "The schemas to judge, as patterns; without it all but the ledger's.",
    "ignore": "Findings to ignore: { rule, object, reason }.",
    "cqrs": "What is on the write side and on the read side.",
    "tenancy": "Which tables hold the rows of tenants.",
    "structure": "Names, comments and sizes.",
}
IGNORE_KEYS = {
    "rule": "The rule.",
    "object": 'The object, as a pattern: "w_import_*", "public.w_orders" or "public.fn_total(*".',
    "reason": "Why.",
}
CQRS_KEYS = {
    "write": "Patterns of the tables of the write side.",
    "read": "Patterns of read models: tables, views and materialized views.",
    "neutral": "Patterns of what is on neither side.",
    "functions": "Patterns of functions and procedures.",
    "sources": 'The sources of read models: r_orders = ["w_orders"].',
    "filled": 'What fills a read model that nothing in the database fills: r_orders = "the nightly import".',
}
TENANCY_KEYS = {
    "tables": "Patterns of the tables that hold the rows of tenants.",
    "exempt": "Patterns of those that do not, although they match.",
    "column": "The column that names the tenant.",
    "type": "The type of this column, as PostgreSQL prints it.",
}
STRUCTURE_KEYS = {
    "any_case": "Whether names may need quotes.",
    "max_name_bytes": "The most bytes that a name may have.",
    "comments": 'What needs a comment: "table", "column", "view", "function".',
    "partition_above": "The estimated size above which a table must be partitioned.",
}


@frozen
class IgnoredObject:
    """Findings that the configuration ignores.

    Attributes:
        rule: The rule.
        pattern: The objects, as a pattern.
        reason: Why; ``None`` if nobody says.
    """

    rule: str
    pattern: str
    reason: str | None = None


@frozen
class CqrsPolicy:
    """What is on the write side, and what on the read side.

    Attributes:
        write: Patterns of the tables of the write side.
        read: Patterns of read models.
        neutral: Patterns of what is on neither side.
        functions: Patterns of functions and procedures.
        sources: The sources of read models, by name.
        filled: What fills a read model from outside of the database, by name.
    """

    write: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    neutral: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    sources: Mapping[str, tuple[str, ...]] = _NO_NAMES
    filled: Mapping[str, str] = _NO_NAMES


@frozen
class TenancyPolicy:
    """Which tables hold the rows of tenants, and how.

    Attributes:
        tables: Patterns of these tables.
        exempt: Patterns of tables that match and hold none.
        column: The column that names the tenant.
        type: Its type as PostgreSQL prints it; ``None`` for any.
    """

    tables: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    column: str = "tenant_id"
    type: str | None = None


@frozen
class StructurePolicy:
    """Names, comments and sizes.

    Attributes:
        any_case: True if names may need quotes.
        max_name_bytes: The most bytes that a name may have. PostgreSQL cuts names at 63.
        comments: What needs a comment: ``"table"``, ``"column"``, ``"view"``, ``"function"``.
        partition_above_bytes: The estimated size above which a table must be partitioned.
    """

    any_case: bool = False
    max_name_bytes: int = 62
    comments: tuple[str, ...] = ()
    partition_above_bytes: float = 100 * 1000**3


@frozen
class SchemaPolicy:
    """What a schema is expected to look like.

    Attributes:
        schemas: Patterns of the schemas to judge; empty for all but the ledger's.
        ignore: The findings to ignore.
        cqrs: What is on the write side, and what on the read side.
        tenancy: Which tables hold the rows of tenants.
        structure: Names, comments and sizes.
    """

    schemas: tuple[str, ...] = ()
    ignore: tuple[IgnoredObject, ...] = ()
    cqrs: CqrsPolicy = field(default=CqrsPolicy())
    tenancy: TenancyPolicy = field(default=TenancyPolicy())
    structure: StructurePolicy = field(default=StructurePolicy())

    def has(self, key: str) -> bool:
        """Return True if ``key``, such as ``"cqrs.write"``, is configured."""
        group, _, name = key.partition(".")
        return bool(getattr(getattr(self, group), name))


POLICY_KEYS = (
    *(f"cqrs.{key}" for key in CQRS_KEYS),
    *(f"tenancy.{key}" for key in TENANCY_KEYS),
    "structure.comments",
)
"""The keys that a rule may need; those of the structure have defaults, but for the comments."""


def _read_comments(value: object) -> tuple[str, ...]:
    names = TEXTS.read(value)
    for name in names:
        if name not in _COMMENTED:
            raise ValueError(f"{name!r} is none of these")
    return names


_COMMENTS = Kind(f"a list of {', '.join(_COMMENTED)}", '["table", "column"]', _read_comments)


def read_schema_policy(table: TableReader) -> SchemaPolicy:
    """Return the policy that the table describes.

    Raises:
        ConfigurationFault: A value cannot be used.
    """
    ignored = table.get_table_list("ignore", IGNORE_KEYS)
    return SchemaPolicy(
        schemas=table.get("schemas", TEXTS, ()),
        ignore=tuple(map(_read_ignored, ignored)),
        cqrs=_read_cqrs(table.get_table("cqrs", CQRS_KEYS)),
        tenancy=_read_tenancy(table.get_table("tenancy", TENANCY_KEYS)),
        structure=_read_structure(table.get_table("structure", STRUCTURE_KEYS)),
    )


def _read_ignored(table: TableReader) -> IgnoredObject:
    return IgnoredObject(
        table.require("rule", TEXT), table.require("object", TEXT), table.get("reason", TEXT, None)
    )


def _read_cqrs(table: TableReader) -> CqrsPolicy:
    return CqrsPolicy(
        write=table.get("write", TEXTS, ()),
        read=table.get("read", TEXTS, ()),
        neutral=table.get("neutral", TEXTS, ()),
        functions=table.get("functions", TEXTS, ()),
        sources=table.get_mapping("sources", TEXTS),
        filled=table.get_mapping("filled", TEXT),
    )


def _read_tenancy(table: TableReader) -> TenancyPolicy:
    return TenancyPolicy(
        tables=table.get("tables", TEXTS, ()),
        exempt=table.get("exempt", TEXTS, ()),
        column=table.get("column", TEXT, "tenant_id"),
        type=table.get("type", TEXT, None),
    )


def _read_structure(table: TableReader) -> StructurePolicy:
    defaults = StructurePolicy()
    return StructurePolicy(
        any_case=table.get("any_case", FLAG, defaults.any_case),
        max_name_bytes=table.get("max_name_bytes", POSITIVE, defaults.max_name_bytes),
        comments=table.get("comments", _COMMENTS, ()),
        partition_above_bytes=table.get("partition_above", SIZE_BYTES, defaults.partition_above_bytes),
    )


def merge_schema(schema: object, override: object) -> object:
    """Return the value of ``schema`` overridden by an environment's: each is a ledger's name or a table."""
    if not (isinstance(schema, Mapping) or isinstance(override, Mapping)):
        return override
    merged = {**_as_table(schema), **_as_table(override)}
    for group in ("cqrs", "tenancy", "structure"):
        first, second = (_as_table(value).get(group) for value in (schema, override))
        # A value that is no table is kept as it is, for the reader to refuse.
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            merged[group] = {**first, **second}
    return merged


def _as_table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"ledger": value}
