"""Projects for the rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import Project


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> Project:
    """An empty folder of migrations beside an empty database."""
    (tmp_path / "migrations").mkdir()
    return Project(tmp_path, database_url)


@pytest.fixture
def files(tmp_path: Path) -> Project:
    """An empty folder of migrations, and no server."""
    (tmp_path / "migrations").mkdir()
    return Project(tmp_path, "")


@pytest.fixture
def second_url(confiture_server, _confiture_templates) -> Iterator[str]:
    """The URL of another empty database."""
    name = _confiture_templates.copy("template0")
    yield confiture_server.conninfo(name)
    _confiture_templates.drop(name)
