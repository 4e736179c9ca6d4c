"""Migrate one target: the unit of work that executors run, here or on another machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from attrs import evolve, field, frozen
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from confiture.config.fleet_settings import FleetSettings
from confiture.config.settings import Settings, mask_password
from confiture.config.urls import expand_variables
from confiture.exceptions import ConnectionFault, LedgerFault, UsageFault, UserFault
from confiture.fleet.target import Target
from confiture.ledger.table import Ledger
from confiture.migrations.folder import hash_text
from confiture.migrations.planner import select_pending
from confiture.models.fleet import TargetOutcome
from confiture.models.migration import MigrationFile
from confiture.postgres.connect import connect
from confiture.postgres.database_url import URL_HINT
from confiture.sources.read_migrations import read_migrations
from confiture.sql.quote import quote_ident

if TYPE_CHECKING:
    from confiture.plugins.load import LoadedPlugin

Answer = TypeVar("Answer")
_LONGEST_ERROR = 300
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
    except psycopg.OperationalError as error:
        outcome = _fail(task, f"the connection was lost: {error}", ConnectionFault.exit_code)
    except Exception as error:
        outcome = _fail(task, f"{type(error).__name__}: {error}", 1)
    return evolve(outcome, duration_ms=(time.perf_counter() - began) * 1000)


def _fail(task: TargetTask, message: str, code: int) -> TargetOutcome:
    return TargetOutcome(task.target.name, "failed", error=shorten_error(message), exit_code=code)


def shorten_error(message: str) -> str:
    """Return a message in one line, without passwords."""
    line = "; ".join(part.strip() for part in message.splitlines() if part.strip())
    return mask_password(line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]}…")


def _migrate(task: TargetTask) -> TargetOutcome:
    settings = build_settings(task.settings, task.target, os.environ)
    migrations = read_plan(settings, task.plan)
    if not _find_pending(settings, task.target, migrations):
        return TargetOutcome(task.target.name, "unchanged")
    from confiture.api.operations import run

    report = run(settings, plugins=load_task_plugins(task))
    applied = tuple(migration.version for migration in report.migrations if migration.outcome == "applied")
    if report.exit_code:
        fault = next((migration.error for migration in report.migrations if migration.error), report.error)
        message = fault.message if fault else report.outcome
        return TargetOutcome(task.target.name, "failed", applied, shorten_error(message), report.exit_code)
    return TargetOutcome(task.target.name, "done" if applied else "unchanged", applied)


def select_shared_settings(settings: Settings) -> Settings:
    """Return the settings without what a worker need not know: the URLs here may hold passwords."""
    return evolve(settings, url=None, direct_url=None, fleet=FleetSettings())


def build_settings(settings: Settings, target: Target, environ: Mapping[str, str]) -> Settings:
    """Return the settings for one target, with the variables in its URL expanded.

    Raises:
        UsageFault: A variable is not set, or libpq does not understand the URL.
    """
    url = expand_url(target, environ)
    if target.schema is None:
        return evolve(settings, url=url, direct_url=None)
    assert target.ledger_schema is not None
    try:
        options = conninfo_to_dict(url).get("options") or ""
        in_schema = make_conninfo(url, options=f"{options} {_render_search_path(target.schema)}".strip())
    except psycopg.ProgrammingError:
        # Not chained: the message may quote a part of the URL.
        raise UsageFault(f"{target.name}: libpq does not understand its URL", hint=URL_HINT) from None
    return evolve(settings, url=in_schema, direct_url=None, schema=target.ledger_schema, tenant=target.schema)


def _render_search_path(schema: str) -> str:
    # In libpq's options a space ends an option, and a backslash escapes one.
    escaped = quote_ident(schema).replace("\\", "\\\\").replace(" ", "\\ ")
    return f"-c search_path={escaped}"


def expand_url(target: Target, environ: Mapping[str, str]) -> str:
    """Return a target's URL with the variables in it expanded.

    Raises:
        UsageFault: A variable is not set.
    """
    try:
        return expand_variables(target.url, environ)
    except ValueError as error:
        raise UsageFault(f"{target.name}: {error}", hint="set it where the worker runs") from None


def _find_pending(
    settings: Settings, target: Target, migrations: tuple[MigrationFile, ...]
) -> tuple[MigrationFile, ...]:
    entries = ask_database(settings, target, Ledger(settings.schema).read)
    return select_pending(migrations, entries, out_of_order=settings.allow_out_of_order)


def ask_database(settings: Settings, target: Target, ask: Callable[[Connection[Any]], Answer]) -> Answer:
    """Return what ``ask`` returns, which reads from a target's database in whatever schema.

    The thread keeps the connection: most targets have nothing to do, and connecting takes longer than finding
    that out.

    Raises:
        ConnectionFault: The server cannot be reached.
        psycopg.Error: ``ask`` failed.
    """
    url = expand_url(target, os.environ)
    kept: tuple[str, Connection[Any]] | None = getattr(_kept, "connection", None)
    if kept is not None and kept[0] == url and not kept[1].closed:
        try:
            return ask(kept[1])
        except psycopg.OperationalError:
            # The server may have ended it while it was idle. Asking again is safe: it only reads.
            if not kept[1].closed:
                raise
    if kept is not None:
        kept[1].close()
        _opened.discard(kept[1])
    conn = connect(evolve(settings, url=url))
    _kept.connection = (url, conn)
    _opened.add(conn)
    return ask(conn)


def close_connections() -> None:
    """Close the connections that all threads of this process keep, once no work is left."""
    while _opened:
        _opened.pop().close()


def read_plan(settings: Settings, checksum: str) -> tuple[MigrationFile, ...]:
    """Return the migrations, which are read once for all targets.

    Raises:
        LedgerFault: They differ from those of the run.
    """
    key = (settings.migrations, settings.source, checksum)
    with _reading:
        if key not in _plans:
            migrations = read_migrations(settings)
            if hash_plan(migrations) != checksum:
                raise LedgerFault(
                    "the migrations here differ from those that the run began with",
                    hint="deploy the same files to every worker, or begin a new run",
                )
            _plans[key] = migrations
    return _plans[key]


def hash_plan(migrations: Iterable[MigrationFile]) -> str:
    """Return the checksum of all migrations together."""
    return hash_text("\n".join(f"{migration.version} {migration.checksum}" for migration in migrations))


def load_task_plugins(task: TargetTask) -> tuple[LoadedPlugin, ...]:
    """Return the plugins of a task, which are loaded once for all targets."""
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
