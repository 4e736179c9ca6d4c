"""The page of fleets shows what ``make demo-fleet`` prints."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What depends on the machine, and on when the process is killed.
_VARIES = (
    # How long each target took and will take, how the gate judges that, and which one of several is the median.
    (re.compile(r"^(rehearsed  tenant_.*|failed     tenant_.*|rehearsed \d+ of .*)$", re.M), "REHEARSED"),
    (re.compile(r"^(migrations/.*|  on .*|gate: .*|next: .*)\n", re.M), ""),
    (re.compile(r"\d+(\.\d+)? (ms|s|min)\b"), "TIME"),
    (re.compile(r"tenant_\d\d(?= +wave 3)"), "TENANT"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "FINGERPRINT"),
    (re.compile(r"(\d+ (failed|running|waiting|done|unchanged)(, )?)+"), "COUNTS"),
    (re.compile(r" +"), " "),
)


def simplify(text: str) -> list[str]:
    """Return the lines without what varies, each once in a row."""
    for pattern, word in _VARIES:
        text = pattern.sub(word, text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [line for line, before in zip(lines, ["", *lines], strict=False) if line != before]


@pytest.mark.slow
def test_the_page_shows_what_the_demo_prints():
    pytest.importorskip("distributed", reason="the extra [dask] is not installed")
    page = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- begin demo -->\n```console\n")[2].partition("\n```")[0]

    printed = runpy.run_path(str(ROOT / "examples" / "fleet" / "demo.py"))["print_demo"]()

    assert simplify(printed) == simplify(shown)
    assert printed.count("40 of 40 tenants have their two invoices, and one entry in their ledger") == 2
    assert printed.count("without 1 target that will fail; nothing was changed or recorded") == 1
    assert "[unbounded-dml]" in printed
    assert "tenant_07: table tenant.old_invoices: added" in printed
