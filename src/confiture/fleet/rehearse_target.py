"""Rehearse one target: the unit of work of a fleet's rehearsal, here or on another machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg
from attrs import evolve

from confiture.api.execution import Executor
from confiture.estimate.plan_estimate import RehearsedSize, forecast_plan
from confiture.estimate.prediction_store import PredictionStore
from confiture.estimate.prior import load_shipped
from confiture.exceptions import ConnectionFault, UserFault
from confiture.fleet.work import TargetTask, build_settings, load_task_plugins, read_plan, shorten_error
from confiture.gate.scope import Scope
from confiture.migrations.planner import select_pending
from confiture.models.report import Fault, HookReport, Report
from confiture.rules.evaluate import select_rules
from confiture.rules.judge_rehearsal import make_judge
from confiture.rules.registry import collect_rules, read_severities

if TYPE_CHECKING:
    from confiture.config.settings import Settings
    from confiture.models.ledger import LedgerEntry
    from confiture.models.migration import MigrationFile
    from confiture.plugins.load import LoadedPlugin


def rehearse_target(task: TargetTask) -> tuple[str, Report]:
    """Rehearse what is pending on a target in one transaction, and return its name and the report.

    The transaction is rolled back, and nothing is stored. The report has the findings of the rules, and an
    estimate for each migration.
    """
    try:
        report = _rehearse(task)
    except UserFault as fault:
        report = _refuse(shorten_error(str(fault)), fault.exit_code)
    except psycopg.OperationalError as error:
        report = _refuse(shorten_error(f"the connection was lost: {error}"), ConnectionFault.exit_code)
    except Exception as error:
        report = _refuse(shorten_error(f"{type(error).__name__}: {error}"), 1)
    return task.target.name, report


def _refuse(message: str, exit_code: int) -> Report:
    return Report("dry-run", "refused", exit_code, error=Fault(message))


def _rehearse(task: TargetTask) -> Report:
    settings = build_settings(task.settings, task.target, os.environ)
    read_plan(settings, task.plan)
    plugins = load_task_plugins(task)
    result = _build_executor(settings, plugins).rehearse("transaction", None, 1, with_statistics=True)
    if result.here is None:
        return _make_portable(result.report)
    # It is rehearsed where it will run: the prediction is for the same tables and the same server.
    size = RehearsedSize(result.here, result.report, result.runs)
    prior = evolve(load_shipped(), own=PredictionStore.open(settings).own_history)
    forecasts = forecast_plan([size], result.here, prior)
    return _make_portable(
        evolve(result.report, migrations=tuple(forecast.migration for forecast in forecasts))
    )


def _build_executor(settings: Settings, plugins: tuple[LoadedPlugin, ...]) -> Executor:
    def choose(
        migrations: tuple[MigrationFile, ...], entries: tuple[LedgerEntry, ...]
    ) -> tuple[MigrationFile, ...]:
        return select_pending(migrations, entries, out_of_order=settings.allow_out_of_order)

    rules = collect_rules(plugins)
    selected = select_rules(rules, read_severities(settings.gate.severity, rules))
    judge = make_judge(settings, selected, scope=Scope(settings.gate.judge_after))
    return Executor(settings, "dry-run", choose, plugins, lambda _: None, judge=judge)


def _make_portable(report: Report) -> Report:
    """Return the report without the hooks' own objects, which need not be picklable."""

    def strip(hook: HookReport) -> HookReport:
        return evolve(hook, handed_over={})

    return evolve(
        report,
        migrations=tuple(
            evolve(migration, hooks=tuple(map(strip, migration.hooks))) for migration in report.migrations
        ),
    )
