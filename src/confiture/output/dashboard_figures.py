"""Compute the figures of the dashboard from the history of a database."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from attrs import frozen

from confiture.models.dashboard import DatabaseView
from confiture.models.event import Event
from confiture.output.format import format_count
from confiture.output.history_items import list_runs
from confiture.units import format_duration

_SLOWEST = 5


@frozen
class BlockUse:
    """How much of the limit on blocking a migration used.

    Attributes:
        event: The migration.
        relations: The relations whose reads or writes it blocked.
        held_ms: How long the longest of these locks was held at most.
        measured: False if the event has no times of locks, and ``held_ms`` is the duration of the migration.
        share: ``held_ms`` as a share of the limit; ``None`` without a limit.
    """

    event: Event
    relations: tuple[str, ...]
    held_ms: float
    measured: bool
    share: float | None


@frozen
class Figures:
    """The figures of one database.

    Attributes:
        in_step: Whether the schema is as the ledger says, in a sentence.
        good: True if it is, False if it is not, ``None`` if that is not known.
        last_failure: The last failure; ``None`` if there was none.
        repaired: True if the same version succeeded after it, in the same direction.
        slowest: The slowest migrations, the slowest first.
        p50_ms: The median duration of what was applied; ``None`` without any.
        p95_ms: The duration that 95 % stayed below.
        hook_share: The share of hooks in the time of all migrations; ``None`` if it is not known.
        blocks: The migrations that blocked reads or writes, those that did so longest first.
        people: How many events each role has.
        revisions: How many events each commit has, the newest commit first.
    """

    in_step: str
    good: bool | None
    last_failure: Event | None
    repaired: bool
    slowest: tuple[Event, ...]
    p50_ms: float | None
    p95_ms: float | None
    hook_share: float | None
    blocks: tuple[BlockUse, ...]
    people: tuple[tuple[str, int], ...]
    revisions: tuple[tuple[str, int], ...]


def compute_figures(view: DatabaseView) -> Figures:
    """Return the figures of a database that could be read."""
    runs = list_runs(view.events, view.migrations)
    done = [event for event in runs if event.kind != "FAILED"]
    durations = sorted(event.duration_ms for event in done if event.kind == "APPLIED")
    failures = [event for event in view.events if event.kind == "FAILED"]
    last = failures[-1] if failures else None
    good, sentence = describe_step(view)
    return Figures(
        in_step=sentence,
        good=good,
        last_failure=last,
        repaired=last is not None and any(_repairs(event, last) for event in done),
        slowest=tuple(sorted(done, key=lambda event: -event.duration_ms)[:_SLOWEST]),
        p50_ms=compute_quantile(durations, 0.5),
        p95_ms=compute_quantile(durations, 0.95),
        hook_share=_compute_hook_share(done),
        blocks=_list_blocks(view, done),
        people=tuple(Counter(event.by for event in runs).most_common()),
        revisions=tuple(
            Counter(event.git_revision for event in reversed(view.events) if event.git_revision).items()
        ),
    )


def describe_step(view: DatabaseView) -> tuple[bool | None, str]:
    """Return whether the schema is as the ledger says, and that in a sentence."""
    if view.fault is not None:
        return None, f"it could not be read: {view.fault}"
    changed = f"{format_count(len(view.changed), 'migration')} changed, missing or unfinished"
    drifted = f"{format_count(len(view.drift or ()), 'object')} changed outside of migrations"
    faults = [*([changed] if view.changed else ()), *([drifted] if view.drift else ())]
    if faults:
        return False, "; ".join(faults)
    if view.drift is None:
        after = f"the schema was not read after {view.unread}" if view.unread else None
        return None, after or "no run has recorded the schema yet"
    waiting = f"; {format_count(len(view.pending), 'migration')} pending" if view.pending else ""
    return True, f"the schema is as the last run left it{waiting}"


def compute_quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of the ordered values does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _repairs(event: Event, failure: Event) -> bool:
    same = (event.version, event.direction) == (failure.version, failure.direction)
    return same and event.number > failure.number


def _compute_hook_share(events: Sequence[Event]) -> float | None:
    total = sum(event.duration_ms for event in events)
    spent = sum(hook.duration_ms or 0.0 for event in events for hook in event.hooks)
    return spent / total if total else None


def _list_blocks(view: DatabaseView, events: Sequence[Event]) -> tuple[BlockUse, ...]:
    uses = (_measure_block(event, view.block_limit_ms) for event in events)
    return tuple(sorted(filter(None, uses), key=lambda use: -use.held_ms))


def _measure_block(event: Event, limit_ms: float | None) -> BlockUse | None:
    locks = [lock for lock in event.locks if lock.blocks]
    if not locks:
        return None
    times = [lock.held_ms for lock in locks if lock.held_ms is not None]
    measured = len(times) == len(locks)
    held_ms = max(times) if measured else event.duration_ms
    share = held_ms / limit_ms if limit_ms else None
    return BlockUse(event, tuple(lock.relation for lock in locks), held_ms, measured, share)


def format_share(share: float | None) -> str:
    """Return a share as per cent."""
    return "unknown" if share is None else f"{share * 100:.0f} %"


def describe_durations(figures: Figures) -> str:
    """Return what the two quantiles say, in words."""
    if figures.p50_ms is None or figures.p95_ms is None:
        return "no migration has been applied yet"
    return (
        f"half of the applied migrations took at most {format_duration(figures.p50_ms)}, "
        f"and 95 % at most {format_duration(figures.p95_ms)}"
    )
