"""Data flows one way; a test walks the imports and fails where an arrow points back."""

import ast
from pathlib import Path

import pytest

import confiture

ROOT = Path(confiture.__file__).parent
PURE = ("core/planner.py", "gate/", "output/", "estimating/")


def imported(file: Path) -> set[str]:
    """Return every module that a file imports at its top, what only a type checker imports left out."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def modules() -> dict[str, Path]:
    """Return our modules by dotted name."""
    return {
        ".".join(("confiture", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): file
        for file in ROOT.rglob("*.py")
    }


def reached(name: str, known: dict[str, Path]) -> set[str]:
    """Return all that a module imports, and what those import."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        for each in imported(known[waiting.pop()]) - seen:
            seen.add(each)
            if each in known:
                waiting.append(each)
    return seen


def under(*places: str) -> list[str]:
    """Return the names of the modules at these places."""
    return [
        name
        for name, file in modules().items()
        if any(str(file.relative_to(ROOT)).startswith(place) for place in places)
    ]


@pytest.mark.parametrize("name", under("models/", "exceptions.py"))
def test_models_and_exceptions_import_nothing_else_of_ours(name):
    others = {each for each in imported(modules()[name]) if each.startswith("confiture")}

    assert {
        each for each in others if not each.startswith(("confiture.models", "confiture.exceptions"))
    } == set()


@pytest.mark.parametrize("name", under(*PURE))
def test_planner_gate_and_output_never_import_the_driver(name):
    assert {each for each in reached(name, modules()) if each.split(".")[0] == "psycopg"} == set()


@pytest.mark.parametrize("name", under("core/", "plugins/", "output/", "models/"))
def test_nothing_below_imports_the_command_line(name):
    assert {each for each in imported(modules()[name]) if each.startswith("confiture.cli")} == set()


def test_the_engine_does_not_import_the_reporters():
    engine = [name for name in under("core/", "models/") if name != "confiture.core"]

    assert {
        each for name in engine for each in imported(modules()[name]) if each.startswith("confiture.output")
    } == set()
