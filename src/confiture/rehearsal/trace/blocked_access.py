"""Find the relations whose readers and writers a lock blocks.

A lock blocks more than its relation: the planner locks indexes and children too.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from confiture.models.report import Blocks, Lock
from confiture.postgres.locks import find_blocked_access
from confiture.rehearsal.trace.catalog import Catalog


@frozen
class BlockedRelations:
    """The oids of the relations whose readers or writers wait.

    Attributes:
        reads: In another session, ``SELECT * FROM r LIMIT 0`` waits.
        writes: In another session, ``DELETE FROM r WHERE false`` waits.
    """

    reads: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()

    @property
    def either(self) -> frozenset[int]:
        """Relations whose reads, writes or both wait."""
        return self.reads | self.writes


def find_blocking(catalog: Catalog, held: Iterable[tuple[int, str]]) -> BlockedRelations:
    """Return what these locks block, judged by the relations that existed before the migration.

    A query locks the table, its children and the indexes of all of them. So a lock on a child or on an
    index blocks reads of every ancestor. Writes differ: they leave out partitions that WHERE excludes.
    """
    reads: set[int] = set()
    writes: set[int] = set()
    for oid, mode in held:
        table = catalog.relations.get(catalog.find_table(oid))
        if oid not in catalog.relations or table is None:
            continue
        blocked = find_blocked_access(table.kind, mode)
        if "reads" in blocked:
            reads.update((table.oid, *catalog.find_ancestors(table.oid)))
        if "writes" in blocked:
            writes.update((table.oid, *_find_ancestors(catalog, table.oid)))
    return BlockedRelations(frozenset(reads), frozenset(writes))


def find_blocks(catalog: Catalog, locks: Iterable[Lock]) -> Blocks:
    """Return the names of the relations that locks on tables, views and materialized views block.

    Locks on indexes do not count: CONCURRENTLY locks an index only when no query uses it any more.
    """
    oids = {known.name: oid for oid, known in catalog.relations.items() if known.kind != "index"}
    found = find_blocking(
        catalog, ((oids[lock.relation], lock.mode) for lock in locks if lock.relation in oids)
    )
    return Blocks(reads=catalog.list_names(found.reads), writes=catalog.list_names(found.writes))


def _find_ancestors(catalog: Catalog, oid: int) -> Iterable[int]:
    # A write to a partitioned parent need not touch this partition; a write to an inheritance parent locks
    # all its children.
    return () if catalog.relations[oid].partition else catalog.find_ancestors(oid)
