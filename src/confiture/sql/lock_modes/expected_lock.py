"""What a statement's text says that it locks: a frozen value, and the order of the modes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve, frozen

from confiture.models.lock_mode import STRONG_MODES, LockMode
from confiture.models.report import RelationKind

# What is weaker than these is never listed.
SHARE, SHARE_ROW_EXCLUSIVE, EXCLUSIVE, ACCESS_EXCLUSIVE = STRONG_MODES


@frozen
class ExpectedLock:
    """One relation that a statement locks with Share or stronger, as far as its text tells.

    Attributes:
        schema: As written; ``None`` where it is found by the search path.
        relation: As written, without quotes; ``None`` where the text does not name it: see ``reason``.
        mode: PostgreSQL's name, ``AccessExclusiveLock``; of an unnamed one the strongest it may be.
        kind: A hint: ALTER TABLE may be said of a view, an index or a sequence.
        also_indexes: Its indexes are locked too, with AccessExclusive, those of a partitioned table as far
            as they have files; ``None`` where only the server knows.
        children: Its partitions and heirs are locked too, in the same mode, and what a view reads for a
            LOCK of the view; ``None``: those of them that have what is changed.
        table_mode: Of an index: the mode on the table that it stands on, and on that table's partitions;
            ``None`` below Share.
        reason: What the unnamed relation is, in words.
    """

    schema: str | None
    relation: str | None
    mode: str
    kind: RelationKind | None = None
    also_indexes: bool | None = False
    children: bool | None = False
    table_mode: str | None = None
    reason: str | None = None


def expect_lock(relation: Any, mode: str, kind: RelationKind | None = "table", **more: Any) -> ExpectedLock:
    """Return what is expected on a relation that the text names."""
    return ExpectedLock(relation.schemaname or None, relation.relname, mode, kind, **more)


def expect_unnamed_lock(mode: str, reason: str, kind: RelationKind | None = None) -> ExpectedLock:
    """Return what is expected on a relation that the text does not name."""
    return ExpectedLock(None, None, mode, kind, also_indexes=None, children=None, reason=reason)


def merge_expected_locks(locks: Iterable[ExpectedLock]) -> tuple[ExpectedLock, ...]:
    """Return each relation once, with its strongest mode; the unnamed ones as they are."""
    found: dict[tuple[str | None, ...], ExpectedLock] = {}
    for one in locks:
        key = (one.schema, one.relation, one.reason)
        found[key] = _merge_two(found[key], one) if key in found else one
    return tuple(found.values())


def _merge_two(first: ExpectedLock, second: ExpectedLock) -> ExpectedLock:
    winner = max(second, first, key=lambda lock: LockMode[lock.mode])
    return evolve(
        winner,
        also_indexes=_combine_flags(first.also_indexes, second.also_indexes),
        children=_combine_flags(first.children, second.children),
        table_mode=first.table_mode or second.table_mode,
    )


def _combine_flags(first: bool | None, second: bool | None) -> bool | None:
    return True if first or second else None if None in (first, second) else False
