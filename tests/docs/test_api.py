"""Everything public is in the API reference, and the reference says what the docstrings say."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "api.md").read_text(encoding="utf-8")
# The contract's modules, written down here: one that is taken off the generator's list is missed.
PUBLIC = (
    "confiture",
    "confiture.core",
    "confiture.models.migration",
    "confiture.models.report",
    "confiture.rules.rule",
    "confiture.output.reporters",
    "confiture.plugins.kit",
    "confiture.exceptions",
    "confiture.testing",
)


@pytest.fixture
def generator(monkeypatch) -> ModuleType:
    """The generator, imported from its folder."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("build_api")


def sections_of(module: str) -> dict[str, str]:
    """Return what the page says under a module, by public name."""
    found = re.search(rf"^## {re.escape(module)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"there is no section {module}"
    _, *parts = re.split(r"^### ", found[1], flags=re.M)
    return {name: text for name, _, text in (part.partition("\n") for part in parts)}


def public_names(module: ModuleType) -> set[str]:
    """Return what a module exports, or the classes and functions that it defines."""
    exported = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
    ]
    return {name for name in exported if not name.startswith("_")}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_on_the_page_and_explained(name, generator):
    internal = set(generator.INTERNAL.get(name, ()))

    sections = sections_of(name)

    assert public_names(importlib.import_module(name)) - internal - sections.keys() == set()
    assert [public for public, text in sections.items() if not text.strip()] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_class_and_function_has_a_docstring(name):
    module = importlib.import_module(name)

    assert [public for public in public_names(module) if not inspect.getdoc(getattr(module, public))] == []


def test_the_page_is_not_stale(generator):
    assert generator.page() == PAGE, "docs/api.md is stale: make docs"
