"""golang-migrate: ``<version>_<title>.up.sql`` and its ``.down.sql``, in the order of their numbers.

A file may have any extension, and either half of a pair may be missing: MIGRATIONS.md and source/parse.go of
https://github.com/golang-migrate/migrate. Its drivers send a whole file as one simple query, which PostgreSQL
runs as one transaction unless it is a single statement. With its option ``x-multi-statement`` they send each
statement by itself, so a file that PostgreSQL refuses inside a transaction was written for that option.
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
from confiture.migrations.folder import combine_faults, hash_text
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import (
    build_migration,
    choose_half,
    match_files,
    refuse_nothing,
    sort_migrations,
)

_NAME = r"(?P<version>[0-9]+)_(?P<name>.*)\.(?P<part>up|down)\.(?P<extension>.*)"
# The tool passes over a number that its unsigned integer cannot hold.
_MOST = 2**64 - 1

Halves = dict[str, tuple[Path, re.Match[str]]]


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "schema_migrations",
        frozenset({"version", "dirty"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("golang-migrate", "golang-migrate", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, _options: SourceOptions) -> tuple[MigrationFile, ...]:
    by_number: dict[int, Halves] = {}
    faults: list[MigrationFault] = []
    for path, found in match_files(folder, _NAME):
        if int(found["version"]) > _MOST:
            continue
        halves = by_number.setdefault(int(found["version"]), {})
        if found["part"] in halves:
            faults.append(_build_twice_fault(halves[found["part"]][0], path, found))
        halves[found["part"]] = path, found
    if faults:
        raise combine_faults(faults)
    migrations = [_build_pair(halves) for halves in by_number.values()]
    refuse_nothing(folder, migrations, "golang-migrate", "VERSION_title.up.sql and VERSION_title.down.sql")
    return sort_migrations(migrations, "number")


def _build_twice_fault(other: Path, path: Path, found: re.Match[str]) -> MigrationFault:
    return MigrationFault(
        f"version {int(found['version'])} has two {found['part']} files: {other.name} and {path.name}",
        hint="give one of them a new version, or delete it",
        file=path,
    )


def _build_pair(halves: Halves) -> MigrationFile:
    down = halves["down"][0] if "down" in halves else None
    path, found = halves.get("up") or halves["down"]
    migration = build_migration(found["version"], found["name"], path, down=down)
    if "up" not in halves:
        # For the tool, a version with only a down file is a migration that does nothing.
        migration = evolve(migration, text="", checksum=hash_text(""))
    return evolve(migration, divide=partial(_divide, migration))


def _divide(migration: MigrationFile, direction: Direction) -> SqlSection | None:
    # The tool takes a missing down file for an empty one: it forgets the migration and undoes nothing.
    half = choose_half(migration, direction)
    return SqlSection(*half, lone_outside=True, outside_if_needed=True) if half else None


def _recognize(folder: Path) -> Evidence | None:
    # sqlx names pairs in the same way.
    for path, found in match_files(folder, _NAME):
        if found["extension"] == "sql":
            return Evidence(path.name, certain=False)
    return None


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    rows = fetch_rows(conn, f"SELECT version, dirty FROM {table} ORDER BY version")
    if not rows:
        return ToolHistory()
    current = int(rows[-1][0])
    faults = [
        f"dirty: version {version} failed half-way; correct the schema, then: migrate force VERSION"
        for version, dirty in rows
        if dirty
    ]
    if len(rows) > 1:
        faults.append(f"it has {len(rows)} rows, and golang-migrate keeps one")
    below = [ToolRecord(file.version) for file in migrations if int(file.version) < current]
    return ToolHistory((*below, ToolRecord(str(current))), tuple(faults), last_only=True)


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    # A migration that is applied out of order does not lower the version.
    version = int(migration.version)
    return f"DELETE FROM {table} WHERE version < {version};" + _render_only_row(table, version)


def _render_reverted(table: str, migration: MigrationFile, all_files: Sequence[MigrationFile]) -> str:
    version = int(migration.version)
    below = [int(file.version) for file in all_files if int(file.version) < version]
    forget = f"DELETE FROM {table} WHERE version >= {version};"
    return forget + (_render_only_row(table, below[-1]) if below else "")


def _render_only_row(table: str, version: int) -> str:
    return (
        f"INSERT INTO {table} (version, dirty) SELECT {version}, false"
        f" WHERE NOT EXISTS (SELECT FROM {table});"
    )
