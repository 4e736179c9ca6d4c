"""The README's plugin, copied into a new folder as it stands, is built, installed and called."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import Project

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"
FILE = re.compile(r"^`(?P<name>[^`\n]+)`[^\n]*\n+```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def files_of(heading: str) -> dict[str, str]:
    """Return the files that a section of the README shows, by name: one in backticks above each block."""
    section = README.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {found["name"]: found["text"] for found in FILE.finditer(section)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that pip has installed the README's plugin into."""
    copied = tmp_path_factory.mktemp("confiture-hello")
    for name, text in files_of("Write a plugin").items():
        (copied / name).parent.mkdir(parents=True, exist_ok=True)
        (copied / name).write_text(text)
    target = tmp_path_factory.mktemp("installed")
    # Offline: what it needs to be built with is there.
    flags = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    command = (sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(copied))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def shop(project: Project, installed) -> Project:
    """A project beside which the README's plugin is installed."""
    project.installed.append(installed)
    project.write("1_jam.sql", "CREATE TABLE jam (i int);\nCREATE TABLE fig (i int);\n")
    return project


def test_the_readme_shows_a_project_file_and_a_module():
    names = files_of("Write a plugin")

    assert "pyproject.toml" in names
    assert any(name.endswith(".py") for name in names)


def test_the_readmes_plugin_is_listed_as_ready(shop):
    shop.configure('plugins = ["hello"]\n')

    answer = shop("plugins", "--output", "json")

    listed = {item["name"]: item for item in answer.json["plugins"]}
    assert listed["hello"]["state"] == "ready"
    assert listed["hello"]["distribution"] == "confiture-hello"
    assert listed["hello"]["phases"] == ["after_ddl"]


def test_the_readmes_plugin_has_its_hook_run(shop):
    answer = shop("run", "--plugins", "--output", "json")

    assert answer.code == 0
    (hook,) = [item for item in answer.json["migrations"][0]["hooks"] if item["plugin"] == "hello"]
    assert hook["phase"] == "after_ddl"
    assert hook["hook"] == "CountTables"
    assert hook["outcome"] == "kept"
    assert hook["stats"] == {"tables": 2}


def test_the_readmes_plugin_is_rehearsed_and_named_in_the_ledger(shop, database):
    rehearsed = shop("dry-run", "--plugins", "hello", "--output", "json")
    shop("run", "--plugins", "hello")

    assert [item["stats"] for item in rehearsed.json["migrations"][0]["hooks"]] == [{"tables": 2}]
    (plugins,) = database.execute("SELECT plugins::text FROM confiture.ledger").fetchone()
    assert "hello" in plugins
    assert "0.1.0" in plugins
