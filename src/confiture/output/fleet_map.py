"""Build the heat map of a fleet run: a small cell for each target, by its state and how long it took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from attrs import frozen

from confiture.output.format import format_count
from confiture.units import format_duration

if TYPE_CHECKING:
    from confiture.models.fleet import RunRecord, TargetRecord

MOST_CELLS = 5_000
"""A page with more is slow to open, and no screen shows it."""
STATES = ("failed", "running", "waiting", "done", "unchanged")
_SHADES = 5
_MOST_NAMES = 20
_MOST_CAUSES = 10


@frozen
class MapCell:
    """One target on the map.

    Attributes:
        state: What became of it.
        shade: How long it took, from 1 for the fastest to 5; 0 if it took no time yet.
        words: The same in words, for the tooltip.
    """

    state: str
    shade: int
    words: str


@frozen
class MapWave:
    """One wave on the map.

    Attributes:
        number: Counted from 1.
        words: How many targets are in which state, and the median of what they took.
        cells: Its targets, in order.
        left_out: How many more there are.
    """

    number: int
    words: str
    cells: tuple[MapCell, ...]
    left_out: int


@frozen
class FleetMap:
    """The heat map of a run.

    Attributes:
        title: What became of the run.
        waves: Its waves, in order.
        causes: Why targets failed, the most frequent cause first, each with how many and some of their names.
        scale: What the shades stand for; empty if nothing took time.
    """

    title: str
    waves: tuple[MapWave, ...]
    causes: tuple[tuple[str, str, str], ...]
    scale: str


def render(record: RunRecord) -> str:
    """Return the page of a run."""
    from confiture.output.html import load_templates

    template = load_templates().get_template("fleet.html.j2")
    page: str = template.render(map=build_map(record), record=record)
    # Character references, because stdout may have another encoding than the UTF-8 that the page names.
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def build_map(record: RunRecord) -> FleetMap:
    """Return the map of a run."""
    took = _list_times(record.targets)
    low_ms, high_ms = (min(took), max(took)) if took else (0.0, 0.0)
    waves: dict[int, list[TargetRecord]] = {}
    for target in record.targets:
        waves.setdefault(target.wave, []).append(target)
    room = MOST_CELLS
    drawn = []
    for number, targets in sorted(waves.items()):
        cells = tuple(_build_cell(target, low_ms, high_ms) for target in targets[:room])
        room -= len(cells)
        drawn.append(MapWave(number + 1, describe_targets(targets), cells, len(targets) - len(cells)))
    reason = f": {record.reason}" if record.reason else ""
    total = format_count(len(record.targets), "target")
    title = f"Fleet run {record.run} is {record.state}{reason}; {total}: {_count_states(record.targets)}"
    scale = f"{format_duration(low_ms)} to {format_duration(high_ms)}" if took else ""
    return FleetMap(title, tuple(drawn), _list_causes(record), scale)


def _build_cell(target: TargetRecord, low_ms: float, high_ms: float) -> MapCell:
    took = f" in {format_duration(target.duration_ms)}" if target.duration_ms else ""
    tries = f", attempt {target.attempts}" if target.attempts > 1 else ""
    error = f": {target.error}" if target.error and target.state == "failed" else ""
    shade = _choose_shade(target.duration_ms, low_ms, high_ms)
    return MapCell(target.state, shade, f"{target.name}: {target.state}{took}{tries}{error}")


def _choose_shade(ms: float | None, low_ms: float, high_ms: float) -> int:
    """Return the shade, on a logarithmic scale: a slow target may be a hundred times as slow as others."""
    if not ms:
        return 0
    if ms <= low_ms or high_ms <= low_ms:
        return 1
    share = math.log(ms / low_ms) / math.log(high_ms / low_ms)
    return 1 + min(_SHADES - 1, int(share * _SHADES))


def _list_times(targets: Iterable[TargetRecord]) -> list[float]:
    """Return how long each target took that had something to do."""
    return [target.duration_ms for target in targets if target.duration_ms and target.state != "unchanged"]


def describe_targets(targets: Sequence[TargetRecord]) -> str:
    """Return how many targets are in which state, and what they typically took."""
    took = _list_times(targets)
    typical = f"; median {format_duration(median(took))}" if took else ""
    return f"{_count_states(targets)}{typical}"


def _count_states(targets: Iterable[TargetRecord]) -> str:
    counts: Counter[str] = Counter(target.state for target in targets)
    return ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state])


def _list_causes(record: RunRecord) -> tuple[tuple[str, str, str], ...]:
    names: dict[str, list[str]] = {}
    for target in record.targets:
        if target.state == "failed":
            names.setdefault(target.error or "unknown", []).append(target.name)
    frequent = sorted(names.items(), key=lambda item: -len(item[1]))[:_MOST_CAUSES]
    return tuple((f"{len(listed):,} failed", cause, _shorten(listed)) for cause, listed in frequent)


def _shorten(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")
