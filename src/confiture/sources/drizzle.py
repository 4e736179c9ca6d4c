"""Drizzle: ``TAG.sql``, in the order of ``meta/_journal.json``; there is no way back.

drizzle-kit writes ``--> statement-breakpoint`` between statements, which need no semicolon then. All that is
pending runs in one transaction: https://orm.drizzle.team/docs/migrations.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.exceptions import MigrationFault, SourceFault
from confiture.migrations.file_notes import format_names
from confiture.migrations.folder import combine_faults, list_folder, read_file
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import build_migration, has_sha256, refuse_duplicates, refuse_nothing
from confiture.sql.position import SourceFile

_JOURNAL = "meta/_journal.json"
_BREAKPOINT = re.compile(r"(?P<end>;\s*)?--> statement-breakpoint")
_DIALECTS = ("postgresql", "pg")


@frozen
class JournalEntry:
    """One migration in the journal.

    Attributes:
        tag: The name of its file, without ``.sql``.
        when: When it was generated, in milliseconds since 1970; the ledger's ``created_at``.
    """

    tag: str
    when: int


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "__drizzle_migrations",
        frozenset({"id", "hash", "created_at"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("drizzle", "Drizzle", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, _options: SourceOptions) -> tuple[MigrationFile, ...]:
    list_folder(folder)
    entries = _read_journal(folder)
    missing = [
        _build_missing_fault(folder, entry) for entry in entries if not _get_path(folder, entry.tag).is_file()
    ]
    if missing:
        raise combine_faults(missing)
    migrations = [build_migration(entry.tag, "", _get_path(folder, entry.tag), _divide) for entry in entries]
    refuse_nothing(folder, migrations, "Drizzle", "0000_name.sql, each with an entry in meta/_journal.json")
    return refuse_duplicates(migrations)


def _get_path(folder: Path, tag: str) -> Path:
    return folder / f"{tag}.sql"


def _build_missing_fault(folder: Path, entry: JournalEntry) -> MigrationFault:
    return MigrationFault(
        f"{_JOURNAL} names {entry.tag}, and there is no {entry.tag}.sql",
        hint=f"restore {entry.tag}.sql, or remove its entry: npx drizzle-kit drop",
        file=folder / _JOURNAL,
    )


def _divide(path: Path, text: str, direction: Direction) -> SqlSection | None:
    if direction == "backward":
        return None
    return SqlSection(path, _BREAKPOINT.sub(_end_statement, text))


def _end_statement(found: re.Match[str]) -> str:
    """Return a semicolon, or only blanks if there is one already, in as many characters."""
    ended = found["end"] or ""
    return ended + ("" if ended else ";").ljust(len(found[0]) - len(ended))


def _read_journal(folder: Path) -> list[JournalEntry]:
    path = folder / _JOURNAL
    if not path.is_file():
        raise SourceFault(
            f"no migrations of Drizzle in {folder}: there is no {_JOURNAL}",
            hint="name the folder that drizzle-kit writes to: --migrations drizzle",
        )
    text = read_file(path)
    source = SourceFile(path, text)
    try:
        journal = json.loads(text)
    except json.JSONDecodeError as error:
        raise source.build_fault(
            f"{path.name} is not JSON: {error.msg}",
            error.pos,
            hint="restore it; a merge may have left both sides in it",
        ) from None
    if not isinstance(journal, dict) or not isinstance(journal.get("entries"), list):
        raise source.build_fault(f"{path.name} has no list of entries", 0, hint="restore it")
    if journal.get("dialect", _DIALECTS[0]) not in _DIALECTS:
        raise source.build_fault(
            f"the dialect is {journal['dialect']!r}, and not 'postgresql'",
            max(text.find('"dialect"'), 0),
            hint="confiture runs migrations of PostgreSQL only; name their folder: --migrations DIR",
        )
    return [_read_entry(source, entry, place) for place, entry in enumerate(journal["entries"])]


def _read_entry(source: SourceFile, entry: Any, place: int) -> JournalEntry:
    if isinstance(entry, dict):
        tag, when = entry.get("tag"), entry.get("when")
        if isinstance(tag, str) and isinstance(when, int | float):
            return JournalEntry(tag, int(when))
    raise source.build_fault(
        f"entry {place} of {source.file.name} has no tag or no time",
        max(source.text.find('"entries"'), 0),
        hint='write "tag", the name of the file without .sql, and "when", in milliseconds',
    )


def _recognize(folder: Path) -> Evidence | None:
    return Evidence(_JOURNAL) if (folder / _JOURNAL).is_file() else None


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    rows = fetch_rows(conn, f"SELECT hash::text, created_at FROM {table} ORDER BY id")
    if not rows or not migrations:
        return ToolHistory()
    times = _read_times(migrations)
    by_time = {times[migration.version]: migration for migration in migrations}
    by_hash = {_hash_file(migration.path): migration for migration in migrations}
    records: list[ToolRecord] = []
    for checksum, created_at in rows:
        found = by_time.get(created_at)
        if found is None or not has_sha256(found.path, checksum):
            # A journal that was written again has other times for the same files.
            found = by_hash.get(checksum, found)
        records.append(
            ToolRecord(found.version, changed=not has_sha256(found.path, checksum))
            if found
            else ToolRecord(f"the row of created_at {created_at}")
        )
    last = max(created_at or 0 for _, created_at in rows)
    passed = [migration.version for migration in migrations if times[migration.version] <= last]
    early, late = _find_unrecorded(records, passed)
    return ToolHistory((*map(ToolRecord, early), *records), notes=tuple(_describe_unrecorded(early, late)))


def _find_unrecorded(records: Sequence[ToolRecord], passed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what has no row but is not newer than the last row: before the first recorded one, and after it.

    Drizzle takes both as applied. The first were applied before Drizzle came; the others were merged late,
    and never ran.
    """
    recorded = {record.version for record in records}
    first = next((place for place, version in enumerate(passed) if version in recorded), 0)
    return list(passed[:first]), [version for version in passed[first:] if version not in recorded]


def _describe_unrecorded(early: Sequence[str], late: Sequence[str]) -> Iterator[str]:
    if early:
        yield f"without a row, but applied to Drizzle: {format_names(early)}"
    if late:
        yield f"older than its last row, so Drizzle passes over it; pending here: {format_names(late)}"


def _read_times(migrations: Sequence[MigrationFile]) -> dict[str, int]:
    return {entry.tag: entry.when for entry in _read_journal(migrations[0].path.parent)}


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _render_applied(table: str, migration: MigrationFile, migrations: Sequence[MigrationFile]) -> str:
    when = _read_times(migrations)[migration.version]
    return (
        f'INSERT INTO {table} ("hash", "created_at") '
        f"VALUES ({quote_literal(_hash_file(migration.path))}, {when});"
    )


def _render_reverted(table: str, migration: MigrationFile, migrations: Sequence[MigrationFile]) -> str:
    when = _read_times(migrations)[migration.version]
    return f'DELETE FROM {table} WHERE "created_at" = {when};'
