"""``dry-run --production`` from end to end: a small database here, a larger one there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from confiture.config import Settings
from confiture.core.estimates import Production
from confiture.core.operations import run
from confiture.estimating.statistics import Statistics, to_json
from confiture.models.report import MigrationReport, Report
from tests.estimating.production import grown
from tests.postgres.project import Project

REWRITE = "ALTER TABLE orders ALTER customer TYPE bigint;"
Predict = Callable[..., Report]


@pytest.fixture
def predict(settings: Settings, project: Project, here: Statistics) -> Predict:
    """Rehearse a migration and predict it for a database so many times as large."""

    def predicted(sql: str, times: float = 10, of: Statistics = here, **more: Any) -> Report:
        project.write("1_it.sql", sql)
        return run(settings, dry_run=True, production=Production(grown(of, times)), **more)

    return predicted


def only(report: Report) -> MigrationReport:
    (migration,) = report.migrations
    return migration


def test_a_rewrite_has_an_interval_and_says_what_it_scales_with(predict):
    migration = only(predict(REWRITE))

    estimate = migration.estimate
    (statement,) = migration.statements
    assert estimate.known
    assert estimate.interval90_ms[0] < estimate.interval50_ms[0] < estimate.p50_ms
    assert estimate.p50_ms < estimate.interval50_ms[1] < estimate.interval90_ms[1]
    assert 5 * statement.duration_ms < estimate.p50_ms < 30 * statement.duration_ms
    assert estimate.scales_with == "the rows of public.orders"
    assert 0 < estimate.confidence_percent < 80
    assert statement.estimate.p50_ms == pytest.approx(estimate.p50_ms, rel=0.01)


def test_what_changes_the_catalog_has_a_bound_and_no_percentage(predict):
    estimate = only(predict("ALTER TABLE orders ADD x int;")).estimate

    assert estimate.known
    assert estimate.interval90_ms[0] == 0
    assert (estimate.p50_ms, estimate.confidence_percent) == (None, None)


def test_a_table_is_blocked_from_its_lock_to_the_migrations_end(predict):
    """The index build comes under the lock that ADD took, the first index before it."""
    migration = only(predict("CREATE INDEX a ON orders (customer); ALTER TABLE orders ADD x int; " + REWRITE))

    (blocked,) = migration.unavailable
    assert blocked.relation == "public.orders"
    assert blocked.writes == migration.estimate
    assert blocked.reads.p50_ms < blocked.writes.p50_ms


def test_without_production_nothing_is_said(settings, project):
    project.write("1_it.sql", REWRITE)

    migration = only(run(settings, dry_run=True))

    assert (migration.estimate, migration.unavailable) == (None, ())
    assert migration.statements[0].estimate is None


def test_the_command_reads_the_file_and_shows_the_interval_first(project, here):
    (project.root / "production.json").write_text(json.dumps(to_json(grown(here, 10))))
    project.write("1_it.sql", REWRITE)

    words = project.command("dry-run", "--production", "production.json", "--output", "json=r.json")

    assert words.returncode == 0, words.stderr
    assert "nine times in ten" in words.stdout
    assert "longest in production: reads and writes of public.orders" in words.stdout
    (migration,) = json.loads((project.root / "r.json").read_text())["migrations"]
    assert migration["unavailable"][0]["reads"] == migration["estimate"]
    assert migration["statements"][0]["estimate"]["known"] is True
