"""Read and write ``_yoyo_migration``, and the tables beside it."""

from __future__ import annotations

import hashlib
import socket
import uuid
from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from confiture.models.migration import MigrationFile
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import ToolHistory, ToolLedger, ToolRecord
from confiture.sql.timestamp import UTC_FORMAT

_COLUMNS = frozenset({"migration_hash", "migration_id", "applied_at_utc"})
_NOW = "clock_timestamp() AT TIME ZONE 'UTC'"


def build_ledger() -> ToolLedger:
    """Return the description of the table."""
    return ToolLedger("_yoyo_migration", _COLUMNS, _read_history, _render_applied, _render_reverted)


def _read_history(conn: Connection[Any], table: str, _migrations: Sequence[MigrationFile]) -> ToolHistory:
    rows = fetch_rows(
        conn,
        f"SELECT migration_id::text, to_char(applied_at_utc, {UTC_FORMAT}) "
        f"FROM {table} ORDER BY applied_at_utc",
    )
    return ToolHistory(tuple(ToolRecord(*row) for row in rows), _find_lock(conn, table))


def _find_lock(conn: Connection[Any], table: str) -> tuple[str, ...]:
    lock = _name_beside(table, "yoyo_lock")
    ((exists,),) = fetch_rows(conn, f"SELECT to_regclass({quote_literal(lock)}) IS NOT NULL")
    pids = fetch_rows(conn, f"SELECT pid FROM {lock}") if exists else []
    return tuple(
        f"process {pid} of yoyo holds its lock: wait for its end; if it has ended: yoyo break-lock"
        for (pid,) in pids
    )


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    values = f"{quote_literal(_hash_id(migration))}, {quote_literal(migration.version)}"
    return (
        f"INSERT INTO {table} (migration_hash, migration_id, applied_at_utc) VALUES ({values}, {_NOW});"
        f"{_render_log(table, migration, 'apply')}"
    )


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return (
        f"DELETE FROM {table} WHERE migration_hash = {quote_literal(_hash_id(migration))};"
        f"{_render_log(table, migration, 'rollback')}"
    )


def _render_log(table: str, migration: MigrationFile, operation: str) -> str:
    entry = (str(uuid.uuid1()), _hash_id(migration), migration.version, operation, socket.gethostname())
    values = ", ".join(map(quote_literal, entry))
    return (
        f"INSERT INTO {_name_beside(table, '_yoyo_log')} (id, migration_hash, migration_id, operation, "
        f"hostname, username, created_at_utc) VALUES ({values}, session_user, {_NOW});"
    )


def _hash_id(migration: MigrationFile) -> str:
    return hashlib.sha256(migration.version.encode()).hexdigest()


def _name_beside(table: str, name: str) -> str:
    """Return the quoted name of another table in the schema of this one."""
    return f"{table.rpartition('.')[0]}.{name}"
