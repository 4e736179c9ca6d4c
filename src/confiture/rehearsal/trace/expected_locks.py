"""What a statement's text adds to what can be seen: locks held already, and locks given back.

A lock that an earlier migration of the plan holds in the same mode shows nowhere as new.
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

# REINDEX fires them from PostgreSQL 17 on.
_FIRE_NO_EVENT = ("LOCK", "TRUNCATE", "REINDEX", "CLUSTER")
_HIDDEN_REASON = "earlier migrations of this plan hold locks of their own, which hide it; --in clone shows it"


def collect_texts(sql: str, inner: Sequence[ReachedBody]) -> Iterator[str | None]:
    """Yield the statement and what runs inside it; ``None`` for what is put together while it runs."""
    yield sql
    for reached in inner:
        yield from (statement.sql for statement in reached.body.statements)


def find_held_before(
    text: str, catalog: Catalog, before: frozenset[HeldLock], search_path: Sequence[str]
) -> Iterator[HeldLock]:
    """Yield the locks that a statement takes by its text and that were held in the same mode before."""
    for lock in find_expected_locks(text):
        yield from (held for held in _resolve_lock(lock, catalog, search_path) if held in before)


def find_hidden(text: str | None) -> Iterator[NotSeen]:
    """Yield what a statement may have locked again, and neither its text nor the server tells."""
    if text is None:
        yield NotSeen(None, "locks of what runs inside", _HIDDEN_REASON)
        return
    for lock in find_expected_locks(text):
        if lock.relation is None:
            yield NotSeen(None, f"{lock.mode} on {lock.reason}", _HIDDEN_REASON)


def describe_hook_locks() -> NotSeen:
    """Say what cannot be known of a hook: its text is Python."""
    return NotSeen(None, "locks of hooks", _HIDDEN_REASON)


def remove_ddl(inner: Sequence[ReachedBody]) -> tuple[ReachedBody, ...]:
    """Leave out the statements whose end event triggers tell, whatever is rolled back after it."""
    return tuple(
        evolve(
            body,
            body=evolve(
                body.body,
                statements=tuple(
                    one
                    for one in body.body.statements
                    if one.sql is None or classify_statement(one.sql).verb in _FIRE_NO_EVENT
                ),
            ),
        )
        for body in inner
    )


def describe_refusal(refused: str) -> NotSeen:
    """Say what is lost to a role that may not create event triggers."""
    reason = f"this role may create no event triggers, which tell them ({refused})"
    return NotSeen(None, "locks given back inside a statement", reason)


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
