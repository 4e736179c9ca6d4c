"""``dry-run --production`` from end to end: a small database here, a larger one there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from attrs import evolve
from psycopg.conninfo import make_conninfo

from confiture import HookResult
from confiture.api.operations import run
from confiture.config.settings import Settings
from confiture.core import DryRunExecutor
from confiture.estimate.rehearse_sizes import Production
from confiture.estimate.statistics import Statistics, to_json
from confiture.models.migration import Migration
from confiture.models.report import Report, StatementReport
from confiture.output.html import render
from tests.estimate.production import grow
from tests.project import Project, plugin

pytestmark = pytest.mark.slow

REWRITE = "ALTER TABLE orders ALTER customer TYPE bigint;"
Predict = Callable[..., Report]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine much time goes by beside statements; these tests are of something else."""
    monkeypatch.setattr("confiture.estimate.plan_estimate._UNACCOUNTED_MS", 10_000.0)


@pytest.fixture
def predict(settings: Settings, project: Project, here: Statistics) -> Predict:
    """Rehearse a migration and predict it for a database so many times as large."""

    def predicted(sql: str, times: float = 10, of: Statistics = here, **more: Any) -> Report:
        project.write("1_it.sql", sql)
        return run(settings, dry_run=True, production=Production(grow(of, times)), **more)

    return predicted


def get_only_migration(report: Report) -> Any:
    (migration,) = report.migrations
    return migration


def test_a_rewrite_has_an_interval_and_says_what_it_scales_with(predict):
    migration = get_only_migration(predict(REWRITE))

    estimate = migration.estimate
    (statement,) = migration.statements
    assert estimate.known
    assert estimate.interval90_ms[0] < estimate.interval50_ms[0] < estimate.p50_ms
    assert estimate.p50_ms < estimate.interval50_ms[1] < estimate.interval90_ms[1]
    assert 5 * statement.work_ms < estimate.p50_ms < 30 * statement.work_ms
    assert estimate.scales_with == "the rows of public.orders"
    assert 0 < estimate.confidence_percent < 80
    assert statement.estimate.p50_ms == pytest.approx(estimate.p50_ms, rel=0.01)


def test_what_changes_the_catalog_has_a_bound_and_no_percentage(predict):
    estimate = get_only_migration(predict("ALTER TABLE orders ADD x int;")).estimate

    assert estimate.known
    assert estimate.interval90_ms[0] == 0
    assert (estimate.p50_ms, estimate.confidence_percent) == (None, None)


def test_a_table_is_blocked_from_its_lock_to_the_migrations_end(predict):
    """The index build comes under the lock that ADD took, the first index before it."""
    migration = get_only_migration(
        predict("CREATE INDEX a ON orders (customer); ALTER TABLE orders ADD x int; " + REWRITE)
    )

    (blocked,) = migration.unavailable
    assert blocked.relation == "public.orders"
    assert blocked.writes == migration.estimate
    assert blocked.reads.p50_ms < blocked.writes.p50_ms


def test_a_table_is_blocked_from_the_lock_on_its_index(predict, orders):
    """Reads of orders wait for the rebuilt index, but not for the index of another table."""
    orders.execute("CREATE TABLE others AS SELECT * FROM orders")

    migration = get_only_migration(predict("CREATE INDEX ON others (note); REINDEX INDEX orders_pkey"))

    (of_orders,) = (table for table in migration.unavailable if table.relation == "public.orders")
    assert of_orders.reads == of_orders.writes


def test_without_production_nothing_is_said(settings, project):
    project.write("1_it.sql", REWRITE)

    migration = get_only_migration(run(settings, dry_run=True))

    assert (migration.estimate, migration.unavailable) == (None, ())
    assert migration.statements[0].estimate is None


