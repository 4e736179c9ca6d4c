"""Render the record of a fleet run."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

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


def render(record: RunRecord, *, colour: bool = False) -> str:
    """Return the failures first, then how many targets are in which state, by wave and by cause."""
    counts: Counter[str] = Counter(target.state for target in record.targets)
    notable = [target for target in record.targets if target.state not in ("done", "unchanged")]
    shown = (notable or list(record.targets))[:_MOST_SHOWN]
    rows = align_columns([_build_row(target) for target in shown]) if shown else []
    more = len(notable or record.targets) - len(shown)
    summary = ", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state])
    lines = [*rows, *([style_quiet(f"and {more} more")] if more > 0 else []), "", *_list_causes(record)]
    reason = f": {escape_control(record.reason)}" if record.reason else ""
    title = f"fleet run {record.run} is {record.state}{reason}"
    return join_lines([*lines, f"{title}; {format_count(len(record.targets), 'target')}: {summary}"], colour)


def _build_row(target: TargetRecord) -> tuple[str, ...]:
    took = "" if target.duration_ms is None else format_duration(target.duration_ms).strip()
    return (
        _STYLES[target.state](target.state),
        escape_control(target.name),
        style_quiet(f"wave {target.wave + 1}"),
        took,
        escape_control(target.error or ""),
    )


def _list_causes(record: RunRecord) -> list[str]:
    causes = Counter(target.error or "unknown" for target in record.targets if target.state == "failed")
    return [f"{count} failed: {escape_control(cause)}" for cause, count in causes.most_common()]


def render_json(record: RunRecord) -> str:
    """Return the record as JSON."""
    document = {
        "schema_version": 1,
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
                "error": target.error,
                "duration_ms": target.duration_ms,
            }
            for target in record.targets
        ],
    }
    return json.dumps(document, indent=2) + "\n"
