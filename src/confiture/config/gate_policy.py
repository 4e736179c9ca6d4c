"""What ``[tool.confiture.gate]`` says: on what to fail, and what may be measured at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from attrs import frozen

from confiture.units import milliseconds, size_bytes

FailOn = Literal["error", "warning", "never"]
FAIL_ON: tuple[FailOn, ...] = ("error", "warning", "never")
NOTHING: Mapping[str, Any] = MappingProxyType({})


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
class Policy:
    """What a gate fails on.

    Attributes:
        fail_on: The mildest severity that fails it.
        severity: By rule, where it is to differ from the rule's own.
        judge_after: Migrations up to this version are not judged.
        max_block: The longest that reads or writes of any table may be blocked.
        max_block_of: The same by table.
        max_duration: Of all migrations together.
        max_hook_duration: Of any one hook.
        max_rewritten: Bytes of the tables that are rewritten, with their indexes, all together.
        max_wal: Bytes of write-ahead log, all together.
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

    def block_limit(self, relation: str) -> Limit | None:
        """Return how long a relation may be blocked."""
        return self.max_block_of.get(relation, self.max_block)


TIMES = ("max_block", "max_duration", "max_hook_duration", "max_estimated")
SIZES = ("max_rewritten", "max_wal")


def policy_of(table: Mapping[str, Any]) -> Policy:
    """Return the policy of a table whose keys and values were checked."""
    limits = {
        **{key: _limit(table[key], milliseconds) for key in TIMES if key in table},
        **{key: _limit(table[key], size_bytes) for key in SIZES if key in table},
    }
    by_table = table.get("max_block_of", {})
    return Policy(
        fail_on=table.get("fail_on", "error"),
        severity=table.get("severity", NOTHING),
        judge_after=str(table["judge_after"]) if "judge_after" in table else None,
        max_block_of={name: _limit(value, milliseconds) for name, value in by_table.items()},
        **limits,
    )


def merged(gate: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gate's table with an environment's own laid over it, tables inside key by key."""
    both = {**gate, **own}
    for inner in ("severity", "max_block_of"):
        if inner in gate and inner in own:
            both[inner] = {**gate[inner], **own[inner]}
    return both


def _limit(value: object, read: Callable[[str], float]) -> Limit:
    return Limit(read(str(value)), str(value))
