"""Every convention has a page that starts with the one command to type."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from confiture.sources.find_source import list_names

PAGES = Path(__file__).parents[2] / "docs" / "adopt"
NAMES = [name for name in list_names() if name != "plain"]


@pytest.mark.parametrize("name", NAMES)
def test_a_convention_has_a_page_that_starts_with_the_command(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")

    assert re.match(rf"# [^\n]+\n\n```console\n\$ confiture adopt --from {name}\b", page)


def test_the_index_names_every_page_and_no_other():
    index = (PAGES / "README.md").read_text(encoding="utf-8")

    assert sorted(re.findall(r"\]\((\w[\w-]*)\.md\)", index)) == sorted(NAMES)
