"""A user's project for each test, on a database of its own."""

from __future__ import annotations

import pytest

from tests.project import Project


@pytest.fixture
def project(tmp_path, database_url) -> Project:
    """A project with an empty database; no configuration of a folder above is found."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    return Project(tmp_path / "project", database_url)


@pytest.fixture
def alone(database, server):
    """The URL of another empty database, which the tool migrates without us."""
    name = f"{database.info.dbname}_alone"
    database.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield server.conninfo(name)
    database.execute(f"DROP DATABASE {name} WITH (FORCE)")
