"""The value for a lock that a statement's text predicts, and how two of them merge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve, frozen

from confiture.models.lock_mode import STRONG_MODES, LockMode
from confiture.models.report import RelationKind

# Weaker modes block neither reads nor writes, and are never listed.
SHARE, SHARE_ROW_EXCLUSIVE, EXCLUSIVE, ACCESS_EXCLUSIVE = STRONG_MODES


@frozen
class ExpectedLock:
    """A lock of Share or stronger that a statement takes on a relation, as far as its text shows.

    Attributes:
        schema: As written; ``None`` if the search path finds it.
        relation: As written, without quotes; ``None`` if the text does not name it: see ``reason``.
        mode: PostgreSQL's name, ``AccessExclusiveLock``; for an unnamed relation the strongest possible mode.
        kind: The kind that the statement names. It is a hint: ALTER TABLE also accepts a view, an index or
            a sequence.
        also_indexes: True if its indexes are locked too, with AccessExclusive (for a partitioned table,
            those that have files); ``None`` if only the server knows.
        children: True if its partitions and inheritance children are locked too, in the same mode, and for
            LOCK of a view the tables it reads; ``None``: only the children that have the changed object.
        table_mode: For an index: the mode on its table and on that table's partitions; ``None`` if weaker
            than Share.
        reason: A description of the unnamed relation.
    """

    schema: str | None
    relation: str | None
    mode: str
    kind: RelationKind | None = None
    also_indexes: bool | None = False
    children: bool | None = False
    table_mode: str | None = None
    reason: str | None = None


def expect_lock(
    relation: Any, mode: str, kind: RelationKind | None = "table", **details: Any
) -> ExpectedLock:
    """Return the expected lock on a relation that the text names."""
    return ExpectedLock(relation.schemaname or None, relation.relname, mode, kind, **details)


def expect_unnamed_lock(mode: str, reason: str, kind: RelationKind | None = None) -> ExpectedLock:
    """Return the expected lock on a relation that the text does not name."""
    return ExpectedLock(None, None, mode, kind, also_indexes=None, children=None, reason=reason)


def merge_expected_locks(locks: Iterable[ExpectedLock]) -> tuple[ExpectedLock, ...]:
    """Return one lock per relation, with the strongest mode; unnamed ones merge by their reason."""
    found: dict[tuple[str | None, ...], ExpectedLock] = {}
    for lock in locks:
        key = (lock.schema, lock.relation, lock.reason)
        found[key] = _merge_two(found[key], lock) if key in found else lock
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
