"""What locks keep other sessions from, by PostgreSQL's conflict table and the way it plans."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from confiture.models.report import Blocks, Lock
from confiture.postgres.locks import find_blocked_access
from confiture.rehearsal.trace.catalog import Catalog


@frozen
class BlockedRelations:
    """The relations, by oid, whose readers and whose writers wait.

    Attributes:
        reads: ``SELECT * FROM r LIMIT 0`` of another session waits.
        writes: ``DELETE FROM r WHERE false`` of another session waits.
    """

    reads: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()

    @property
    def either(self) -> frozenset[int]:
        """Those with either."""
        return self.reads | self.writes


def find_blocking(catalog: Catalog, held: Iterable[tuple[int, str]]) -> BlockedRelations:
    """Return what these locks block, as the relations were before the migration.

    Who reads a table locks its children and opens the indexes of all of them; who writes to it opens
    its indexes too, but leaves out partitions that a WHERE excludes.
    """
    reads: set[int] = set()
    writes: set[int] = set()
    for oid, mode in held:
        table = catalog.relations.get(catalog.find_table(oid))
        if oid not in catalog.relations or table is None:
            continue
        what = find_blocked_access(table.kind, mode)
        if "reads" in what:
            reads.update((table.oid, *catalog.find_ancestors(table.oid)))
        if "writes" in what:
            writes.update((table.oid, *_find_ancestors(catalog, table.oid)))
    return BlockedRelations(frozenset(reads), frozenset(writes))


def find_blocks(catalog: Catalog, locks: Iterable[Lock]) -> Blocks:
    """Return what locks on tables, views and matviews block, by name; those on indexes are left out.

    For CONCURRENTLY, which takes an index that nobody uses any more.
    """
    oids = {known.name: oid for oid, known in catalog.relations.items() if known.kind != "index"}
    found = find_blocking(
        catalog, ((oids[lock.relation], lock.mode) for lock in locks if lock.relation in oids)
    )
    return Blocks(reads=catalog.list_names(found.reads), writes=catalog.list_names(found.writes))


def _find_ancestors(catalog: Catalog, oid: int) -> Iterable[int]:
    return () if catalog.relations[oid].partition else catalog.find_ancestors(oid)