def test_the_command_reads_the_file_and_shows_the_interval_first(project, here):
    (project.folder / "production.json").write_text(json.dumps(to_json(grow(here, 10))))
    project.write("1_it.sql", REWRITE)

    words = project("dry-run", "--no-gate", "--production", "production.json", "--output", "json=r.json")

    assert words.code == 0, words.err
    assert "nine times in ten" in words.out
    assert "in production: 1 it blocks reads and writes of public.orders for about " in words.out
    shown = [line.strip(" │├└─") for line in words.out.splitlines()]
    assert any(
        line.startswith("blocks reads and writes of public.orders for about ")
        and " in production (90 %: " in line
        for line in shown
    )
    (migration,) = json.loads((project.folder / "r.json").read_text())["migrations"]
    assert migration["unavailable"][0]["reads"] == migration["estimate"]
    assert migration["statements"][0]["estimate"]["known"] is True


def test_a_hook_that_did_nothing_leaves_the_rest_known(predict):
    idle = plugin("idle", after_ddl=lambda conn: None)

    migration = get_only_migration(predict(REWRITE, plugins=(idle,)))

    assert migration.hooks[0].estimate.known
    assert migration.hooks[0].estimate.p50_ms is None
    assert migration.estimate.known


def test_a_hook_that_did_something_makes_the_migration_unknown(predict):
    busy = plugin("busy", after_ddl=lambda conn: HookResult("after_ddl", "busy", rows_affected=7))

    migration = get_only_migration(predict(REWRITE, plugins=(busy,)))

    assert not migration.hooks[0].estimate.known
    assert "is code" in migration.estimate.reason


def test_several_sizes_are_rehearsed_by_itself_where_that_pays(settings, project, here):
    project.write("1_it.sql", REWRITE)
    production = Production(grow(here, 10), budget_s=600)

    report = run(settings, dry_run=True, place="embedded", production=production)

    # All sixty thousand orders are in the third sample, so there is no larger one.
    assert any("10,000, 30,000 and 100,000 rows" in note for note in report.notes)
    assert get_only_migration(report).estimate.known
    assert get_only_migration(report).not_seen == ()


def test_a_budget_that_is_spent_leaves_the_first_size(settings, project, here):
    project.write("1_it.sql", REWRITE)

    report = run(settings, dry_run=True, place="embedded", production=Production(grow(here, 10), budget_s=0))

    assert not any("for the estimates" in note for note in report.notes)
    assert any("a sample of 10,000 rows" in note for note in report.notes)


def test_a_clone_is_rehearsed_with_fewer_rows_too_where_production_has_more(
    settings, project, here, database
):
    project.write("1_it.sql", REWRITE)
    production = Production(grow(here, 10), budget_s=600)
    database.close()

    report = run(settings, dry_run=True, place="clone", production=production)

    assert any("rehearsed on 10,000, 30,000 and all rows of each table" in note for note in report.notes)
    assert get_only_migration(report).estimate.known
    assert any("rehearsed in a clone of" in note for note in report.notes)
    with psycopg.connect(settings.url) as conn:
        assert conn.execute(
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'confiture%'"
        ).fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM orders").fetchone() == (60_000,)


@pytest.mark.parametrize(("times", "budget_s"), [(1, 600), (10, 0)])
def test_a_clone_is_rehearsed_once_where_more_does_not_pay(
    settings, project, here, database, times, budget_s
):
    project.write("1_it.sql", REWRITE)
    database.close()

    report = run(
        settings, dry_run=True, place="clone", production=Production(grow(here, times), budget_s=budget_s)
    )

    assert not any("for the estimates" in note for note in report.notes)
    assert get_only_migration(report).estimate.known


def test_who_may_not_thin_a_clone_out_is_told_what_all_rows_say(settings, project, here, database):
    project.write("1_it.sql", REWRITE)
    database.execute("CREATE ROLE thin LOGIN CREATEDB PASSWORD 'thin'; ALTER TABLE orders OWNER TO thin")
    name = database.info.dbname
    database.execute(f'ALTER DATABASE "{name}" OWNER TO thin; GRANT ALL ON SCHEMA public TO thin')
    database.close()
    theirs = evolve(settings, url=make_conninfo(settings.url, user="thin", password="thin"))

    try:
        report = run(theirs, dry_run=True, place="clone", production=Production(grow(here, 10), budget_s=600))
    finally:
        with psycopg.connect(settings.url, autocommit=True) as conn:
            conn.execute("REASSIGN OWNED BY thin TO CURRENT_USER; DROP OWNED BY thin; DROP ROLE thin")

    assert report.outcome == "ok"
    assert not any("for the estimates" in note for note in report.notes)
    assert get_only_migration(report).estimate.known


