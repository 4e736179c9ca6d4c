"""Read ``[tool.confiture.gate]``: which findings fail the gate, and how much may be measured at most."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, cast

from attrs import frozen

from confiture.config.table_reader import (
    DURATION_MS,
    SIZE_BYTES,
    VERSION,
    Kind,
    LocatedTable,
    TableReader,
    make_choice,
)

FailOn = Literal["error", "warning", "never"]
FAIL_ON: tuple[FailOn, ...] = ("error", "warning", "never")
NOTHING: Mapping[str, Any] = MappingProxyType({})

TIMES = ("max_block", "max_duration", "max_hook_duration", "max_estimated")
SIZES = ("max_rewritten", "max_wal")
GATE_KEYS = {
    "fail_on": "The mildest severity that fails the gate.",
    "severity": "Severities that differ from the rule's own, by rule.",
    "judge_after": "Migrations up to this version are not judged.",
    "max_block": "The longest that reads or writes of a table may be blocked.",
    "max_block_of": 'The same for single tables: "public.orders" = "500ms".',
    "max_duration": "The longest that all migrations together may take.",
    "max_hook_duration": "The longest that one hook may take.",
    "max_rewritten": "The most that may be rewritten: tables and their indexes.",
    "max_wal": "The most write-ahead log that may be written.",
    "max_estimated": "The longest that a migration may be estimated to take in production.",
}


@frozen
class Limit:
    """The most that may be measured.

    Attributes:
        most: In milliseconds or bytes.
        written: As the configuration has it.
    """

    most: float
    written: str


@frozen
class GatePolicy:
    """What fails the gate.

    Attributes:
        fail_on: The mildest severity that fails it.
        severity: By rule, if it differs from the rule's own.
        judge_after: Migrations up to this version are not judged.
        max_block: The longest that reads or writes of any table may be blocked.
        max_block_of: The same by table.
        max_duration: Of all migrations together.
        max_hook_duration: Of any one hook.
        max_rewritten: Bytes of all rewritten tables with their indexes.
        max_wal: Bytes of write-ahead log of all migrations.
        max_estimated: The upper end of the 90 % interval of any migration's time in production.
    """

    fail_on: FailOn = "error"
    severity: Mapping[str, str] = NOTHING
    judge_after: str | None = None
    max_block: Limit | None = None
    max_block_of: Mapping[str, Limit] = NOTHING
    max_duration: Limit | None = None
    max_hook_duration: Limit | None = None
    max_rewritten: Limit | None = None
    max_wal: Limit | None = None
    max_estimated: Limit | None = None

    def find_block_limit(self, relation: str) -> Limit | None:
        """Return how long a relation may be blocked."""
        return self.max_block_of.get(relation, self.max_block)


def read_policy(table: TableReader) -> GatePolicy:
    """Return the policy that the gate's table describes.

    Raises:
        ConfigurationFault: A value cannot be used.
    """
    limits = {
        **{key: _read_limit(table, key, DURATION_MS) for key in TIMES},
        **{key: _read_limit(table, key, SIZE_BYTES) for key in SIZES},
    }
    severity = table.get_mapping("severity", make_choice("error", "warning", "info", "off"))
    return GatePolicy(
        fail_on=cast("FailOn", table.get("fail_on", make_choice(*FAIL_ON), "error")),
        # Which rules there are is known later, when plugins are loaded.
        severity=LocatedTable(severity, table.locate) if table.locate else severity,
        judge_after=table.get("judge_after", VERSION, None),
        max_block_of=_read_block_limits(table),
        **limits,
    )


def merge_gate(gate: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gate's table overridden by an environment's; tables inside are merged key by key."""
    merged = {**gate, **override}
    for inner in ("severity", "max_block_of"):
        if inner in gate and inner in override:
            merged[inner] = {**gate[inner], **override[inner]}
    return merged


def _read_limit(table: TableReader, key: str, kind: Kind[Any]) -> Limit | None:
    most = table.get(key, kind, None)
    return None if most is None else Limit(most, str(table.values[key]))


def _read_block_limits(table: TableReader) -> dict[str, Limit]:
    limits = table.get_mapping("max_block_of", DURATION_MS)
    for name in limits:
        # Reports name every relation with its schema; a bare name would match none, silently.
        if "." not in name:
            hint = f'write it with its schema, in quotes: "public.{name}"'
            raise table.refuse("max_block_of", f"holds {name!r}, which names no schema", hint=hint)
    return {name: Limit(most, str(table.values["max_block_of"][name])) for name, most in limits.items()}
