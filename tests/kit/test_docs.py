"""The docs leave out no hook and no argument, say what the code says, and lead somewhere."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from confiture.cli.commands import COMMANDS, has_plugin_command
from confiture.hooks import spec
from confiture.hooks.api import HookPhase, HookResult
from confiture.hooks.guarded_settings import GUARDED_SETTINGS
from confiture.hooks.hook_context import HookContext

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
HOOKS = [phase.spec for phase in HookPhase]
HOOKS_PAGE = (DOCS / "hooks.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of the second level, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"there is no section {heading}"
    return found[1]


def built() -> str:
    """Return the page as the docstrings give it now."""
    there = importlib.util.spec_from_file_location("build_hooks", DOCS / "build_hooks.py")
    assert there
    assert there.loader
    module = importlib.util.module_from_spec(there)
    there.loader.exec_module(module)
    page: str = module.page()
    return page


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_its_section_with_every_argument(hook):
    arguments = list(inspect.signature(getattr(spec, hook)).parameters)

    told = section(HOOKS_PAGE, hook)

    assert f"def {hook}({', '.join(arguments)}): ..." in told
    assert re.findall(r"^\| `(\w+)` \| \S", told, re.M) == arguments
    assert "**Returns**" in told
    assert "**Where it raises**" in told


def test_every_function_of_the_spec_is_on_the_page_the_phases_first():
    specified = [name for name, value in vars(spec).items() if hasattr(value, "confiture_spec")]

    assert specified[: len(HOOKS)] == HOOKS
    assert [name for name in specified if f"def {name}(" not in section(HOOKS_PAGE, name)] == []


@pytest.mark.parametrize("owner", [HookContext, HookResult], ids=lambda item: item.__name__)
def test_everything_a_hook_is_told_and_says_back_is_there(owner):
    internal = {"running", "saved", "callbacks"}
    told = section(HOOKS_PAGE, owner.__name__)
    given = {
        "HookContext": vars(HookContext("jam", "1")).keys() | vars(HookContext).keys(),
        "HookResult": inspect.signature(HookResult).parameters.keys(),
    }[owner.__name__]

    public = [name for name in given if not name.startswith("_") and name not in internal]
    missing = [name for name in public if not re.search(rf"^\| `{name}[(`]", told, re.M)]

    assert missing == []


def test_the_page_of_the_hooks_is_not_stale():
    assert built() == HOOKS_PAGE, "docs/hooks.md is stale: make docs"


def test_the_order_of_things_names_every_phase_in_order():
    text = (DOCS / "order.md").read_text(encoding="utf-8")

    first = [text.index(f"`{hook}`") for hook in HOOKS]

    assert first == sorted(first)


def test_the_settings_that_are_put_back_are_all_named():
    text = (DOCS / "settings.md").read_text(encoding="utf-8")

    assert [name for name in GUARDED_SETTINGS if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda item: item.stem)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.M)
            slugs = [re.sub(r"[^\w -]", "", item.lower()).replace(" ", "-") for item in headings]
            assert heading in slugs, target


def test_the_index_leads_to_every_page():
    index = (DOCS / "README.md").read_text(encoding="utf-8")

    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda item: item.stem)
def test_every_command_that_is_shown_exists(page):
    shown = re.findall(r"^\$ confiture ([\w-]+)", page.read_text(encoding="utf-8"), re.M)

    assert [name for name in shown if name not in COMMANDS and not has_plugin_command(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda item: item.stem)
def test_every_python_example_compiles(page):
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)):
        compile(code, f"{page.name} example {number + 1}", "exec")
