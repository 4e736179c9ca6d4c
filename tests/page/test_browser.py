"""The page in Chromium, as wide as a desk and as a phone: nothing cut off, overlapping or loaded."""

from __future__ import annotations

import html
import json
import os
import shutil
import struct
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from confiture.output.html import render
from tests.page.samples import EVERY, everyday

WIDTHS_PX = (1280, 360)
_PATIENCE_S = 120
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


def chromium(profile: Path, page: Path, *arguments: str) -> bytes:
    """Open a page without a window, and return what Chromium prints."""
    assert CHROMIUM
    # Root has no sandbox to give; the pages are our own.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    answer = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            *sandbox,
            f"--user-data-dir={profile}",
            *arguments,
            page.as_uri(),
        ],
        capture_output=True,
        timeout=_PATIENCE_S,
        check=True,
    )
    return answer.stdout


def framed(name: str, page: str, width_px: int) -> str:
    """Return a page in a frame: a browser's window is never as narrow as a phone's."""
    style = f"width:{width_px}px;height:4000px;border:0"
    return f'<iframe data-name="{name}" style="{style}" srcdoc="{html.escape(page)}"></iframe>'


class Measured(HTMLParser):
    """Takes what the measuring script has left."""

    found: Any = None

    def handle_starttag(self, tag, attrs):
        if tag == "body":
            self.found = json.loads(dict(attrs)["data-measured"] or "null")


def measure(folder: Path, frames: str, *arguments: str) -> list[Any]:
    """Return what the measuring script finds in each frame."""
    page, parser = folder / "frames.html", Measured()
    script = Path(__file__).with_name("measure.js").read_text(encoding="utf-8")
    page.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><script>{script}</script><body>{frames}', encoding="utf-8"
    )
    parser.feed(
        chromium(folder / "profile", page, "--window-size=1400,1000", "--dump-dom", *arguments).decode()
    )
    found: list[Any] = parser.found
    return found


@pytest.fixture(scope="module")
def measurements(tmp_path_factory) -> dict[tuple[str, int], Any]:
    """What was measured on each sample at each width."""
    frames = "\n".join(framed(name, render(EVERY[name]), width) for name in EVERY for width in WIDTHS_PX)
    found = measure(tmp_path_factory.mktemp("measured"), frames)
    return {(item["name"], item["width"]): item for item in found}


@pytest.mark.parametrize("width_px", WIDTHS_PX)
@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_cut_off_or_overlaps(measurements, name, width_px):
    found = measurements[name, width_px]

    assert found["folded"] == []
    assert found["unfolded"] == []


@pytest.mark.parametrize("name", EVERY)
def test_the_browser_loads_nothing(measurements, name):
    assert measurements[name, WIDTHS_PX[0]]["loaded"] == []


def test_the_drawings_have_their_numbers(measurements):
    assert measurements["everyday", 360]["texts"] == measurements["everyday", 1280]["texts"] > 10


@pytest.mark.parametrize(
    "spoil",
    [
        (".lane { display: grid;", ".lane { display: grid; width: 90rem;"),
        ("svg text { fill", "svg text { font-size: 30px; fill"),
        (".lane .words {", ".lane .words { margin-left: -4rem;"),
    ],
)
def test_the_measuring_finds_what_is_wrong(tmp_path, monkeypatch, spoil):
    good = render(everyday())
    spoiled = good.replace(*spoil)
    assert spoiled != good

    (found,) = measure(tmp_path, framed("spoiled", spoiled, 1280))

    assert found["folded"] != []


@pytest.mark.parametrize(
    "scheme, paper",
    [((), "rgb(247, 246, 243)"), (("--force-dark-mode",), "rgb(20, 23, 26)")],
    ids=["light", "dark"],
)
@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_it_is_drawn_light_and_dark(tmp_path, width_px, scheme, paper):
    page, shot = tmp_path / "page.html", tmp_path / "page.png"
    frame = framed("everyday", render(everyday()), width_px)
    page.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{frame}', encoding="utf-8")

    (found,) = measure(tmp_path, frame, *scheme)
    chromium(tmp_path / "profile", page, f"--window-size={width_px},2000", f"--screenshot={shot}", *scheme)

    drawn = shot.read_bytes()
    assert found["paper"] == paper
    assert struct.unpack(">I", drawn[16:20])[0] >= width_px
    # An empty page of this size takes a tenth of it.
    assert len(drawn) > 50_000


def test_it_can_be_printed(tmp_path):
    page, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(render(everyday()), encoding="utf-8")

    chromium(tmp_path / "profile", page, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")

    assert pdf.read_bytes().startswith(b"%PDF")
