"""Written: a new plugin's package, complete and with a test that passes."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path
from string import Template

from attrs import frozen

from confiture import __version__
from confiture.exceptions import UsageFault

PREFIX = "confiture-"


@frozen
class NewPlugin:
    """A plugin that is to be written.

    Attributes:
        name: The entry point's, as ``--plugins`` and the configuration name it: ``"my-jam"``.
    """

    name: str

    @property
    def distribution(self) -> str:
        """The package, as pip names it."""
        return f"{PREFIX}{self.name}"

    @property
    def module(self) -> str:
        """The package, as Python imports it."""
        return self.distribution.replace("-", "_")


def name_plugin(given: str) -> NewPlugin:
    """Return the plugin that a person means by ``My Jam``, ``confiture-my-jam`` or ``my-jam``.

    Raises:
        UsageFault: It is a path, nothing is left of it, or it is our own name.
    """
    if "/" in given or "\\" in given:
        raise UsageFault(
            f"{given!r} is a path", hint="give a name only; the package is written in this folder"
        )
    # Names of packages are ASCII.
    plain = unicodedata.normalize("NFKD", given).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-").removeprefix(PREFIX)
    if not name:
        raise UsageFault(
            f"{given!r} is no name for a package", hint="use letters: confiture plugins new hello"
        )
    if name in ("confiture", "pg", "testing"):
        raise UsageFault(
            f"{given!r} is the name of confiture itself", hint="name it after what its hook does"
        )
    return NewPlugin(name)


def render_files(plugin: NewPlugin) -> dict[str, str]:
    """Return the text of each file of the package, by its path."""
    words = {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "module": plugin.module,
        "release": ".".join(__version__.split(".")[:2]),
    }
    return {
        Template(path).substitute(words): Template(text).substitute(words) for path, text in _FILES.items()
    }


def write_plugin(plugin: NewPlugin, parent: Path) -> Path:
    """Write the package into a new folder of ``parent``, and return the folder.

    Raises:
        UsageFault: There is something of that name already, and it stays as it is.
        OSError: It cannot be written; nothing is left of it.
    """
    folder = parent / plugin.distribution
    try:
        folder.mkdir()
    except FileExistsError:
        raise UsageFault(
            f"{folder.name} is here already, and stays as it is", hint="choose another name, or move it away"
        ) from None
    try:
        for path, text in render_files(plugin).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError:
        # Half a package would only be in the way of the next attempt.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = "A plugin for confiture: reports how large the relations are that a migration has changed"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["confiture-pg>=$release"]

[project.optional-dependencies]
test = ["confiture-pg[embedded]", "pytest>=8.2"]

# The name on the left is the one for --plugins and for [plugin.$name] in the configuration.
[project.entry-points.confiture]
$name = "$module"

[tool.hatch.build.targets.wheel]
packages = ["src/$module"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["src"]
addopts = "--import-mode=importlib"
filterwarnings = ["error"]
"""

_MODULE = '''\
"""Report how large the relations are that a migration has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confiture import HookContext, HookResult, hookimpl

if TYPE_CHECKING:
    from psycopg import Connection

_SIZE = """
    SELECT coalesce(sum(pg_total_relation_size(name::regclass)), 0)::bigint
    FROM unnest(%s::text[]) AS name
"""


@hookimpl
def after_ddl(conn: Connection[Any], context: HookContext) -> HookResult:
    """Measure what has changed, inside the migration's transaction."""
    changed = list(context.relations())
    [(size_bytes,)] = conn.execute(_SIZE, [changed]).fetchall()
    return HookResult(
        phase="AFTER_DDL",
        hook_name="MeasureChanged",
        stats={"relations": len(changed), "size_bytes": size_bytes},
    )
'''

_TEST = '''\
"""What the plugin does, on a real server and inside the real guard."""

from __future__ import annotations

from confiture.testing import run_hook

import $module


def test_what_the_migration_has_changed_is_measured(confiture_database):
    """The test's open transaction stands for the migration's."""
    with confiture_database.transaction():
        confiture_database.execute("CREATE TABLE jam AS SELECT 'plum' AS fruit")

        (result,) = run_hook($module, "after_ddl", conn=confiture_database)

    assert result.stats["relations"] == 1
    assert result.stats["size_bytes"] > 0


def test_a_migration_that_changes_nothing_weighs_nothing(confiture_database):
    """No relation, no bytes."""
    (result,) = run_hook($module, "after_ddl", conn=confiture_database)

    assert result.stats == {"relations": 0, "size_bytes": 0}
'''

_README = """\
# $distribution

A plugin for confiture: reports how large the relations are that a migration has changed.

In an environment in which confiture is installed (it is not on PyPI yet):

```console
$$ pip install -e '.[test]'
$$ pytest
$$ confiture plugins
$$ confiture run --plugins $name
```

To use it without a flag, name it in the configuration:

```toml
plugins = ["$name"]
```

The hook is in `src/$module/__init__.py`; its name says in which phase it is called.
"""

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "src/$module/__init__.py": _MODULE,
    "src/$module/py.typed": "",
    "tests/test_hook.py": _TEST,
}
