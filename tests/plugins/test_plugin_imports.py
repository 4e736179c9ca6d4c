"""First-party plugins import only what any plugin may import: docs/writing-plugins.md lists it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = sorted((ROOT / "plugins").glob("*/src/*"))
ALLOWED = (
    "confiture",
    "confiture.core",
    "confiture.exceptions",
    "confiture.models",
    "confiture.output.reporters",
    "confiture.plugins.kit",
    "confiture.rules.rule",
    "confiture.testing",
)


def find_imports(folder: Path) -> set[str]:
    """Return the modules of confiture that a package imports, also inside functions and for types only."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return {name for name in found if name.split(".")[0] == "confiture"}


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_imports_nothing_private(folder):
    private = {
        name
        for name in find_imports(folder)
        if name not in ALLOWED and not name.startswith("confiture.models.")
    }

    assert private == set()


def test_what_a_plugin_may_import_is_documented():
    page = (ROOT / "docs" / "writing-plugins.md").read_text(encoding="utf-8")

    assert [name for name in ALLOWED if f"`{name}`" not in page] == []


def test_everything_in_the_kit_is_documented():
    from confiture.plugins import kit

    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

    assert [name for name in kit.__all__ if name not in page] == []
