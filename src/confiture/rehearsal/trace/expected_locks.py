"""Derive from a statement's text the locks that snapshots cannot show.

All migrations of a plan are rehearsed in one transaction. A lock that an earlier one holds in the same
mode is in ``pg_locks`` already, so it is not new when a later statement takes it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve

from confiture.models.report import NotSeen
from confiture.rehearsal.trace.catalog import Catalog
from confiture.rehearsal.trace.functions import ReachedBody
from confiture.rehearsal.trace.snapshot import HeldLock
from confiture.sql.lock_modes import ExpectedLock, find_expected_locks
from confiture.sql.lock_modes.expected_lock import ACCESS_EXCLUSIVE
from confiture.sql.statement_kind import classify_statement

# They fire no event trigger; REINDEX does from PostgreSQL 17 on.
_FIRE_NO_EVENT = ("LOCK", "TRUNCATE", "REINDEX", "CLUSTER")
_HIDDEN_REASON = (
    "an earlier migration of this plan may hold the same lock, which hides this one; --in clone shows it"
)


def collect_texts(sql: str, inner: Sequence[ReachedBody]) -> Iterator[str | None]:
    """Yield the text of a statement and of those that run inside it; ``None`` for dynamic SQL."""
    yield sql
    for reached in inner:
        yield from (statement.sql for statement in reached.body.statements)


def find_held_before(
    text: str, catalog: Catalog, before: frozenset[HeldLock] | None, search_path: Sequence[str]
) -> Iterator[HeldLock]:
    """Yield the locks that the text implies and that were held in the same mode before the migration.

    All that it implies without ``before``.
    """
    for lock in find_expected_locks(text):
        resolved = _resolve_lock(lock, catalog, search_path)
        yield from (held for held in resolved if before is None or held in before)


def find_hidden(text: str | None) -> Iterator[NotSeen]:
    """Yield the locks that a statement may have taken again, if its text does not name the relation."""
    if text is None:
        yield NotSeen(None, "locks of statements run inside", _HIDDEN_REASON)
        return
    for lock in find_expected_locks(text):
        if lock.relation is None:
            yield NotSeen(None, f"{lock.mode} on {lock.reason}", _HIDDEN_REASON)


def describe_hook_locks() -> NotSeen:
    """Say that the locks of a hook are unknown: its SQL is in Python code."""
    return NotSeen(None, "locks of hooks", _HIDDEN_REASON)


def remove_ddl(inner: Sequence[ReachedBody]) -> tuple[ReachedBody, ...]:
    """Return the bodies without the statements that event triggers report."""
    return tuple(
        evolve(
            body,
            body=evolve(
                body.body,
                statements=tuple(
                    statement
                    for statement in body.body.statements
                    if statement.sql is None or classify_statement(statement.sql).verb in _FIRE_NO_EVENT
                ),
            ),
        )
        for body in inner
    )


def describe_refusal(refused: str) -> NotSeen:
    """Say which locks are missed without event triggers."""
    reason = f"this role may not create event triggers, which would observe them ({refused})"
    return NotSeen(None, "locks released inside a statement", reason)


def _resolve_lock(lock: ExpectedLock, catalog: Catalog, search_path: Sequence[str]) -> Iterator[HeldLock]:
    known = catalog.resolve_name(lock.schema, lock.relation, search_path) if lock.relation else None
    if known is None:
        return
    oids = {known.oid, *(catalog.find_descendants(known.oid) if lock.children else ())}
    yield from ((oid, lock.mode) for oid in oids)
    if lock.also_indexes:
        yield from ((oid, ACCESS_EXCLUSIVE) for oid in catalog.find_indexes(oids))
    if lock.table_mode and known.table_oid:
        yield known.table_oid, lock.table_mode
