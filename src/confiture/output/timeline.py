"""Compute when each statement ran and each lock was held, in percent of the migration's duration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from attrs import evolve, field, frozen

from confiture.models.lock_mode import LockMode
from confiture.models.report import HookReport, Lock, MigrationReport
from confiture.output.effects import Step, describe_effects, format_blocked, format_held_time
from confiture.output.format import format_count, format_duration, shorten_sql

_PHASES_BEFORE = ("before_validation", "before_ddl")
_MIN_WIDTH_PERCENT = 0.5
# The width on a phone, where the track is narrowest.
_TRACK_PX = 290
_DIGIT_PX = 8
_MAX_SEGMENTS = 400


@frozen
class Segment:
    """A statement or a hook on its track.

    Attributes:
        number: Its number in the list below the timeline: ``3``, ``h1``.
        x: Its begin, in percent.
        width: Its duration, in percent.
        label_x: The position of its number in percent; ``None`` if the number does not fit.
        title: The hover text.
    """

    number: str
    x: float
    width: float
    title: str
    label_x: float | None = None


@frozen
class Bar:
    """One lock, from its acquisition to its release.

    Attributes:
        tone: The blocked access: ``both``, ``reads``, ``writes`` or ``nothing``.
        vague: True if its begin was not measured.
    """

    x: float
    width: float
    tone: str
    title: str
    vague: bool = False


@frozen
class Lane:
    """The locks of one relation.

    Attributes:
        description: The blocked access and its duration.
        tone: The tone of its strongest lock.
        long: True if the relation has a long block.
    """

    relation: str
    kind: str
    description: str
    tone: str
    long: bool
    bars: tuple[Bar, ...]


@frozen
class Mark:
    """A label of the time axis."""

    x: float
    label: str
    anchor: str = "middle"


@frozen
class Timeline:
    """The timeline of one migration."""

    total_ms: float
    marks: tuple[Mark, ...]
    statements: tuple[Segment, ...]
    hooks: tuple[Segment, ...]
    lanes: tuple[Lane, ...]

    @property
    def vague(self) -> bool:
        """True if the begin of some lock was not measured."""
        return any(bar.vague for lane in self.lanes for bar in lane.bars)


@frozen
class _TimedStep:
    """A statement or a hook with the time of its begin."""

    step: Step
    number: str
    begin_ms: float


@frozen
class _HeldInterval:
    """A lock with the times of its begin and end."""

    lock: Lock
    begin_ms: float
    end_ms: float
    vague: bool = field(default=False)


def build_timeline(migration: MigrationReport) -> Timeline | None:
    """Return the timeline of a migration; ``None`` if nothing was timed."""
    placed = list(_time_steps(migration))
    total_ms = _compute_total_ms(migration, placed)
    if not total_ms or not (placed or migration.locks):
        return None
    hooks, statements = ([step for step in placed if _is_hook(step) is wanted] for wanted in (True, False))
    return Timeline(
        total_ms,
        _build_marks(total_ms),
        _build_segments(statements, total_ms),
        _build_segments(hooks, total_ms),
        _build_lanes(migration, placed, total_ms),
    )


def _is_hook(placed: _TimedStep) -> bool:
    return isinstance(placed.step, HookReport)


def _time_steps(migration: MigrationReport) -> Iterator[_TimedStep]:
    """Place hooks and statements end to end, in the order of execution: only durations are measured."""
    hooks = [(hook, f"h{number}") for number, hook in enumerate(migration.hooks, 1)]
    statements = [(statement, str(number)) for number, statement in enumerate(migration.statements, 1)]
    before = [hook for hook in hooks if hook[0].phase.lower() in _PHASES_BEFORE]
    after = [hook for hook in hooks if hook[0].phase.lower() not in _PHASES_BEFORE]
    begin_ms = 0.0
    for step, number in chain[tuple[Step, str]](before, statements, after):
        yield _TimedStep(step, number, begin_ms)
        begin_ms += step.duration_ms


def _compute_total_ms(migration: MigrationReport, placed: Sequence[_TimedStep]) -> float:
    steps_ms = sum(step.step.duration_ms for step in placed)
    held_ms = 0.0 if placed else max((lock.held_ms or 0 for lock in migration.locks), default=0.0)
    return max(migration.duration_ms or 0.0, steps_ms, held_ms)


def _build_marks(total_ms: float) -> tuple[Mark, ...]:
    """Return at most five labels, which do not overlap on a phone."""
    step_ms = _round_step(total_ms / 4)
    inner = [Mark(x, format_duration(at)) for at, x in _list_multiples(step_ms, total_ms) if x < 70]
    return (Mark(0, "0", "start"), *inner, Mark(100, format_duration(total_ms), "end"))


def _list_multiples(step_ms: float, total_ms: float) -> list[tuple[float, float]]:
    # Labels have at most one decimal of a millisecond; finer ones would repeat.
    if step_ms < 0.1:
        return []
    return [(n * step_ms, round(100 * n * step_ms / total_ms, 2)) for n in range(1, 4)]


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, 50… that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * 0.999)


def _build_segments(placed: Sequence[_TimedStep], total_ms: float) -> tuple[Segment, ...]:
    drawn = sorted(placed, key=lambda step: -step.step.duration_ms)[:_MAX_SEGMENTS]
    labels: list[tuple[float, float]] = []
    found = [_add_label(_build_segment(step, total_ms), labels) for step in drawn]
    return tuple(sorted(found, key=lambda segment: segment.x))


def _build_segment(placed: _TimedStep, total_ms: float) -> Segment:
    x, width = _compute_span(placed.begin_ms, placed.begin_ms + placed.step.duration_ms, total_ms)
    return Segment(placed.number, x, width, _format_title(placed))


def _format_title(placed: _TimedStep) -> str:
    step = placed.step
    if isinstance(step, HookReport):
        what = f"{step.phase} {step.plugin or 'migration'} {step.hook}"
    else:
        what = shorten_sql(step.sql, 100)
    return "\n".join([f"{placed.number}: {what}", format_duration(step.duration_ms), *describe_effects(step)])


def _add_label(segment: Segment, taken: list[tuple[float, float]]) -> Segment:
    """Add a label unless it would overlap another; call this for the longest segment first."""
    half = 50 * (len(segment.number) * _DIGIT_PX + 2) / _TRACK_PX
    x = min(max(segment.x + segment.width / 2, half), 100 - half)
    if any(x - half < end and begin < x + half for begin, end in taken):
        return segment
    taken.append((x - half, x + half))
    return evolve(segment, label_x=round(x, 2))


def _compute_span(begin_ms: float, end_ms: float, total_ms: float) -> tuple[float, float]:
    begin, end = (min(100.0, max(0.0, 100 * value / total_ms)) for value in (begin_ms, end_ms))
    width = max(_MIN_WIDTH_PERCENT, end - begin)
    return round(min(begin, 100 - width), 2), round(width, 2)


def _build_lanes(
    migration: MigrationReport, placed: Sequence[_TimedStep], total_ms: float
) -> tuple[Lane, ...]:
    """Return one lane per relation, sorted by long blocks, blocked access and duration."""
    lanes: dict[str, list[_HeldInterval]] = {}
    for held in _list_held(migration, placed, total_ms):
        lanes.setdefault(held.lock.relation, []).append(held)
    ordered = sorted(lanes.items(), key=lambda lane: (lane[0] not in migration.long_blocks, *_rank(lane[1])))
    return tuple(
        _build_lane(relation, held, relation in migration.long_blocks, total_ms) for relation, held in ordered
    )


def _rank(held: Iterable[_HeldInterval]) -> tuple[int, float]:
    strongest = min(held, key=_rank_held)
    return _rank_held(strongest)


def _rank_held(held: _HeldInterval) -> tuple[int, float]:
    return -len(held.lock.blocks), held.begin_ms - held.end_ms


def _list_held(
    migration: MigrationReport, placed: Sequence[_TimedStep], total_ms: float
) -> Iterator[_HeldInterval]:
    seen = set()
    for step in placed:
        for lock in step.step.locks:
            seen.add(lock.relation)
            yield _build_held(lock, step, total_ms)
    yield from (_build_held(lock, None, total_ms) for lock in migration.locks if lock.relation not in seen)


def _build_held(lock: Lock, taken_by: _TimedStep | None, total_ms: float) -> _HeldInterval:
    begin_ms = taken_by.begin_ms if taken_by else 0.0
    if lock.transient:
        lasted_ms = (
            lock.held_ms if lock.held_ms is not None else (taken_by.step.duration_ms if taken_by else 0)
        )
        return _HeldInterval(
            lock, begin_ms, begin_ms + lasted_ms, vague=taken_by is None or lock.held_ms is None
        )
    if lock.held_ms is None:
        return _HeldInterval(lock, begin_ms, total_ms, vague=True)
    return _HeldInterval(lock, total_ms - lock.held_ms, total_ms)


def _build_lane(relation: str, held: Sequence[_HeldInterval], long: bool, total_ms: float) -> Lane:
    # SVG draws later elements on top: the strongest lock must cover the weaker ones of the same relation.
    ordered = sorted(held, key=lambda interval: (len(interval.lock.blocks), LockMode[interval.lock.mode]))
    strongest = ordered[-1].lock
    return Lane(
        relation,
        strongest.kind,
        _describe_lane(strongest, len(held)),
        choose_tone(strongest),
        long,
        tuple(_build_bar(interval, total_ms) for interval in ordered),
    )


def _describe_lane(lock: Lock, count: int) -> str:
    what = (
        f"blocks {format_blocked(lock.blocks)}{format_held_time(lock)}"
        if lock.blocks
        else f"locked{format_held_time(lock)}"
    )
    return what if count == 1 else f"{what}; {format_count(count, 'lock')}"


def _build_bar(held: _HeldInterval, total_ms: float) -> Bar:
    x, width = _compute_span(held.begin_ms, held.end_ms, total_ms)
    lock = held.lock
    lines = [lock.relation, lock.mode, f"blocks {format_blocked(lock.blocks)}{format_held_time(lock)}"]
    if held.vague:
        lines.append("start not measured")
    return Bar(x, width, choose_tone(lock), "\n".join(lines), held.vague)


def choose_tone(lock: Lock) -> str:
    """Return the CSS class for a lock's colour."""
    return {"reads and writes": "both"}.get(format_blocked(lock.blocks), format_blocked(lock.blocks))
