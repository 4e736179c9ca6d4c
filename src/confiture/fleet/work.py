"""Migrate one target: the unit of work that executors run, here or on another machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen
from psycopg import Connection
from psycopg.conninfo import make_conninfo

from confiture.config.settings import Settings, mask_password
from confiture.config.urls import expand_variables
from confiture.exceptions import LedgerFault, UserFault
from confiture.fleet.target import Target
from confiture.ledger.table import Ledger
from confiture.migrations.folder import hash_text
from confiture.migrations.planner import select_pending
from confiture.models.fleet import TargetOutcome
from confiture.models.migration import MigrationFile
from confiture.postgres.connect import connect
from confiture.sources.read_migrations import read_migrations
from confiture.sql.quote import quote_ident

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin

# What a process keeps from one target to the next.
_kept = threading.local()
_opened: set[Connection[Any]] = set()
_reading = threading.Lock()
_plans: dict[tuple[Any, ...], tuple[MigrationFile, ...]] = {}
_plugins: dict[tuple[str, ...], tuple[LoadedPlugin, ...]] = {}


@frozen
class TargetTask:
    """What a worker needs to migrate one target. It can be pickled, and holds no expanded secret.

    Attributes:
        target: The target.
        settings: The settings of the run, without a URL.
        plan: The checksum of all migration files; a worker with other files refuses.
        plugins: The names of the plugins to use, in order.
    """

    target: Target
    settings: Settings = field(repr=False)
    plan: str
    plugins: tuple[str, ...] = ()


def migrate_target(task: TargetTask) -> TargetOutcome:
    """Apply what is pending on a target; every error becomes part of the outcome."""
    began = time.perf_counter()
    try:
        outcome = _migrate(task)
    except UserFault as fault:
        outcome = _fail(task, str(fault), fault.exit_code)
    except Exception as error:
        outcome = _fail(task, f"{type(error).__name__}: {error}", 1)
    return evolve(outcome, duration_ms=(time.perf_counter() - began) * 1000)


def _fail(task: TargetTask, message: str, code: int) -> TargetOutcome:
    first = (message.strip().splitlines() or [""])[0]
    return TargetOutcome(task.target.name, "failed", error=mask_password(first), exit_code=code)


def _migrate(task: TargetTask) -> TargetOutcome:
    settings = build_settings(task.settings, task.target, os.environ)
    migrations = _read_plan(settings, task.plan)
    if not _find_pending(settings, migrations):
        return TargetOutcome(task.target.name, "unchanged")
    from confiture.api.operations import run

    report = run(settings, plugins=_load_plugins(task))
    applied = tuple(one.version for one in report.migrations if one.outcome == "applied")
    if report.exit_code:
        fault = next((one.error for one in report.migrations if one.error), report.error)
        message = fault.message if fault else report.outcome
        return TargetOutcome(task.target.name, "failed", applied, mask_password(message), report.exit_code)
    return TargetOutcome(task.target.name, "done" if applied else "unchanged", applied)


def build_settings(settings: Settings, target: Target, environ: Mapping[str, str]) -> Settings:
    """Return the settings for one target, with the variables in its URL expanded.

    Raises:
        LedgerFault: A variable is not set.
    """
    try:
        url = expand_variables(target.url, environ)
    except ValueError as error:
        raise LedgerFault(f"{target.name}: {error}", hint="set it where the worker runs") from None
    if target.schema is None:
        return evolve(settings, url=url, direct_url=None)
    path = f"-c search_path={quote_ident(target.schema)}"
    assert target.ledger_schema is not None
    in_schema = make_conninfo(url, options=path)
    return evolve(settings, url=in_schema, direct_url=None, schema=target.ledger_schema)


def _find_pending(settings: Settings, migrations: tuple[MigrationFile, ...]) -> tuple[MigrationFile, ...]:
    # On a connection that the thread keeps: most targets have nothing to do, and connecting takes longer than
    # finding that out.
    conn = _get_connection(settings)
    entries = Ledger(settings.schema).read(conn)
    return select_pending(migrations, entries, out_of_order=settings.allow_out_of_order)


def _get_connection(settings: Settings) -> Connection[Any]:
    """Return the thread's connection to the database of a target, whatever the schema."""
    url = make_conninfo(settings.url or "", options="")
    kept: tuple[str, Connection[Any]] | None = getattr(_kept, "connection", None)
    if kept is not None and kept[0] == url and not kept[1].closed:
        return kept[1]
    if kept is not None:
        kept[1].close()
        _opened.discard(kept[1])
    conn = connect(evolve(settings, url=url))
    _kept.connection = (url, conn)
    _opened.add(conn)
    return conn


def close_connections() -> None:
    """Close the connections that all threads of this process keep, once no work is left."""
    while _opened:
        _opened.pop().close()


def _read_plan(settings: Settings, checksum: str) -> tuple[MigrationFile, ...]:
    """Return the migrations, which are read once for all targets.

    Raises:
        LedgerFault: They are other ones than those of the run.
    """
    key = (settings.migrations, settings.source, checksum)
    with _reading:
        if key not in _plans:
            migrations = read_migrations(settings)
            if hash_plan(migrations) != checksum:
                raise LedgerFault(
                    "the migrations here are other ones than those that the run began with",
                    hint="deploy the same files to every worker, or begin a new run",
                )
            _plans[key] = migrations
    return _plans[key]


def hash_plan(migrations: Iterable[MigrationFile]) -> str:
    """Return the checksum of all migrations together."""
    return hash_text("\n".join(f"{migration.version} {migration.checksum}" for migration in migrations))


def _load_plugins(task: TargetTask) -> tuple[LoadedPlugin, ...]:
    if not task.plugins:
        return ()
    with _reading:
        if task.plugins not in _plugins:
            from confiture.plugins.find import find_plugins
            from confiture.plugins.load import load_all
            from confiture.plugins.select import select_plugins

            chosen = select_plugins(find_plugins(), task.plugins)
            _plugins[task.plugins] = load_all(chosen, task.settings.plugin_tables)
    return _plugins[task.plugins]
