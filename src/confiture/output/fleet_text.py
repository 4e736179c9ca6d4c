"""Render the record of a fleet run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from confiture.escape import escape_control
from confiture.output.format import (
    align_columns,
    format_count,
    style_bad,
    style_good,
    style_notable,
    style_quiet,
)
from confiture.output.listings import join_lines
from confiture.units import format_duration

if TYPE_CHECKING:
    from confiture.models.fleet import RunRecord, TargetRecord

_STYLES = {
    "failed": style_bad,
    "running": style_notable,
    "waiting": style_notable,
    "done": style_good,
    "unchanged": style_quiet,
}
_MOST_SHOWN = 40
_MOST_CAUSES = 10


def render(record: RunRecord, *, colour: bool = False) -> str:
    """Return the waves, what failed or runs, and how many failed for which cause."""
    notable = [target for target in record.targets if target.state in ("failed", "running")]
    rows = align_columns([_build_row(target) for target in notable[:_MOST_SHOWN]]) if notable else []
    more = len(notable) - _MOST_SHOWN
    reason = f": {escape_control(record.reason)}" if record.reason else ""
    total = format_count(len(record.targets), "target")
    lines = [
        *align_columns([_build_wave(number, targets) for number, targets in _group_by_wave(record)]),
        "",
        *rows,
        *([style_quiet(f"and {more} more")] if more > 0 else []),
        *_list_causes(record),
        *([""] if notable else []),
        f"fleet run {record.run} is {record.state}{reason}; {total}: {_count_states(record.targets)}",
    ]
    return join_lines(lines, colour)


def _group_by_wave(record: RunRecord) -> list[tuple[int, list[TargetRecord]]]:
    waves: dict[int, list[TargetRecord]] = {}
    for target in record.targets:
        waves.setdefault(target.wave, []).append(target)
    return sorted(waves.items())


def _build_wave(number: int, targets: Sequence[TargetRecord]) -> tuple[str, ...]:
    took = [target.duration_ms for target in targets if target.duration_ms and target.state != "unchanged"]
    typical = f"{format_duration(median(took)).strip()} a target" if took else ""
    return f"wave {number + 1}", _count_states(targets), style_quiet(typical)


def _count_states(targets: Iterable[TargetRecord]) -> str:
    counts: Counter[str] = Counter(target.state for target in targets)
    return ", ".join(_STYLES[state](f"{counts[state]} {state}") for state in _STYLES if counts[state])


def _build_row(target: TargetRecord) -> tuple[str, ...]:
    took = "" if target.duration_ms is None else format_duration(target.duration_ms).strip()
    tries = f"attempt {target.attempts}" if target.attempts > 1 else ""
    return (
        _STYLES[target.state](target.state),
        escape_control(target.name),
        style_quiet(f"wave {target.wave + 1}"),
        took,
        style_quiet(tries),
        escape_control(target.error or ""),
    )


def _list_causes(record: RunRecord) -> list[str]:
    """Return the causes that several targets share, the most frequent first."""
    causes = Counter(target.error or "unknown" for target in record.targets if target.state == "failed")
    return [
        f"{count} failed: {escape_control(cause)}"
        for cause, count in causes.most_common(_MOST_CAUSES)
        if count > 1
    ]


def render_json(record: RunRecord) -> str:
    """Return the record as JSON."""
    return json.dumps({"schema_version": 1, **build_document(record)}, indent=2) + "\n"


def build_document(record: RunRecord) -> dict[str, Any]:
    """Return the record as JSON has it."""
    return {
        "run": record.run,
        "state": record.state,
        "reason": record.reason,
        "started_at": record.started_at,
        "targets": [
            {
                "name": target.name,
                "wave": target.wave + 1,
                "state": target.state,
                "attempts": target.attempts,
                "exit_code": target.exit_code,
                "error": target.error,
                "duration_ms": target.duration_ms,
            }
            for target in record.targets
        ],
    }
