"""The dashboard in Chromium, from a phone to a desk, with a short and a long history: nothing cut off or loaded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from confiture.models.dashboard import Dashboard, DatabaseView, ObjectVersions, PredictionPair
from confiture.models.event import Event, EventError, EventHook, EventLock
from confiture.models.schema import ObjectDifference
from confiture.output.dashboard_page import render
from tests.page.test_browser import CHROMIUM, framed, measure

WIDTHS_PX = (390, 800, 1400)
COUNTS = (1, 30, 1000)
LONG = "a_name_that_goes_on_and_on_without_any_place_to_break_it_and_then_some_more"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


def make_event(number: int) -> Event:
    """Return the event of this number; every seventh failed, every eleventh was undone."""
    kind: Any = "FAILED" if number % 7 == 0 else "REVERTED" if number % 11 == 0 else "APPLIED"
    return Event(
        number=number,
        kind=kind,
        version=f"2026{number:010d}",
        name=LONG if number % 5 == 0 else "add_orders",
        direction="backward" if kind == "REVERTED" else "forward",
        at=(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)).isoformat(),
        by="deploy",
        duration_ms=float(number % 97 * number % 9000),
        transactional=True,
        hooks=(EventHook("after_ddl", "backfill", "kept", 12.0),),
        locks=(EventLock(f"public.{LONG}", "AccessExclusiveLock", ("reads", "writes")),),
        git_revision=f"{number:040x}",
        schema_after=f"{number:064x}",
        error=EventError(f"could not do it because of {LONG}") if kind == "FAILED" else None,
    )


def make_dashboard(count: int) -> Dashboard:
    """Return a database with so many events, one that drifted, and one that cannot be read."""
    events = tuple(make_event(number) for number in range(1, count + 1))
    drift = (ObjectDifference("table", f"public.{LONG}", "changed", f"-{LONG}\n+{LONG * 3}"),)
    view = DatabaseView(
        "shop",
        server_version="18.1",
        events=events,
        pending=(),
        drift=(),
        objects=(ObjectVersions("table", f"public.{LONG}", 3, 1),),
        predictions=(PredictionPair("20260101", 3, 100.0, 50.0, 200.0, 400.0),),
        block_limit_ms=500.0,
        block_limit="500ms",
    )
    others = (
        DatabaseView(LONG, server_version="18.1", events=events[:1], pending=("2",), drift=drift),
        DatabaseView("gone", fault=f"the server cannot be reached: {LONG}"),
    )
    return Dashboard("2026-11-27T10:00:00+00:00", (view, *others))


@pytest.fixture(scope="module")
def measurements(tmp_path_factory) -> dict[tuple[str, int], Any]:
    """What was measured on each history at each width."""
    pages = {str(count): render(make_dashboard(count)) for count in COUNTS}
    frames = "\n".join(framed(name, page, width) for name, page in pages.items() for width in WIDTHS_PX)
    found = measure(tmp_path_factory.mktemp("measured"), frames)
    return {(item["name"], item["width"]): item for item in found}


@pytest.mark.parametrize("width_px", WIDTHS_PX)
@pytest.mark.parametrize("count", COUNTS)
def test_nothing_is_cut_off_overlaps_or_is_loaded(measurements, count, width_px):
    found = measurements[str(count), width_px]

    assert found["folded"] == []
    assert found["unfolded"] == []
    assert found["loaded"] == []


@pytest.mark.parametrize(
    "scheme, paper",
    [((), "rgb(247, 246, 243)"), (("--force-dark-mode",), "rgb(20, 23, 26)")],
    ids=["light", "dark"],
)
def test_it_is_drawn_light_and_dark(tmp_path, scheme, paper):
    (found,) = measure(tmp_path, framed("30", render(make_dashboard(30)), 800), *scheme)

    assert found["paper"] == paper
