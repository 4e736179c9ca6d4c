"""The page of the rules is what the rules say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.rules.examples import RULES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_built_from_the_rules():
    spec = importlib.util.spec_from_file_location("build_rules", DOCS / "build_rules.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)

    assert build.page() == (DOCS / "rules.md").read_text(encoding="utf-8")


def test_every_rule_has_a_section_and_a_way():
    text = (DOCS / "rules.md").read_text(encoding="utf-8")

    sections = {part.split("\n", 1)[0]: part for part in text.split("\n## ")[1:]}
    assert list(sections) == list(RULES)
    assert [
        name
        for name, part in sections.items()
        if "Instead:" not in part and "The result differs:" not in part
    ] == []
