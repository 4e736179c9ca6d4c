"""Merge events and the ledger's older rows into one story, oldest first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from confiture.models.event import Event, EventHook
from confiture.models.ledger import HistoryRecord

Item = Event | HistoryRecord


def merge_items(events: Sequence[Event], migrations: Sequence[HistoryRecord]) -> list[Item]:
    """Return the events, and the migrations without one: applied before there were events, or never run."""
    recorded = {event.version for event in events if event.kind == "APPLIED"}
    others = [item for item in migrations if item.baseline or item.version not in recorded]
    # Merged and not sorted: events keep their order even if the clock was set back.
    both: tuple[Sequence[Item], ...] = (events, others)
    return list(heapq.merge(*both, key=get_time))


def get_time(item: Item) -> str:
    """Return when it ended, in ISO 8601."""
    return item.at if isinstance(item, Event) else item.applied_at


def list_runs(events: Sequence[Event], migrations: Sequence[HistoryRecord]) -> tuple[Event, ...]:
    """Return all migrations that ran, also those without an event; the number of these is 0."""
    items = merge_items(events, migrations)
    return tuple(
        make_event(item) for item in items if isinstance(item, Event) or item.duration_ms is not None
    )


def make_event(item: Item) -> Event:
    """Return a migration of the ledger as the event that it would have been."""
    if isinstance(item, Event):
        return item
    return Event(
        number=0,
        kind="APPLIED",
        version=item.version,
        name=item.name,
        direction="forward",
        at=item.applied_at,
        by=item.applied_by,
        duration_ms=item.duration_ms or 0.0,
        transactional=item.transactional,
        plugins=item.plugins,
        hooks=tuple(EventHook(hook.phase, hook.hook) for hook in item.hooks),
    )
