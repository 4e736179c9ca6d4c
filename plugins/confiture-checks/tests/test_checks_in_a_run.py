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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "1_orders.sql").write_text(
        "CREATE TABLE orders (cents int); INSERT INTO orders VALUES (5), (0);"
    )
    (tmp_path / "2_positive.sql").write_text(
        "ALTER TABLE orders ADD CONSTRAINT positive CHECK (cents > 0) NOT VALID;"
    )
    return tmp_path


def test_unconfigured_it_stops_nothing_and_warns(database: Database, database_url: str, folder: Path) -> None:
    report = run(database_url, folder, {})

    assert [migration.outcome for migration in report.migrations] == ["applied", "applied"]
    (hook,) = (hook for hook in report.migrations[1].hooks if hook.phase == "after_validation")
    assert (hook.plugin, hook.hook, hook.outcome) == ("checks", "ValidateConstraints", "kept")
    assert hook.stats["not_valid"] == {"public.orders.positive": None}


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_check_that_finds_rows_undoes_its_migration(
    database: Database, database_url: str, folder: Path, dry_run: bool
) -> None:
    (folder / "2_positive.check.sql").write_text("SELECT cents FROM orders WHERE cents <= 0;")

    report = run(database_url, folder, {}, dry_run=dry_run)

    failed = report.migrations[1]
    assert report.exit_code == 5
    assert failed.outcome == "failed"
    assert failed.error is not None
    assert "2_positive.check.sql, line 1: the query must return no rows and returns 1:\n  cents\n  0" in (
        failed.error.message
    )
    assert database.execute("SELECT count(*) FROM pg_constraint WHERE conname = 'positive'").fetchone() == (
        0,
    )


def test_a_precondition_that_is_not_met_stops_before_anything_is_changed(
    database: Database, database_url: str, folder: Path
) -> None:
    config = {"require": [{"migration": "2", "columns": ["public.orders.status"]}]}

    report = run(database_url, folder, config)

    assert [migration.outcome for migration in report.migrations] == ["applied", "failed"]
    assert report.exit_code == 5
    assert report.migrations[1].error is not None
    assert "there is no column public.orders.status" in report.migrations[1].error.message
    assert report.migrations[1].statements == ()
