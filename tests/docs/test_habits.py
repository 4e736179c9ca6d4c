"""The files for contributors name what exists, and CI calls targets of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from confiture.cli.commands import COMMANDS
from tests.matrix import VERSIONS

ROOT = Path(__file__).parents[2]
FRONT = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FRONT)
def test_every_link_leads_to_a_file(name):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(name))

    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", FRONT)
def test_every_make_target_that_is_shown_exists(name):
    shown = set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", read(name), re.M))

    assert shown - TARGETS == set()


def test_the_map_names_every_package_and_no_other():
    listed = set(re.findall(r"^\| `(\w+)/` \|", read("CONTRIBUTING.md"), re.M))

    assert listed == {file.parent.name for file in (ROOT / "src" / "confiture").glob("*/__init__.py")}


def test_the_readme_is_short_and_names_every_command():
    readme = read("README.md")

    assert len(readme.splitlines()) <= 250
    assert [name for name in COMMANDS if not re.search(rf"^\|.*`{name}\b.*\|", readme, re.M)] == []


def test_the_readme_says_how_to_install_what_is_not_on_pypi():
    readme = read("README.md")

    assert "not on PyPI yet" in readme
    assert "fraiseql-confiture" in readme
    assert not re.search(r"pip install '?confiture-", readme)


def test_ci_runs_every_supported_postgresql_by_targets_of_the_makefile():
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]

    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]

    assert tuple(jobs["postgres"]["strategy"]["matrix"]["postgres"]) == VERSIONS
    assert {command.split()[1] for command in commands} == {"test", "test-matrix"} <= TARGETS


def test_the_hooks_before_a_commit_are_programs_of_the_development_environment():
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]

    entries = [hook["entry"].split()[0] for hook in repository["hooks"]]

    assert entries == [".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy"]
