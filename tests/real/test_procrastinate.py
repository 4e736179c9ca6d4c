"""Real migrations of somebody else: the 38 that the procrastinate package ships, in place, unmodified."""

import asyncio
import importlib.resources
import subprocess
from pathlib import Path

import procrastinate
import psycopg
import pytest

from confiture.api.operations import read_status, run
from confiture.config.settings import Settings

MIGRATIONS = Path(str(importlib.resources.files("procrastinate"))) / "sql" / "migrations"


@pytest.fixture
def settings(database_url):
    return Settings(root=Path.cwd(), url=database_url, migrations=MIGRATIONS)


@pytest.fixture
def by_psql(server, database):
    """A database to which psql has applied the same files in order."""
    name = f"{database.info.dbname}_psql"
    database.execute(f"CREATE DATABASE {name}")
    for file in sorted(MIGRATIONS.glob("*.sql")):
        command = [server.bindir / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", file, server.conninfo(name)]
        subprocess.run(command, check=True, capture_output=True)
    yield server.conninfo(name)
    database.execute(f"DROP DATABASE {name} WITH (FORCE)")


def schema(server, url):
    command = [server.bindir / "pg_dump", "--schema-only", "-N", "confiture", url]
    dumped = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Since 2025 the dump begins and ends with a token of its own.
    return [line for line in dumped.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


def run_one_job(url):
    """Let procrastinate's own client defer a job and a worker run it; return what it got."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
    got = []

    @app.task(name="spread")
    def spread(jam):
        got.append(jam)

    async def defer_and_work():
        async with app.open_async():
            await spread.defer_async(jam="plum")
            await app.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)

    asyncio.run(defer_and_work())
    return got


def test_procrastinate_is_rehearsed_applied_and_works(settings, server, by_psql, database_url):
    """Three need an earlier migration committed; all apply as psql applies them; a job then runs."""
    rehearsal = run(settings, dry_run=True)

    not_rehearsed = [migration for migration in rehearsal.migrations if migration.outcome == "not_rehearsed"]
    assert (rehearsal.exit_code, len(rehearsal.migrations)) == (0, 38)
    assert [each.version for each in not_rehearsed] == ["02.14.01_01", "03.00.00_01", "03.00.00_50"]
    assert all("has not committed yet" in (each.reason or "") for each in not_rehearsed)
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT to_regclass('procrastinate_jobs')").fetchall() == [(None,)]

    report = run(settings)

    assert report.exit_code == 0
    assert {status.state for status in read_status(settings)} == {"applied"}
    assert schema(server, database_url) == schema(server, by_psql)
    assert run_one_job(database_url) == ["plum"]
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT status FROM procrastinate_jobs").fetchall() == [("succeeded",)]
