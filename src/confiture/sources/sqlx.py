"""sqlx: ``<version>_name.sql``, or ``.up.sql`` with its ``.down.sql``, in the order of their numbers.

The rules are those of sqlx-core/src/migrate/source.rs in https://github.com/launchbadge/sqlx, and its ledger
is that of sqlx-postgres/src/migrate.rs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve
from psycopg import Connection

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import combine_faults
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import (
    build_migration,
    choose_half,
    hash_line_ends,
    match_files,
    refuse_duplicates,
    refuse_nothing,
    sort_migrations,
)
from confiture.sql.timestamp import render_utc

_NAME = r"(?P<version>[^_]*)_(?P<name>.*?)(?P<part>(?:\.up|\.down)?)\.sql"
_MOST = 2**63 - 1
_OUTSIDE = "-- no-transaction"
_ALGORITHM = "sha384"


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "_sqlx_migrations",
        frozenset({"version", "description", "success", "checksum"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("sqlx", "sqlx", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, _options: SourceOptions) -> tuple[MigrationFile, ...]:
    found = list(match_files(folder, _NAME))
    faults = [_build_name_fault(path, name) for path, name in found if not _is_version(name["version"])]
    if faults:
        raise combine_faults(faults)
    # A down file whose up file is gone is never run.
    downs = {int(name["version"]): path for path, name in found if name["part"] == ".down"}
    migrations = [
        _build(path, name, downs.get(int(name["version"]))) for path, name in found if name["part"] != ".down"
    ]
    refuse_nothing(folder, migrations, "sqlx", "VERSION_name.sql, or VERSION_name.up.sql and .down.sql")
    return sort_migrations(refuse_duplicates(migrations), "number")


def _is_version(text: str) -> bool:
    return re.fullmatch("[0-9]+", text) is not None and int(text) <= _MOST


def _build_name_fault(path: Path, found: re.Match[str]) -> MigrationFault:
    return MigrationFault(
        f"{path.name} is no name of sqlx's: {found['version']!r} is no version",
        hint="sqlx takes every .sql file with an underscore for a migration: move it to another folder",
        file=path,
    )


def _build(path: Path, found: re.Match[str], down: Path | None) -> MigrationFile:
    migration = build_migration(found["version"], found["name"], path, down=down)
    return evolve(migration, divide=partial(_divide, migration))


def _divide(migration: MigrationFile, direction: Direction) -> SqlSection | None:
    half = choose_half(migration, direction)
    return SqlSection(*half, transactional=not half[1].startswith(_OUTSIDE)) if half else None


def _recognize(folder: Path) -> Evidence | None:
    # The plain convention and golang-migrate have the same names; only the ledger tells them apart.
    first: Evidence | None = None
    for path, found in match_files(folder, _NAME):
        if _is_version(found["version"]):
            if path.read_text("utf-8", errors="replace").startswith(_OUTSIDE):
                return Evidence(path.name)
            first = first or Evidence(path.name, certain=False)
    return first


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    files = {int(migration.version): migration for migration in migrations}
    rows = fetch_rows(
        conn,
        f"SELECT version, success, checksum, {render_utc('installed_on')}"
        f" FROM {table} ORDER BY installed_on, version",
    )
    applied, faults = list[ToolRecord](), list[str]()
    for version, success, checksum, applied_at in rows:
        if not success:
            faults.append(
                f"version {version} failed half-way; correct the schema, then delete its row from {table}"
            )
        migration = files.get(int(version))
        changed = migration is not None and checksum not in hash_line_ends(migration.path, _ALGORITHM)
        applied.append(ToolRecord(str(version), applied_at, changed))
    return ToolHistory(tuple(applied), tuple(faults))


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    checksum, *_ = hash_line_ends(migration.path, _ALGORITHM)
    description = quote_literal(migration.name.replace("_", " "))
    # -1 is what sqlx writes before it knows the time; nothing reads it.
    return (
        f"INSERT INTO {table} (version, description, success, checksum, execution_time) VALUES"
        f" ({int(migration.version)}, {description}, true,"
        f" decode('{checksum.hex()}', 'hex'), -1);"
    )


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"DELETE FROM {table} WHERE version = {int(migration.version)};"
