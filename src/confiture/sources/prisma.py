"""Prisma: one folder a migration, with ``migration.sql``; there is no way back.

The folder's name is the key, and folders sort by it. Prisma sends a script as one query, so a script of one
statement runs outside a transaction:
https://www.prisma.io/docs/orm/prisma-migrate/understanding-prisma-migrate/migration-histories.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg import Connection

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import combine_faults, read_file
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import (
    build_migration,
    hash_line_ends,
    list_subfolders,
    refuse_nothing,
    sort_migrations,
)
from confiture.sql.position import SourceFile
from confiture.sql.timestamp import render_utc

_SCRIPT, _LOCK = "migration.sql", "migration_lock.toml"
_PROVIDER = re.compile(r"""^provider\s*=\s*["'](?P<provider>[^"'\n]*)["']""", re.MULTILINE)


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "_prisma_migrations",
        frozenset({"checksum", "finished_at", "migration_name", "rolled_back_at", "started_at"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("prisma", "Prisma", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    subfolders = list(list_subfolders(folder))
    _check_provider(folder / _LOCK)
    faults = [_build_missing_fault(path) for path in subfolders if not (path / _SCRIPT).exists()]
    if faults:
        raise combine_faults(faults)
    migrations = [build_migration(path.name, "", path / _SCRIPT, _divide) for path in subfolders]
    refuse_nothing(folder, migrations, "Prisma", "VERSION_name/migration.sql")
    return sort_migrations(migrations, options.sorting or "text")


def _divide(path: Path, text: str, direction: Direction) -> SqlSection | None:
    return None if direction == "backward" else SqlSection(path, text, lone_outside=True)


def _check_provider(lock: Path) -> None:
    """Refuse migrations that were written for another database.

    Raises:
        MigrationFault: They were.
    """
    if not lock.is_file():
        return
    text = read_file(lock)
    found = _PROVIDER.search(text)
    if found is None or found["provider"] != "postgresql":
        wrong = f"the provider is {found['provider']!r}" if found else "there is no provider"
        raise SourceFile(lock, text).build_fault(
            f"{wrong}, and not 'postgresql'",
            found.start() if found else 0,
            hint="confiture runs migrations of PostgreSQL only; name their folder: --migrations DIR",
        )


def _build_missing_fault(subfolder: Path) -> MigrationFault:
    return MigrationFault(
        f"{subfolder.name} has no {_SCRIPT}",
        hint=f"restore {_SCRIPT}, or delete the folder: Prisma refuses it as well (P3015)",
        file=subfolder,
    )


def _recognize(folder: Path) -> Evidence | None:
    if (folder / _LOCK).is_file():
        return Evidence(_LOCK)
    scripts = (path / _SCRIPT for path in list_subfolders(folder))
    found = next((script for script in scripts if script.is_file()), None)
    if found is None:
        return None
    # Later releases of Drizzle lay their scripts out in the same way, each beside a snapshot.
    return Evidence(f"{found.parent.name}/{_SCRIPT}", certain=not (found.parent / "snapshot.json").exists())


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    rows = fetch_rows(
        conn,
        f"SELECT migration_name::text, checksum::text, {render_utc('finished_at::timestamptz')} FROM {table}"
        " WHERE rolled_back_at IS NULL ORDER BY started_at, migration_name",
    )
    files = {migration.version: migration.path for migration in migrations}
    return ToolHistory(
        tuple(
            ToolRecord(name, finished_at, name in files and not _has_checksum(files[name], checksum))
            for name, checksum, finished_at in rows
            if finished_at
        ),
        tuple(_describe_failure(name) for name, _, finished_at in rows if not finished_at),
    )


def _describe_failure(name: str) -> str:
    way = f"prisma migrate resolve --rolled-back {name}"
    return f"failed or still running: {name}; if what it did is undone: {way}"


def _has_checksum(script: Path, checksum: str) -> bool:
    """Return True if a script has this checksum, with whatever line ends Git gave it."""
    # Until 2021 Prisma wrote a byte below 16 with one digit: github.com/prisma/prisma-engines/issues/1887.
    return any(
        checksum in (digest.hex(), "".join(f"{byte:x}" for byte in digest))
        for digest in hash_line_ends(script)
    )


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    checksum = hashlib.sha256(migration.path.read_bytes()).hexdigest()
    return (
        f"INSERT INTO {table} (id, checksum, started_at, finished_at, migration_name, applied_steps_count)"
        f" VALUES (gen_random_uuid()::text, {quote_literal(checksum)}, now(), clock_timestamp(),"
        f" {quote_literal(migration.version)}, 1);"
    )


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    # A row that is rolled back does not count, and Prisma keeps it.
    return (
        f"UPDATE {table} SET rolled_back_at = clock_timestamp()"
        f" WHERE migration_name = {quote_literal(migration.version)} AND rolled_back_at IS NULL;"
    )
