"""Render how accurate past predictions were, as text and as JSON."""

from __future__ import annotations

import json

from attrs import asdict

from confiture.escape import escape_control
from confiture.estimate.own_history import Calibration, CalibrationLine
from confiture.output.format import align_columns, format_count, format_duration

_MAX_STATEMENTS = 20


def render(calibration: Calibration, *, colour: bool = False) -> str:  # noqa: ARG001 - nothing to colour
    """Return the figures and the latest statements that they come from."""
    lines = [*_render_figures(calibration), *_render_damage(calibration)]
    return "\n".join([*lines, *_render_table(calibration.statements[-_MAX_STATEMENTS:])]) + "\n"


def render_json(calibration: Calibration) -> str:
    """Return all figures and statements as JSON."""
    document = {"schema_version": 1, **asdict(calibration)}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _render_figures(calibration: Calibration) -> list[str]:
    if not calibration.migrations:
        waiting = format_count(calibration.waiting, "migration")
        return [
            f"no predicted migration has run yet; {waiting} predicted and not run",
            "next: confiture dry-run --production FILE, then confiture run",
        ]
    lines = [
        f"{format_count(calibration.migrations, 'migration')} predicted and run, "
        f"{calibration.waiting} waiting"
    ]
    if calibration.predictions:
        lines.append(
            f"{format_count(calibration.predictions, 'interval')}: "
            f"{_format_percent(calibration.coverage90_percent)} within "
            f"nine times in ten, {_format_percent(calibration.coverage50_percent)} within half of the time; "
            f"median error {_format_percent(calibration.median_error_percent)}"
        )
    if calibration.bounds:
        lines.append(
            f"{format_count(calibration.bounds, 'bound')}: "
            f"{_format_percent(calibration.bounds_kept_percent)} kept"
        )
    if calibration.elsewhere:
        lines.append(
            f"{format_count(calibration.elsewhere, 'statement')} not counted: "
            "the tables had another size than predicted"
        )
    return lines


def _render_damage(calibration: Calibration) -> list[str]:
    if not calibration.damaged:
        return []
    return [f"{format_count(calibration.damaged, 'stored migration')} not counted: damaged"]


def _format_percent(percent: float | None) -> str:
    return "unknown" if percent is None else f"{percent:.0f} %"


def _render_table(lines: tuple[CalibrationLine, ...]) -> list[str]:
    if not lines:
        return []
    return [
        "",
        *align_columns(
            [("migration", "line", "predicted", "nine times in ten", "took", ""), *map(_build_row, lines)]
        ),
    ]


def _build_row(line: CalibrationLine) -> tuple[str, ...]:
    low, high = map(format_duration, line.interval90_ms)
    return (
        escape_control(f"{line.version} {line.name}".rstrip()),
        str(line.line or ""),
        format_duration(line.p50_ms) if line.p50_ms is not None else "a bound",
        f"{low} to {high}" if line.p50_ms is not None else f"at most {high}",
        format_duration(line.actual_ms),
        "" if line.inside else "outside",
    )
