"""The rule that docs/writing-rules.md shows works as it is printed there."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import fields

from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.rule import Hit, Rule

PAGE = (Path(__file__).parents[2] / "docs" / "writing-rules.md").read_text(encoding="utf-8")
PROJECT = """
    [project]
    name = "confiture-acme"
    version = "1.0"

    [project.entry-points.confiture]
    acme = "confiture_acme"

    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"
"""


def make_package(folder: Path) -> Path:
    """Write the page's first Python example as a plugin package."""
    found = re.search(r"```python\n(.*?)```", PAGE, re.S)
    assert found
    module = folder / "src" / "confiture_acme" / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text(found[1])
    (folder / "pyproject.toml").write_text(re.sub(r"^    ", "", PROJECT, flags=re.M))
    return folder


def test_the_example_is_a_plugin_whose_rule_is_applied(tmp_path, files, install_plugin):
    files.installed = (install_plugin.project(make_package(tmp_path / "acme")),)
    files.write("1_a.sql", "CREATE EXTENSION postgis;\nCREATE EXTENSION citext;\n")

    answer = files("lint", "--plugins", "acme")

    assert answer.code == 1
    assert "1_a.sql:1: error: creates the extension postgis" in answer.out
    assert "CREATE EXTENSION IF NOT EXISTS postgis;" in answer.out
    assert "extension citext" not in answer.out


def test_every_field_of_a_rule_of_a_hit_and_of_a_statement_is_on_the_page():
    named = set(re.findall(r"`(\w+)(?:=\w+)?`", PAGE))

    assert {field.name for field in fields(Rule)} - named == set()
    assert {field.name for field in fields(Hit)} - named == set()
    assert {field.name for field in fields(ParsedStatement)} - named == set()
