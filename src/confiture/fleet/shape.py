"""Read what a target is like: its schema, extensions, server, size, and what is pending on it."""

from __future__ import annotations

import os
import time
from typing import Any

import psycopg
from attrs import evolve, field, frozen
from psycopg import Connection

from confiture.catalog.read_schema import read_shape
from confiture.config.settings import Settings
from confiture.exceptions import LockFault, UserFault
from confiture.fleet.target import Target
from confiture.fleet.work import ask_database, build_settings, read_plan, shorten_error
from confiture.ledger.table import Ledger
from confiture.migrations.planner import select_pending
from confiture.models.fleet_shape import TargetShape
from confiture.postgres.connect import read_server_version
from confiture.postgres.session import fetch_rows, quote_literal

_SIZE_OF_DATABASE = "SELECT pg_database_size(current_database())"
_SIZE_OF_SCHEMA = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
    " WHERE relkind IN ('r', 'm') AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = {})"
)


@frozen
class ShapeTask:
    """What a worker needs to read one target. It holds no expanded secret.

    Attributes:
        target: The target.
        settings: The settings of the run, without a URL.
        plan: The checksum of all migration files; ``None`` not to ask what is pending, nor for the size.
    """

    target: Target
    settings: Settings = field(repr=False)
    plan: str | None = None


def read_target(task: ShapeTask) -> TargetShape:
    """Return what a target is like; every error becomes part of it."""
    began = time.perf_counter()
    try:
        shape = _read(task)
    except UserFault as fault:
        shape = TargetShape(task.target.name, fault=shorten_error(str(fault)), exit_code=fault.exit_code)
    except psycopg.Error as error:
        shape = TargetShape(
            task.target.name, fault=shorten_error(f"{type(error).__name__}: {error}"), exit_code=4
        )
    return evolve(shape, duration_ms=(time.perf_counter() - began) * 1000)


def _read(task: ShapeTask) -> TargetShape:
    settings = build_settings(task.settings, task.target, os.environ)
    shape = ask_database(settings, task.target, lambda conn: _ask(conn, settings, task.target))
    if task.plan is None:
        return shape
    migrations = read_plan(settings, task.plan)
    entries = ask_database(settings, task.target, Ledger(settings.schema).read)
    size = ask_database(settings, task.target, lambda conn: _read_size(conn, task.target))
    shape = evolve(shape, size_bytes=size)
    try:
        pending = select_pending(migrations, entries, out_of_order=settings.allow_out_of_order)
    except UserFault as fault:
        return evolve(shape, fault=shorten_error(str(fault)), exit_code=fault.exit_code)
    return evolve(shape, pending=tuple(migration.version for migration in pending))


def _ask(conn: Connection[Any], settings: Settings, target: Target) -> TargetShape:
    fingerprint, extensions = read_shape(conn, settings.schema, target.schema)
    return TargetShape(target.name, fingerprint, extensions, read_server_version(conn))


def _read_size(conn: Connection[Any], target: Target) -> int:
    query = (
        _SIZE_OF_DATABASE if target.schema is None else _SIZE_OF_SCHEMA.format(quote_literal(target.schema))
    )
    try:
        # The size of a locked table waits for the lock, and later sessions would queue behind it.
        with conn.transaction():
            ((size,),) = fetch_rows(conn, f"SET LOCAL lock_timeout = '5s'; {query}")
    except psycopg.errors.LockNotAvailable:
        raise LockFault(f"the size of {target.name} cannot be read: a table is locked") from None
    return int(size)