def test_time_that_went_by_beside_the_statements_makes_it_unknown(predict, monkeypatch):
    monkeypatch.setattr("confiture.estimate.plan_estimate._UNACCOUNTED_MS", 0.0)
    monkeypatch.setattr("confiture.estimate.plan_estimate._UNACCOUNTED_SHARE", 0.0)

    migration = get_only_migration(predict(REWRITE))

    assert not migration.estimate.known
    assert "passed outside its statements and hooks" in migration.estimate.reason
    assert migration.statements[0].estimate.known


def test_what_fails_has_no_estimate(predict):
    report = predict("SELECT 1 / 0;")

    assert report.outcome == "failed"
    assert get_only_migration(report).estimate is None


class Widen(Migration):
    """A migration of an application's."""

    version, name = "1", "widen"

    def up(self) -> None:
        self.execute(REWRITE)


def test_the_python_api_says_what_is_known(orders, here):
    asked: Any = DryRunExecutor().run(orders, Widen(connection=orders), production=Production(grow(here, 10)))
    silent = DryRunExecutor().run(orders, Widen(connection=orders))

    assert asked.estimated_production_time_ms > 0
    assert 0 < asked.confidence_percent < 80
    assert (silent.estimated_production_time_ms, silent.confidence_percent) == (None, None)


def test_the_python_api_predicts_the_same_again_and_again(orders, here):
    """Every rolled back UPDATE leaves as many dead rows as the table has."""

    class Touch(Migration):
        version, name = "1", "touch"

        def up(self) -> None:
            self.execute("UPDATE orders SET customer = customer + 1")

    orders.execute("ALTER TABLE orders SET (autovacuum_enabled = off)")
    production = Production(grow(here, 10))

    asked: list[Any] = [
        DryRunExecutor().run(orders, Touch(connection=orders), production=production) for _ in range(3)
    ]

    estimates = [result.estimated_production_time_ms for result in asked]
    # Counted with the dead rows, the third was 0.22 of the first.
    assert min(estimates) > 0.3 * estimates[0]


def test_the_page_shows_the_headline_and_each_estimate(predict):
    page = render(predict(REWRITE + "ALTER TABLE orders ADD x int;"))

    assert "In production: 1 it blocks reads and writes of public.orders for about" in page
    assert page.count("in production: ") >= 2
    assert "at most" in page


@pytest.mark.parametrize(
    ("sql", "limit", "code"), [(REWRITE, "1h", 0), (REWRITE, "1ms", 1), ("SELECT 1;", "1h", 1)]
)
def test_the_gate_limits_the_upper_end_and_unknown_fails_it(project, here, sql, limit, code):
    (project.folder / "p.json").write_text(json.dumps(to_json(grow(here, 10))))
    (project.folder / "confiture.toml").write_text(
        f'[gate]\nmax_estimated = "{limit}"\nseverity = {{ change-type-rewrite = "off" }}\n'
    )
    project.write("1_it.sql", sql)

    done = project("dry-run", "--production", "p.json")

    assert done.code == code, done.out + done.err


@pytest.mark.parametrize(("limit", "code"), [("1h", 0), ("2s", 1)])
def test_the_gate_judges_how_long_production_would_be_blocked(project, here, limit, code):
    """Here the table is blocked for milliseconds, with a thousand times the rows for seconds."""
    (project.folder / "p.json").write_text(json.dumps(to_json(grow(here, 90))))
    (project.folder / "confiture.toml").write_text(
        f'[gate]\nmax_block = "{limit}"\nseverity = {{ change-type-rewrite = "off" }}\n'
    )
    project.write("1_it.sql", REWRITE)

    done = project("dry-run", "--production", "p.json")

    assert done.code == code, done.out + done.err
    assert ("public.orders may be blocked for up to" in done.out) == (code == 1)


