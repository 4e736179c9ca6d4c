"""Read and write ``flyway_schema_history``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import define, field, frozen
from psycopg import Connection

from confiture.models.migration import MigrationFile
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import ToolHistory, ToolLedger, ToolRecord
from confiture.sql.timestamp import render_utc

_COLUMNS = frozenset({"installed_rank", "version", "description", "type", "script", "checksum", "success"})
_LONGEST_DESCRIPTION_CHARACTERS = 200
_BASELINES = ("BASELINE", "SQL_BASELINE", "BASELINE_SQL")


@frozen
class ScriptRecord:
    """What Flyway records of a migration, besides its version.

    Attributes:
        prefix: ``"V"``, ``"B"`` or ``"R"``.
        script: The path of its file, relative to the folder.
        checksum: The checksum of its file.
        undo_script: The path of its undo migration, if there is one.
        undo_checksum: The checksum of that file.
    """

    prefix: str
    script: str
    checksum: int
    undo_script: str | None = None
    undo_checksum: int | None = None


@frozen
class _Row:
    """One row of the table; ``applied_at`` is in ISO 8601."""

    version: str | None
    description: str
    kind: str
    script: str
    checksum: int | None
    applied_at: str
    success: bool


def build_ledger() -> ToolLedger:
    """Return the description of the table."""
    return ToolLedger("flyway_schema_history", _COLUMNS, _read_history, _render_applied, _render_reverted)


def parse_flyway_version(version: str) -> tuple[int, ...]:
    """Return a key that compares versions as Flyway does: number by number, and ``1.0`` equals ``1``."""
    numbers = [int(number) for number in version.replace("_", ".").split(".") if number.isdecimal()]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    # Flyway writes the local time of its session.
    rows = fetch_rows(
        conn,
        "SELECT version::text, description::text, type::text, script::text, checksum, "
        f"{render_utc('installed_on::timestamptz')}, "
        f"success FROM {table} ORDER BY installed_rank",
    )
    replay = _Replay.begin(migrations)
    for row in rows:
        replay.add(_Row(*row))
    return ToolHistory(tuple(replay.applied.values()), tuple(replay.faults))


@define
class _Replay:
    """Follows the rows: what Flyway recorded later may undo what it recorded before."""

    files: dict[object, MigrationFile]
    baseline: MigrationFile | None
    applied: dict[object, ToolRecord] = field(factory=dict)
    faults: list[str] = field(factory=list)

    @classmethod
    def begin(cls, migrations: Iterable[MigrationFile]) -> _Replay:
        files = {_find_key(migration): migration for migration in migrations}
        baseline = next((file for file in files.values() if file.details.prefix == "B"), None)
        return cls(files, baseline)

    def add(self, row: _Row) -> None:
        key = _Replay.find_row_key(row)
        if row.kind == "SCHEMA":
            return
        if not row.success:
            self.faults.append(f"{row.script} failed: put right what it left behind, then: flyway repair")
        elif row.kind == "DELETE" or row.kind.startswith("UNDO"):
            self.applied.pop(key, None)
        elif row.kind in _BASELINES:
            self._cover(row)
        elif self.baseline and _is_covered(row, self.baseline):
            self._cover_by_file(row, self.baseline)
        else:
            self._record(key, row)

    @staticmethod
    def find_row_key(row: _Row) -> object:
        return row.description if row.version is None else parse_flyway_version(row.version)

    def _record(self, key: object, row: _Row) -> None:
        migration = self.files.get(key)
        if migration is None:
            # A file that is gone is reported by its version, or by the name of the script.
            self.applied[key] = ToolRecord(row.version or row.script.removesuffix(".sql"), row.applied_at)
            return
        changed = row.checksum is not None and row.checksum != migration.details.checksum
        if migration.repeatable and changed:
            # It is to run again, which is no fault.
            self.applied.pop(key, None)
        else:
            self.applied[key] = ToolRecord(migration.version, row.applied_at, changed)

    def _cover(self, row: _Row) -> None:
        """Record all files up to a baseline: Flyway does not run them any more."""
        limit = parse_flyway_version(row.version or "0")
        for key, migration in self.files.items():
            if not migration.repeatable and parse_flyway_version(migration.version) <= limit:
                self.applied.setdefault(key, ToolRecord(migration.version, row.applied_at))

    def _cover_by_file(self, row: _Row, baseline: MigrationFile) -> None:
        """Record a baseline migration once the last of those that it stands for is applied."""
        if parse_flyway_version(row.version or "") == parse_flyway_version(baseline.version):
            self.applied[_find_key(baseline)] = ToolRecord(baseline.version, row.applied_at)


def _is_covered(row: _Row, baseline: MigrationFile) -> bool:
    return row.version is not None and parse_flyway_version(row.version) <= parse_flyway_version(
        baseline.version
    )


def _find_key(migration: MigrationFile) -> object:
    if migration.repeatable:
        return migration.version.removeprefix("R__").replace("_", " ")
    return parse_flyway_version(migration.version)


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    record: ScriptRecord = migration.details
    kind = "SQL_BASELINE" if record.prefix == "B" else "SQL"
    return _render_row(table, migration, kind, record.script, record.checksum)


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    record: ScriptRecord = migration.details
    script, checksum = record.undo_script or record.script, record.undo_checksum or 0
    return _render_row(table, migration, "UNDO_SQL", script, checksum)


def _render_row(table: str, migration: MigrationFile, kind: str, script: str, checksum: int) -> str:
    description = str(_find_key(migration)) if migration.repeatable else migration.name
    values = ", ".join(_render_values(migration, _shorten(description), kind, script, checksum))
    return (
        f"INSERT INTO {table} (installed_rank, version, description, type, script, checksum, installed_by, "
        f"execution_time, success) SELECT coalesce(max(installed_rank), 0) + 1, {values} FROM {table};"
    )


def _render_values(
    migration: MigrationFile, description: str, kind: str, script: str, checksum: int
) -> Iterator[str]:
    yield "NULL" if migration.repeatable else quote_literal(migration.version)
    yield from map(quote_literal, (description, kind, script))
    yield from (str(checksum), "session_user", "0", "true")


def _shorten(description: str) -> str:
    if len(description) <= _LONGEST_DESCRIPTION_CHARACTERS:
        return description
    return f"{description[: _LONGEST_DESCRIPTION_CHARACTERS - 3]}..."
