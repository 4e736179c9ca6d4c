"""Render the dashboard as one page for a browser, which loads nothing and runs no scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import asdict, frozen

from confiture.escape import escape_control
from confiture.models.dashboard import Dashboard, DatabaseView
from confiture.models.event import Event
from confiture.output.dashboard_figures import (
    Figures,
    compute_figures,
    describe_durations,
    describe_step,
    format_share,
)
from confiture.output.fleet_map import build_map
from confiture.output.fleet_text import build_document
from confiture.output.format import format_count
from confiture.output.history_items import Item, list_runs, make_event, merge_items
from confiture.output.history_text import describe_schema_step
from confiture.output.html import load_templates
from confiture.units import format_duration

# A bar of full height stands for the slowest migration; the scale is logarithmic, and a bar of the
# fastest one stays visible.
_LEAST_HEIGHT = 0.08
_MOST_ROWS = 200
_MOST_LOCKS = 5
_MOST_CHARACTERS = 300
_SHOWN_DIGITS = 12


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
    longest_ms: float
    rows: tuple[tuple[Event, tuple[str, ...]], ...]
    left_out: int


def render(dashboard: Dashboard, **_options: Any) -> str:
    """Return the page."""
    sections = [_build_section(number, view) for number, view in enumerate(dashboard.databases, 1)]
    bad = [one for one in sections if one.figures.good is False or one.view.fault]
    page: str = (
        load_templates()
        .get_template("dashboard.html.j2")
        .render(
            dashboard=dashboard,
            sections=sections,
            title=_build_title(sections, bad),
            share=format_share,
            moment=_format_moment,
            shorten=_shorten,
            left_out=_describe_left_out,
            map=build_map(dashboard.fleet) if dashboard.fleet else None,
        )
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
    runs = list_runs(view.events, view.migrations)
    rows = merge_items(view.events, view.migrations)[::-1]
    return DatabaseSection(
        f"d{number}",
        view,
        figures,
        _build_bars(runs),
        describe_durations(figures),
        max((event.duration_ms for event in runs), default=0.0),
        tuple((make_event(row), tuple(_list_details(row))) for row in rows[:_MOST_ROWS]),
        max(0, len(rows) - _MOST_ROWS),
    )


def _build_bars(events: tuple[Event, ...]) -> tuple[EventBar, ...]:
    most = max((event.duration_ms for event in events), default=1.0)
    return tuple(EventBar(event, _scale(event.duration_ms, most), _describe(event)) for event in events)


def _scale(duration_ms: float, most_ms: float) -> float:
    share = math.log1p(max(0.0, duration_ms)) / math.log1p(most_ms) if most_ms > 0 else 0.0
    return max(_LEAST_HEIGHT, share)


def _describe(event: Event) -> str:
    took = format_duration(event.duration_ms)
    error = f": {_shorten(event.error.message)}" if event.error else ""
    return (
        f"{_format_moment(event.at)} UTC: {event.label} {event.kind.lower()} by {event.by} in {took}{error}"
    )


def _format_moment(at: str) -> str:
    return at[:19].replace("T", " ")


def _describe_left_out(items: Sequence[object], most: int) -> str:
    """Return how many of the items a list of the page leaves out; nothing if it has them all."""
    more = len(items) - most
    return f"; {more:,} more are in --output json" if more > 0 else ""


def _shorten(text: str) -> str:
    """Return the beginning of a message: the answers are to stay on the first screen."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _list_details(item: Item) -> Iterator[str]:
    """Yield what else is recorded of an event."""
    event = make_event(item)
    if not isinstance(item, Event):
        yield "baseline, not run" if item.baseline else "recorded by an older version, without an event"
    if not event.transactional:
        yield "no-transaction"
    if event.git_revision:
        yield f"commit {event.git_revision[:_SHOWN_DIGITS]}"
    for lock in event.locks[:_MOST_LOCKS]:
        held = "" if lock.held_ms is None else f" for {format_duration(lock.held_ms)}"
        yield f"locked {lock.relation} {lock.mode}{held}"
    if len(event.locks) > _MOST_LOCKS:
        yield f"and {format_count(len(event.locks) - _MOST_LOCKS, 'relation')} more"
    for hook in event.hooks:
        took = "" if hook.duration_ms is None else f" in {format_duration(hook.duration_ms)}"
        yield f"hook {hook.phase} {hook.hook} {hook.outcome}{took}"
    if event.plugins:
        yield "plugins " + ", ".join(f"{plugin.name} {plugin.version}" for plugin in event.plugins)
    if isinstance(item, Event):
        yield describe_schema_step(event.schema_before, event.schema_after)


def render_text(dashboard: Dashboard, **_options: Any) -> str:
    """Return a line a database: whether its schema is as the ledger says."""
    lines = (f"{view.name}: {describe_step(view)[1]}" for view in dashboard.databases)
    return "".join(f"{escape_control(line)}\n" for line in lines)


def render_json(dashboard: Dashboard) -> str:
    """Return the same as JSON."""
    fleet = build_document(dashboard.fleet) if dashboard.fleet else None
    document = {
        "schema_version": 1,
        "made_at": dashboard.made_at,
        "databases": [_build_database(view) for view in dashboard.databases],
        "fleet": fleet,
    }
    return json.dumps(document, indent=2) + "\n"


def _build_database(view: DatabaseView) -> dict[str, Any]:
    good, sentence = describe_step(view)
    figures = compute_figures(view)
    return {
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
        "migrations": [asdict(one) for one in view.migrations],
        "blocks": [
            {
                "event": use.event.number,
                "relations": use.relations,
                "held_ms": use.held_ms,
                "measured": use.measured,
                "share": use.share,
            }
            for use in figures.blocks
        ],
        "people": dict(figures.people),
        "revisions": dict(figures.revisions),
        "events": [{**asdict(event), "schema_unread": event.schema_unread} for event in view.events],
    }
