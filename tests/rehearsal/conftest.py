"""A project a test, on a database that nobody is connected to but whom the test connects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.project import Project


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> Project:
    """An empty folder of migrations beside an empty database."""
    (tmp_path / "migrations").mkdir()
    return Project(tmp_path, database_url)


@pytest.fixture
def sql(database_url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Run SQL on the database on a connection of its own, which is closed at once."""

    def run(query: str, *more: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url, autocommit=True) as conn:
            cursor = conn.execute(query.encode())
            for name in more:
                cursor = conn.execute(name.encode())
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def maintenance(server) -> Any:
    """A connection to another database of the same server."""
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        yield conn
