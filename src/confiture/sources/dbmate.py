"""dbmate: ``<digits>_name.sql``, divided by ``-- migrate:up`` and ``-- migrate:down``.

The division is that of the plain convention, ``transaction:false`` included. dbmate sorts file names as text
and records the digits: https://github.com/amacneil/dbmate#migration-files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg import Connection

from confiture.models.migration import MigrationFile
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import (
    build_migration,
    match_files,
    refuse_duplicates,
    refuse_nothing,
    sort_migrations,
)

_NAME = r"(?P<version>\d+)(?:_(?P<name>.*))?\.sql"
_MARKER = re.compile(r"^--\s*migrate:up\b", re.MULTILINE)


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "schema_migrations",
        frozenset({"version"}),
        _read_history,
        _render_applied,
        _render_reverted,
        without=frozenset({"dirty"}),
    )
    return Source("dbmate", "dbmate", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    migrations = [
        build_migration(found["version"], found["name"] or "", path)
        for path, found in match_files(folder, _NAME)
    ]
    refuse_nothing(folder, migrations, "dbmate", "VERSION_name.sql")
    return sort_migrations(refuse_duplicates(migrations), options.sorting or "text")


def _recognize(folder: Path) -> Evidence | None:
    for path, _ in match_files(folder, _NAME):
        if _MARKER.search(path.read_text(encoding="utf-8", errors="replace")):
            return Evidence(path.name)
    return None


def _read_history(conn: Connection[Any], table: str, _migrations: Sequence[MigrationFile]) -> ToolHistory:
    # dbmate records no time and no position: only the set of versions is known.
    rows = fetch_rows(conn, f"SELECT version::text FROM {table} ORDER BY 1")
    return ToolHistory(tuple(ToolRecord(version) for (version,) in rows), ordered=False)


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"INSERT INTO {table} (version) VALUES ({quote_literal(migration.version)});"


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"DELETE FROM {table} WHERE version = {quote_literal(migration.version)};"