def test_production_is_read_directly_from_its_url(project, orders):
    project.write("1_it.sql", REWRITE)

    done = project("dry-run", "--no-gate", "--production", database_url_of(orders), "--output", "json=r.json")

    assert done.code == 0, done.err
    (migration,) = json.loads((project.folder / "r.json").read_text())["migrations"]
    assert migration["estimate"]["known"], migration["estimate"]


@pytest.mark.parametrize("place", ["flag", "file"])
@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("postgresql://u:s3cret@127.0.0.1:1/shop", 3, "cannot read production's statistics: cannot connect"),
        ("host=127.0.0.1 port=1 password=s3cret", 3, "`stats` of [env.production]"),
        ("postgresql://u:a@s3cret@127.0.0.1/shop", 3, "write %40 for @"),
        ("postgre://u:s3cret@127.0.0.1/shop", 3, "did you mean 'postgresql://'?"),
        ("mysql://u:s3cret@127.0.0.1/shop", 3, "unknown scheme"),
        ("embedded:", 3, "names no server here"),
        ("//u:s3cret@127.0.0.1/shop", 2, "cannot be read"),
        ("u:s3cret@127.0.0.1", 2, "cannot be read"),
    ],
)
def test_a_production_that_cannot_be_read_is_named_without_its_password(project, source, code, words, place):
    project.write("1_it.sql", REWRITE)
    if place == "file":
        project.configure(f'[env.production]\nstats = "{source}"\n')

    done = project("dry-run", "--production", *([source] if place == "flag" else []))

    assert done.code == code, done.err
    assert words in " ".join(done.err.split())
    assert "s3cret" not in done.out + done.err


def test_a_production_whose_statement_timeout_is_too_short_is_named(project, orders):
    project.write("1_it.sql", REWRITE)
    url = make_conninfo(database_url_of(orders), options="-c statement_timeout=1")

    done = project("dry-run", "--production", url)

    assert done.code == 4
    assert "cannot read production's statistics: canceling statement due to statement timeout" in done.err
    assert "raise the statement_timeout" in done.err


@pytest.mark.slow
def test_a_production_that_is_locked_is_not_waited_for(project, orders, second):
    project.write("1_it.sql", "SELECT 1;")

    with second.transaction():
        second.execute("LOCK TABLE orders")
        done = project("dry-run", "--production", database_url_of(orders))

    assert done.code == 6
    assert "cannot read production's statistics: the size of a table" in " ".join(done.err.split())


def database_url_of(conn: psycopg.Connection[Any]) -> str:
    """Return the URL of a connection's database."""
    info = conn.info
    return f"postgresql://{info.user}@/{info.dbname}?host={quote(info.host, safe='')}&port={info.port}"


def test_the_configuration_remembers_where_production_is(project, here):
    (project.folder / "p.json").write_text(json.dumps(to_json(grow(here, 10))))
    (project.folder / "confiture.toml").write_text('[env.production]\nstats = "${WHERE}"\n')
    project.write("1_it.sql", REWRITE)
    named = evolve(project, environ={"WHERE": "p.json"})

    done = named("dry-run", "--no-gate", "--production")
    unset = project("dry-run", "--production")
    other = project("status")

    assert done.code == 0, done.err
    assert "in production (90 %: " in " ".join(done.out.split())
    assert unset.code == 2
    assert "WHERE is not set" in unset.err
    assert other.code == 0


def test_production_that_nobody_named_is_an_error(project):
    project.write("1_it.sql", REWRITE)

    done = project("dry-run", "--production")

    assert done.code == 2
    assert "[env.production] stats" in done.err


def test_waiting_for_a_cpu_is_no_work():
    ran = StatementReport(1, "SELECT 1", 500.0, lock_wait_ms=100.0, cpu_wait_ms=150.0)

    assert ran.work_ms == 250
    assert evolve(ran, cpu_wait_ms=None).work_ms == 400
