"""Render the dashboard as one page for a browser, which loads nothing and runs no scripts."""

from __future__ import annotations

import json
import math
from typing import Any

from attrs import asdict, frozen

from confiture.models.dashboard import Dashboard, DatabaseView
from confiture.models.event import Event
from confiture.output.dashboard_figures import (
    Figures,
    compute_figures,
    describe_durations,
    describe_step,
    format_share,
)
from confiture.output.format import format_count
from confiture.output.html import load_templates
from confiture.units import format_duration

# What a bar of full height stands for is the slowest migration; the scale is logarithmic, and a bar of the
# fastest one stays visible.
_LEAST_HEIGHT = 0.08
_MOST_ROWS = 200


@frozen
class EventBar:
    """One event in the timeline.

    Attributes:
        event: The event.
        height: The share of the full height.
        words: What it shows, for the tooltip and for readers without one.
    """

    event: Event
    height: float
    words: str


@frozen
class DatabaseSection:
    """One database on the page."""

    anchor: str
    view: DatabaseView
    figures: Figures
    bars: tuple[EventBar, ...]
    durations: str
    rows: tuple[Event, ...]
    left_out: int


def render(dashboard: Dashboard, **_options: Any) -> str:
    """Return the page."""
    sections = [_build_section(number, view) for number, view in enumerate(dashboard.databases, 1)]
    bad = [one for one in sections if one.figures.good is False or one.view.fault]
    page: str = (
        load_templates()
        .get_template("dashboard.html.j2")
        .render(dashboard=dashboard, sections=sections, title=_build_title(sections, bad), share=format_share)
    )
    # Character references, because stdout may have another encoding than the UTF-8 that the page names.
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _build_title(sections: list[DatabaseSection], bad: list[DatabaseSection]) -> str:
    if len(sections) == 1:
        return f"{sections[0].view.name}: {sections[0].figures.in_step}"
    if bad:
        return f"{len(bad)} of {format_count(len(sections), 'database')} need a look"
    return f"{format_count(len(sections), 'database')}: none is known to differ from its ledger"


def _build_section(number: int, view: DatabaseView) -> DatabaseSection:
    figures = compute_figures(view)
    rows = tuple(reversed(view.events))
    return DatabaseSection(
        f"d{number}",
        view,
        figures,
        _build_bars(view.events),
        describe_durations(figures),
        rows[:_MOST_ROWS],
        max(0, len(rows) - _MOST_ROWS),
    )


def _build_bars(events: tuple[Event, ...]) -> tuple[EventBar, ...]:
    most = max((event.duration_ms for event in events), default=1.0)
    return tuple(EventBar(event, _scale(event.duration_ms, most), _describe(event)) for event in events)


def _scale(duration_ms: float, most_ms: float) -> float:
    share = math.log1p(max(0.0, duration_ms)) / math.log1p(most_ms) if most_ms > 0 else 0.0
    return max(_LEAST_HEIGHT, share)


def _describe(event: Event) -> str:
    label = f"{event.version} {event.name}".rstrip()
    took = format_duration(event.duration_ms)
    error = f": {event.error.message}" if event.error else ""
    return (
        f"{event.at[:19].replace('T', ' ')} UTC: {label} {event.kind.lower()} by {event.by} in {took}{error}"
    )


def render_text(dashboard: Dashboard, **_options: Any) -> str:
    """Return a line a database: whether its schema is as the ledger says."""
    return "".join(f"{view.name}: {describe_step(view)[1]}\n" for view in dashboard.databases)


def render_json(dashboard: Dashboard) -> str:
    """Return the same as JSON."""
    databases = []
    for view in dashboard.databases:
        good, sentence = describe_step(view)
        figures = compute_figures(view)
        databases.append(
            {
                "name": view.name,
                "fault": view.fault,
                "server_version": view.server_version,
                "as_recorded": good,
                "sentence": sentence,
                "pending": view.pending,
                "changed": view.changed,
                "p50_ms": figures.p50_ms,
                "p95_ms": figures.p95_ms,
                "hook_share": figures.hook_share,
                "last_failure": figures.last_failure.number if figures.last_failure else None,
                "slowest": [event.number for event in figures.slowest],
                "drift": None if view.drift is None else [asdict(one) for one in view.drift],
                "objects": [asdict(one) for one in view.objects],
                "predictions": [{**asdict(one), "inside": one.inside} for one in view.predictions],
                "events": [asdict(event) for event in view.events],
            }
        )
    document = {"schema_version": 1, "made_at": dashboard.made_at, "databases": databases}
    return json.dumps(document, indent=2) + "\n"
