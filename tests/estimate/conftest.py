"""A database that looks like somebody's production."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from confiture.config.settings import Settings
from confiture.estimate.statistics import Statistics, to_json
from tests.estimate.production import export_quickly
from tests.project import Project

ROWS = 60_000


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings that lead to the test's database."""
    return Settings(root=tmp_path, url=database_url, migrations=tmp_path / "migrations")


@pytest.fixture
def shop(database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Orders of customers, with all that an export looks at, analysed."""
    database.execute("""
        CREATE TABLE customers (id int PRIMARY KEY, email text);
        CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, note text, at date);
        CREATE INDEX by_customer ON orders (customer);
        CREATE INDEX open_ones ON orders (lower(note)) WHERE note <> 'mark-predicate' AND customer > 424242;
        CREATE TABLE events (at int, what text) PARTITION BY RANGE (at);
        CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (0) TO (100);
        CREATE TABLE events_new PARTITION OF events FOR VALUES FROM (100) TO (200);
        CREATE MATERIALIZED VIEW busy AS SELECT 1 AS one;
        CREATE TABLE "Odd Table" (a int);
        INSERT INTO customers SELECT i, 'x' FROM generate_series(1, 100) i;
        INSERT INTO orders SELECT i, 1 + i % 100, NULL, '2026-01-01' FROM generate_series(1, 5000) i;
        INSERT INTO events SELECT i, 'e' FROM generate_series(0, 199) i;
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER each_order BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION f();
        ANALYZE;
    """)
    return database


@pytest.fixture
def statistics(shop: psycopg.Connection[Any], settings: Settings) -> Statistics:
    """The export of the shop."""
    return export_quickly(settings)


@pytest.fixture
def document(statistics: Statistics) -> dict[str, Any]:
    """The same as the file has it."""
    kept: dict[str, Any] = json.loads(json.dumps(to_json(statistics)))
    return kept


@pytest.fixture
def project(tmp_path: Path, database_url: str, orders: psycopg.Connection[Any]) -> Project:
    """A folder of migrations beside a database of sixty thousand orders."""
    return Project(tmp_path, database_url)


@pytest.fixture
def orders(database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Sixty thousand orders, analysed."""
    database.execute(f"""
        CREATE TABLE orders (id int PRIMARY KEY, customer int, note text);
        INSERT INTO orders SELECT i, i % 1000, repeat('x', 100) FROM generate_series(1, {ROWS}) i;
        ANALYZE orders;
    """)
    return database


@pytest.fixture
def here(settings: Settings, orders: psycopg.Connection[Any]) -> Statistics:
    """What the small database's own export says."""
    return export_quickly(settings)
