"""What a statement's text adds to what can be seen: locks held already, and locks given back.

A lock that an earlier migration of the plan holds in the same mode shows nowhere as new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve

from confiture.models.report import NotSeen
from confiture.rehearsal.trace.catalog import Catalog
from confiture.rehearsal.trace.functions import Reached
from confiture.rehearsal.trace.snapshot import Held
from confiture.sql.lock_modes import Expected, expected_locks
from confiture.sql.lock_modes.expected_lock import ACCESS_EXCLUSIVE
from confiture.sql.statement_kind import statement_kind

# REINDEX fires them from PostgreSQL 17 on.
_FIRE_NO_EVENT = ("LOCK", "TRUNCATE", "REINDEX", "CLUSTER")
_HELD = "earlier migrations of this plan hold locks of their own, which hide it; --in clone shows it"


def texts(sql: str, inner: Sequence[Reached]) -> Iterator[str | None]:
    """Yield the statement and what runs inside it; ``None`` for what is put together while it runs."""
    yield sql
    for reached in inner:
        yield from (each.sql for each in reached.found.statements)


def held_already(
    text: str, catalog: Catalog, before: frozenset[Held], search_path: Sequence[str]
) -> Iterator[Held]:
    """Yield the locks that a statement takes by its text and that were held in the same mode before."""
    for lock in expected_locks(text):
        yield from (held for held in _meant(lock, catalog, search_path) if held in before)


def hidden(text: str | None) -> Iterator[NotSeen]:
    """Yield what a statement may have locked again, and neither its text nor the server tells."""
    if text is None:
        yield NotSeen(None, "locks of what runs inside", _HELD)
        return
    for lock in expected_locks(text):
        if lock.relation is None:
            yield NotSeen(None, f"{lock.mode} on {lock.reason}", _HELD)


def of_hooks() -> NotSeen:
    """Say what cannot be known of a hook: its text is Python."""
    return NotSeen(None, "locks of hooks", _HELD)


def without_ddl(inner: Sequence[Reached]) -> tuple[Reached, ...]:
    """Leave out the statements whose end event triggers tell, whatever is rolled back after it."""
    return tuple(
        evolve(
            each,
            found=evolve(
                each.found,
                statements=tuple(
                    one
                    for one in each.found.statements
                    if one.sql is None or statement_kind(one.sql).verb in _FIRE_NO_EVENT
                ),
            ),
        )
        for each in inner
    )


def within(refused: str) -> NotSeen:
    """Say what is lost to a role that may not create event triggers."""
    reason = f"this role may create no event triggers, which tell them ({refused})"
    return NotSeen(None, "locks given back inside a statement", reason)


def _meant(lock: Expected, catalog: Catalog, search_path: Sequence[str]) -> Iterator[Held]:
    known = catalog.named(lock.schema, lock.relation, search_path) if lock.relation else None
    if known is None:
        return
    oids = {known.oid, *(catalog.descendants(known.oid) if lock.children else ())}
    yield from ((oid, lock.mode) for oid in oids)
    if lock.also_indexes:
        yield from ((oid, ACCESS_EXCLUSIVE) for oid in catalog.indexes_of(oids))
    if lock.table_mode and known.table:
        yield known.table, lock.table_mode
