"""A user's project for each test, on a database of its own where it asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.project import Project


@pytest.fixture
def folder(tmp_path) -> Iterator[Project]:
    """A project that knows no database; no configuration of a folder above is found."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    project = Project(tmp_path / "project")
    yield project
    project.end()


@pytest.fixture
def project(folder: Project, database_url) -> Project:
    """A project with an empty database."""
    folder.url = database_url
    return folder
