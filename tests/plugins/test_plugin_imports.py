"""Our plugins import what any plugin may import, and nothing else of Confiture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from confiture.plugins import kit

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "plugins").glob("*/src/**/*.py"))
KIT = "confiture.plugins.kit"
ALLOWED = (
    "confiture",
    "confiture.api.plugin_commands",
    "confiture.cli.plugin_report",
    "confiture.core",
    "confiture.exceptions",
    "confiture.output.reporters",
    KIT,
    "confiture.rules.rule",
    "confiture.testing",
)
MODELS = "confiture.models"


def list_imports(source: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each module of Confiture that a source imports, at any depth, with the names taken from it."""
    for node in ast.walk(ast.parse(source)):
        modules: list[tuple[str, tuple[str, ...]]] = []
        if isinstance(node, ast.Import):
            modules = [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules = [(node.module, tuple(alias.name for alias in node.names))]
        yield from ((module, names) for module, names in modules if module.split(".")[0] == "confiture")


def find_forbidden(source: str) -> list[str]:
    """Return the modules that a plugin must not import."""
    return [
        name
        for module, names in list_imports(source)
        # `from confiture.models import report` imports a module, `from confiture import sql` another.
        for name in (_name_module(module, name) for name in names or ("",))
        if name not in ALLOWED and not name.startswith(f"{MODELS}.")
    ]


def _name_module(module: str, name: str) -> str:
    if module == "confiture" and name and name not in ("HookContext", "HookResult", "hookimpl"):
        return f"confiture.{name}"
    return f"{module}.{name}" if module in ("confiture.models", "confiture.plugins") else module


@pytest.mark.parametrize(
    "source",
    [
        "import confiture.sql.parser",
        "from confiture import units",
        "from confiture.plugins import sidecar",
        "from confiture.plugins.find import find",
        "def hook():\n    from confiture.did_you_mean import did_you_mean",
        "if TYPE_CHECKING:\n    from confiture.migrations.version import parse_version",
    ],
)
def test_an_import_of_anything_else_is_found(source):
    assert len(find_forbidden(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from confiture import HookContext, HookResult, hookimpl",
        "from confiture.models.migration import Migration",
        "from confiture.plugins import kit",
        "import confiture_guard.window, confiture.testing",
    ],
)
def test_an_import_of_what_is_public_is_allowed(source):
    assert find_forbidden(source) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_plugin_imports_only_what_any_plugin_may(path):
    assert find_forbidden(path.read_text(encoding="utf-8")) == []


def test_every_name_of_the_kit_is_used_by_a_plugin():
    used = {
        name
        for path in SOURCES
        for module, names in list_imports(path.read_text(encoding="utf-8"))
        if module == KIT
        for name in names
    }

    assert sorted(used) == sorted(kit.__all__)


def test_what_a_plugin_may_import_is_documented():
    page = (ROOT / "docs" / "writing-plugins.md").read_text(encoding="utf-8")

    assert [name for name in (*ALLOWED, MODELS) if f"`{name}`" not in page] == []


def test_everything_in_the_kit_is_documented():
    page = (ROOT / "docs" / "writing-plugins.md").read_text(encoding="utf-8")

    assert [name for name in kit.__all__ if name not in page] == []
