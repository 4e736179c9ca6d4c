"""Write the package of a new plugin: one hook, and a test that passes."""

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
    """The names of a plugin that ``confiture plugins new`` writes.

    Attributes:
        name: The entry point's name, as ``--plugins`` and the configuration use it: ``"my-jam"``.
    """

    name: str

    @property
    def distribution(self) -> str:
        """The name of the package for pip."""
        return f"{PREFIX}{self.name}"

    @property
    def module(self) -> str:
        """The name of the package for ``import``."""
        return self.distribution.replace("-", "_")


def name_plugin(given: str) -> NewPlugin:
    """Return the plugin that ``My Jam``, ``confiture-my-jam`` or ``my-jam`` names.

    Raises:
        UsageFault: ``given`` is a path, contains no letter or digit, or is the name of confiture itself.
    """
    if "/" in given or "\\" in given:
        raise UsageFault(
            f"{given!r} is a path", hint="pass only a name; the package is written into this folder"
        )
    # PyPI accepts ASCII names only, so "Gelée" becomes "gelee".
    plain = unicodedata.normalize("NFKD", given).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-").removeprefix(PREFIX)
    if not name:
        raise UsageFault(
            f"{given!r} cannot be the name of a package", hint="use letters: confiture plugins new hello"
        )
    if name in ("confiture", "pg", "testing"):
        raise UsageFault(
            f"{given!r} is the name of confiture itself", hint="name it after what its hook does"
        )
    return NewPlugin(name)


def render_files(plugin: NewPlugin) -> dict[str, str]:
    """Return the text of each file of the package, keyed by its path."""
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
        UsageFault: ``parent`` already contains that name; it is left unchanged.
        OSError: The package cannot be written; what was written is removed.
    """
    folder = parent / plugin.distribution
    try:
        folder.mkdir()
    except FileExistsError:
        raise UsageFault(
            f"{folder.name} exists already and was left unchanged",
            hint="choose another name, or move it away",
        ) from None
    try:
        for path, text in render_files(plugin).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError:
        # The next attempt refuses a folder that exists, even if it is incomplete.
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
description = "A plugin for confiture: reports the size of the relations that a migration has changed"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["confiture-pg>=$release"]

[project.optional-dependencies]
test = ["confiture-pg[embedded]", "pytest>=8.2"]

# The name on the left is the one that --plugins and the table [plugin.$name] use.
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
"""Report the size of the relations that a migration has changed."""

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
    """Measure the changed relations, inside the migration's transaction."""
    changed = list(context.relations())
    [(size_bytes,)] = conn.execute(_SIZE, [changed]).fetchall()
    return HookResult(
        phase="AFTER_DDL",
        hook_name="MeasureChanged",
        stats={"relations": len(changed), "size_bytes": size_bytes},
    )
'''

_TEST = '''\
"""Tests of the plugin, on a real server and in a savepoint, as in a run."""

from __future__ import annotations

from confiture.testing import run_hook

import $module


def test_a_new_table_is_measured(confiture_database):
    """The open transaction of the test acts as the migration."""
    with confiture_database.transaction():
        confiture_database.execute("CREATE TABLE jam AS SELECT 'plum' AS fruit")

        (result,) = run_hook($module, "after_ddl", conn=confiture_database)

    assert result.stats["relations"] == 1
    assert result.stats["size_bytes"] > 0


def test_a_migration_that_changes_nothing_has_no_size(confiture_database):
    """The hook reports no relation and no bytes."""
    (result,) = run_hook($module, "after_ddl", conn=confiture_database)

    assert result.stats == {"relations": 0, "size_bytes": 0}
'''

_README = """\
# $distribution

A plugin for confiture. It reports the size of the relations that a migration has changed.

Confiture is not on PyPI yet: install it from a checkout of it, with `pip install '.[embedded]'`. Then, in the
same environment, in this folder:

```console
$$ pip install -e '.[test]'
$$ pytest
```

In the folder of a project that has migrations:

```console
$$ confiture plugins
$$ confiture run --plugins $name
```

To use it without a flag, name it in the configuration:

```toml
plugins = ["$name"]
```

The hook is in `src/$module/__init__.py`. Its name is the phase in which it is called.
"""

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "src/$module/__init__.py": _MODULE,
    "src/$module/py.typed": "",
    "tests/test_hook.py": _TEST,
}
