"""The plugin as a run uses it: loaded by its entry point, configured, from files to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from confiture.api import operations
from confiture.models.report import Report
from tests.package_plugin import load_plugin

Database = psycopg.Connection[Any]


def run(url: str, folder: Path, config: dict[str, Any], *, dry_run: bool = False) -> Report:
    """Run what is in ``folder`` with the plugin that this package's pyproject.toml names."""
    package = Path(__file__).parents[1]
    settings, plugins = load_plugin(package, config, url=url, migrations=folder)
    return operations.run(settings, plugins=plugins, dry_run=dry_run)


def reported(report: Report, migration: int) -> dict[str, Any]:
    (hook,) = (hook for hook in report.migrations[migration].hooks if hook.phase == "cleanup")
    return dict(hook.stats["tables"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "1_orders.sql").write_text(
        "CREATE TABLE orders (id int) WITH (autovacuum_enabled = false); INSERT INTO orders VALUES (1);"
    )
    (tmp_path / "2_more.sql").write_text("INSERT INTO orders SELECT n FROM generate_series(2, 50) AS n;")
    (tmp_path / "3_index.sql").write_text(
        "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY by_id ON orders (id);"
    )
    return tmp_path


def test_the_report_shows_rows_before_and_after(database: Database, database_url: str, folder: Path) -> None:
    report = run(database_url, folder, {"analyze": True})

    assert report.exit_code == 0
    grown = {"rows_before": 1, "rows_after": 50, "bytes_before": 8192, "bytes_after": 8192}
    assert reported(report, 1) == {"public.orders": grown}
    assert [migration.warnings for migration in report.migrations] == [(), (), ()]
    assert database.execute(
        "SELECT count(*) FROM pg_stats WHERE tablename = 'orders' AND attname = 'id'"
    ).fetchone() == (1,)


def test_named_tables_are_analyzed_after_a_no_transaction_migration(
    database: Database, database_url: str, folder: Path
) -> None:
    report = run(database_url, folder, {"tables": ["orders"]})

    assert (
        reported(report, 2)["public.orders"]["bytes_after"]
        > reported(report, 2)["public.orders"]["bytes_before"]
    )


def test_a_rehearsal_lists_what_it_would_analyze(database: Database, database_url: str, folder: Path) -> None:
    (folder / "3_index.sql").unlink()

    report = run(database_url, folder, {"analyze": True}, dry_run=True)

    assert report.migrations[1].on_commit == ("ANALYZE public.orders",)
    assert database.execute("SELECT to_regclass('orders')").fetchone() == (None,)


def test_unconfigured_it_does_nothing(database: Database, database_url: str, folder: Path) -> None:
    report = run(database_url, folder, {})

    assert report.exit_code == 0
    assert database.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'orders'").fetchone() == (0,)
