"""diesel: one folder a migration, with ``up.sql``, ``down.sql`` and perhaps ``metadata.toml``.

The version is the folder's name up to its first ``_``, without dashes; versions compare as text:
https://docs.rs/diesel_migrations/latest/diesel_migrations/struct.FileBasedMigrations.html.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve
from psycopg import Connection

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import combine_faults, list_folder, read_file
from confiture.migrations.version import VersionKey, parse_version
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import (
    build_migration,
    list_subfolders,
    refuse_duplicates,
    refuse_nothing,
    sort_migrations,
)
from confiture.sql.timestamp import render_utc

_UP, _DOWN, _METADATA = "up.sql", "down.sql", "metadata.toml"
# Hasura's folders hold the same files; it names them by milliseconds.
_HASURA = re.compile(r"\d{13}_.*", re.DOTALL)


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "__diesel_schema_migrations",
        frozenset({"version", "run_on"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("diesel", "diesel", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    migrations: list[MigrationFile] = []
    faults: list[MigrationFault] = []
    for subfolder, files in _list_migrations(folder):
        try:
            migrations.append(_read_migration(subfolder, files))
        except MigrationFault as fault:
            faults.append(fault)
    if faults:
        raise combine_faults(faults)
    refuse_nothing(folder, migrations, "diesel", "VERSION_name/up.sql")
    return refuse_duplicates(_tell_apart(sort_migrations(migrations, options.sorting or "text")))


def _tell_apart(migrations: Sequence[MigrationFile]) -> list[MigrationFile]:
    """Return the migrations; of those with versions that differ in zeros only, the later ones by whole name.

    To diesel ``00000000000000`` and ``000000000000000`` are two versions, and some projects have both.
    """
    first: dict[VersionKey, str] = {}
    return [
        migration
        if first.setdefault(parse_version(migration.version), migration.version) == migration.version
        else evolve(migration, version=migration.path.parent.name, name="")
        for migration in migrations
    ]


def _list_migrations(folder: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """Yield the folders of migrations with the names of their files; other folders hold none of them."""
    for subfolder in list_subfolders(folder):
        files = frozenset(path.name for path in list_folder(subfolder))
        if files & {_UP, _DOWN, _METADATA}:
            yield subfolder, files


def _read_migration(subfolder: Path, files: frozenset[str]) -> MigrationFile:
    if _UP not in files:
        raise MigrationFault(
            f"{subfolder.name} has no {_UP}",
            hint=f"write it, even an empty one, or delete {subfolder.name}: diesel reads no such folder",
            file=subfolder,
        )
    before, _, name = subfolder.name.partition("_")
    version = before.replace("-", "")
    if not version:
        raise MigrationFault(
            f"no version begins the name of the folder {subfolder.name!r}",
            hint="name it as diesel does: 2026-01-31-120000_create_orders",
            file=subfolder,
        )
    transactional = _read_metadata(subfolder / _METADATA) if _METADATA in files else True
    down = subfolder / _DOWN if _DOWN in files else None
    built = build_migration(version, name, subfolder / _UP, partial(_divide, transactional), down=down)
    return evolve(built, details=version)


def _divide(transactional: bool, path: Path, text: str, direction: Direction) -> SqlSection | None:
    if direction == "backward" and path.name == _UP:
        return None
    return SqlSection(path, text, transactional)


def _read_metadata(path: Path) -> bool:
    """Return True if the migration runs in a transaction."""
    try:
        table = tomllib.loads(read_file(path))
    except tomllib.TOMLDecodeError as error:
        # diesel ignores such a file, and with it what the author asked for.
        raise MigrationFault(
            f"{path.parent.name}/{path.name} is not TOML: {error}",
            hint="write run_in_transaction = false, or delete the file",
            file=path,
        ) from None
    # If the file does not say so, diesel takes its type's default, which is false.
    transactional = table.get("run_in_transaction", False)
    if not isinstance(transactional, bool):
        raise MigrationFault(
            f"{path.parent.name}/{path.name}: run_in_transaction is {transactional!r}, not true or false",
            hint="write run_in_transaction = false, or delete the line",
            file=path,
        )
    return transactional


def _recognize(folder: Path) -> Evidence | None:
    for subfolder, files in _list_migrations(folder):
        if _UP in files:
            return Evidence(f"{subfolder.name}/{_UP}", certain=_HASURA.fullmatch(subfolder.name) is None)
    return None


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    # Migrations of one transaction have one time.
    rows = fetch_rows(
        conn,
        f"SELECT version::text, {render_utc('run_on::timestamptz')} FROM {table}"
        ' ORDER BY run_on, version COLLATE "C"',
    )
    ours: dict[str, str] = {migration.details: migration.version for migration in migrations}
    return ToolHistory(
        tuple(ToolRecord(ours.get(f"{version}", f"{version}"), applied_at) for version, applied_at in rows)
    )


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"INSERT INTO {table} (version) VALUES ({quote_literal(migration.details)});"


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"DELETE FROM {table} WHERE version = {quote_literal(migration.details)};"
