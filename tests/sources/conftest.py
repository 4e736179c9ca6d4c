"""A user's project for each test, on a database of its own."""

from __future__ import annotations

import pytest

from tests.everyday.conftest import project

__all__ = ["alone", "project"]


@pytest.fixture
def alone(database, server):
    """The URL of another empty database, which the tool migrates without us."""
    name = f"{database.info.dbname}_alone"
    database.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield server.conninfo(name)
    database.execute(f"DROP DATABASE {name} WITH (FORCE)")
