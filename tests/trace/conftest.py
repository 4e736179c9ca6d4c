"""A project whose plans are rehearsed, on tables with rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from confiture.models.report import Lock, MigrationReport, Report
from tests.project import Project

TABLES = """
    CREATE TABLE customers (id bigint PRIMARY KEY, mail text);
    INSERT INTO customers SELECT n, n FROM generate_series(1, 200) n;
    CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint, note text);
    INSERT INTO orders SELECT n, 1 + n % 200, n FROM generate_series(1, 500) n;
    CREATE TABLE empty (id bigint PRIMARY KEY);
    ANALYZE;
"""

Rehearse = Callable[..., Report]


@pytest.fixture
def project(database_url: str, database: psycopg.Connection[Any], tmp_path: Path) -> Project:
    """A project on a database with customers and their orders."""
    database.execute(TABLES)
    return Project(tmp_path, database_url)


@pytest.fixture
def rehearse(project: Project) -> Callable[..., MigrationReport]:
    """Return what rehearses one migration, SQL or Python, and returns its report."""

    def rehearse(text: str, *plugins: Any, python: bool = False, **more: Any) -> MigrationReport:
        project.write(f"1_it.{'py' if python else 'sql'}", text)
        report = project.rehearse(*plugins, **more)
        (migration,) = report.migrations
        assert migration.outcome in ("rehearsed", "failed"), migration.reason
        return migration

    return rehearse


def modes(locks: tuple[Lock, ...]) -> dict[str, str]:
    """Return the mode on each relation, TOAST left out."""
    return {lock.relation: lock.mode for lock in locks if lock.kind != "toast"}
