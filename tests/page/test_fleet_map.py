"""The heat map of a fleet run: one cell for each target, readable on a phone and on a desk, and names stay text."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from confiture.models.dashboard import Dashboard
from confiture.models.fleet import RunRecord, TargetRecord
from confiture.output import dashboard_page
from confiture.output.fleet_map import MOST_CELLS, build_map, render
from tests.page.test_browser import CHROMIUM, framed, measure

WIDTHS_PX = (390, 800, 1400)
COUNTS = (40, 3000)
LONG = "a_name_that_goes_on_and_on_without_any_place_to_break_it_and_then_some_more"
SCRIPT = "<script>alert(1)</script>"


def make_target(number: int, count: int) -> TargetRecord:
    """Return a target: some fail, some run, and the last ones wait."""
    state: Any = "failed" if number % 37 == 5 else "waiting" if number > 0.8 * count else "done"
    took_ms = None if state == "waiting" else 50.0 + number % 900
    error = f"{SCRIPT} {LONG}" if state == "failed" else None
    name = f"<b>{LONG}" if number % 50 == 5 else f"tenant_{number:04d}"
    return TargetRecord(name, min(number, 2), state, 1, error, took_ms)


def make_record(count: int) -> RunRecord:
    """Return a run of so many targets in three waves."""
    targets = tuple(make_target(number, count) for number in range(count))
    return RunRecord(3, "plan", "running", None, "2026-11-27T10:00:00+00:00", targets)


def test_every_target_has_a_cell_with_words_up_to_a_limit():
    record = make_record(40)
    large = make_record(MOST_CELLS + 10)

    page, drawn = render(record), build_map(large)

    assert page.count('<li class="cell ') == 40
    assert 'title="tenant_0000: done in 50 ms"' in page
    assert "1 failed" in page
    assert sum(len(wave.cells) for wave in drawn.waves) == MOST_CELLS
    assert sum(wave.left_out for wave in drawn.waves) == 10


def test_names_and_errors_are_text_and_nothing_else():
    page = render(make_record(40))

    assert page.isascii()
    assert SCRIPT not in page
    assert "<b>" not in page
    assert f"&lt;b&gt;{LONG}" in page


def test_a_run_that_has_not_begun_has_no_scale():
    record = make_record(40)
    waiting = evolve(
        record, targets=tuple(evolve(one, state="waiting", duration_ms=None) for one in record.targets)
    )

    drawn = build_map(waiting)

    assert drawn.scale == ""
    assert {cell.shade for wave in drawn.waves for cell in wave.cells} == {0}
    assert drawn.waves[0].words == "1 waiting"


@pytest.fixture(scope="module")
def measurements(tmp_path_factory) -> dict[tuple[str, int], Any]:
    """What was measured on each map at each width, on the dashboard."""
    dashboards = {str(count): Dashboard("2026", (), make_record(count)) for count in COUNTS}
    pages = {name: dashboard_page.render(dashboard) for name, dashboard in dashboards.items()}
    frames = "\n".join(framed(name, page, width) for name, page in pages.items() for width in WIDTHS_PX)
    found = measure(tmp_path_factory.mktemp("measured"), frames)
    return {(item["name"], item["width"]): item for item in found}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width_px", WIDTHS_PX)
@pytest.mark.parametrize("count", COUNTS)
def test_nothing_is_cut_off_overlaps_or_is_loaded(measurements, count, width_px):
    found = measurements[str(count), width_px]

    assert found["folded"] == []
    assert found["unfolded"] == []
    assert found["loaded"] == []
