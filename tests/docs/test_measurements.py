"""The page of measurements has a place for every benchmark, and pasting fills it."""

from __future__ import annotations

import pytest

from tests.benchmarks.measurements import MODULES, PAGE, ROOT, paste


@pytest.mark.parametrize("name", MODULES)
def test_every_benchmark_has_a_place_on_the_page_and_in_the_tree(name):
    file = ROOT / MODULES[name].replace(".", "/")

    pasted = paste(PAGE.read_text(encoding="utf-8"), name, "7 jars")

    assert "7 jars" in pasted
    assert file.with_suffix(".py").exists() or (file / "__main__.py").exists()


def test_pasting_replaces_the_old_output_and_nothing_else():
    page = "before\n<!-- begin bench -->\nold\n<!-- end bench -->\nafter\n"

    pasted = paste(page, "bench", "new\n")

    assert pasted == "before\n<!-- begin bench -->\n```text\nnew\n```\n<!-- end bench -->\nafter\n"


def test_tables_are_pasted_as_tables():
    page = "<!-- begin calibration -->\nold\n<!-- end calibration -->\n"

    assert "```" not in paste(page, "calibration", "| a |\n|---|\n")


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="no markers for bench"):
        paste("nothing here", "bench", "new")
