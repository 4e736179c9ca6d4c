"""A user's project for each test: on a database of its own, in a git repository of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.project import Project

Git = Callable[..., str]

_WHO = {
    f"GIT_{whose}_{what}": value
    for whose in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@localhost"))
}


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Run git in the project's folder, or in another, away from anybody's own configuration."""
    for name in [text for text in os.environ if text.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)

    def run(*arguments: str, folder: Path = tmp_path / "project") -> str:
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=folder,
            env={**os.environ, **_WHO},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Project]:
    """A project that knows no database and is in no repository."""
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    project.configure("")
    yield project
    project.end()


@pytest.fixture
def project(folder: Project, database_url: str) -> Project:
    """A project with an empty database."""
    folder.url = database_url
    return folder


@pytest.fixture
def repository(folder: Project, git: Git) -> Project:
    """A project without a database, in a repository whose main holds a migration; on a branch of it."""
    git("init", "--quiet", "--initial-branch=main")
    folder.write("0001_orders.sql", "CREATE TABLE orders (id int PRIMARY KEY, day date);\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "base")
    git("switch", "--quiet", "-c", "branch")
    return folder
