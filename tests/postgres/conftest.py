"""A project a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project import Project


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> Project:
    """An empty folder of migrations beside an empty database."""
    (tmp_path / "migrations").mkdir()
    return Project(tmp_path, database_url)
