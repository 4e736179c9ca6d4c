"""node-pg-migrate: ``<digits>_name.sql``, divided by ``-- Up Migration`` and ``-- Down Migration``.

The rules are those of version 9, in src/sqlMigration.ts and src/utils of
https://github.com/salsita/node-pg-migrate. A migration's key is its file's name without the extension.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
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
    find_marked_file,
    keep_spans,
    match_files,
    refuse_duplicates,
    refuse_nothing,
)
from confiture.sql.lexer import find_statement_start
from confiture.sql.position import SourceFile
from confiture.sql.timestamp import render_utc

_NAME = r"(?P<key>[0-9]+.*?)(?P<part>(?:\.up|\.down)?)\.(?P<kind>sql|[cm]?[jt]s)"
_MARKER = r"^[ \t]*--[ \t-]*{part}[ \t]+migration[^\n]*"
_UP, _DOWN = (re.compile(_MARKER.format(part=part), re.MULTILINE | re.IGNORECASE) for part in ("up", "down"))
_DATE_DIGITS = 17


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "pgmigrations",
        frozenset({"id", "name", "run_on"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("node-pg-migrate", "node-pg-migrate", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    found = [(path, name) for path, name in match_files(folder, _NAME) if not path.name.endswith(".d.ts")]
    ups = {name["key"]: path for path, name in found if name["part"] == ".up"}
    downs = {name["key"]: path for path, name in found if name["part"] == ".down"}
    if lone := [path for key, path in downs.items() if key not in ups]:
        raise combine_faults([_build_lone_fault(path) for path in lone])
    migrations = [
        _build(path, name, downs.get(name["key"])) for path, name in found if name["part"] != ".down"
    ]
    refuse_nothing(folder, migrations, "node-pg-migrate", "DIGITS_name.sql")
    refuse_duplicates(migrations)
    by_text = options.sorting == "text"
    return tuple(sorted(migrations, key=lambda file: file.version if by_text else _build_sort_key(file)))


def _build_lone_fault(path: Path) -> MigrationFault:
    up = path.name.removesuffix(".down.sql") + ".up.sql"
    return MigrationFault(
        f"{path.name} undoes nothing: there is no {up}", hint=f"write {up}, or delete the file", file=path
    )


def _build(path: Path, found: re.Match[str], down: Path | None) -> MigrationFile:
    if found["kind"] != "sql":
        return build_migration(found["key"], "", path, _refuse_program)
    if found["part"] == "":
        return build_migration(found["key"], "", path, _divide)
    migration = build_migration(found["key"], "", path, down=down)
    return evolve(migration, divide=partial(_divide_pair, migration))


def _build_sort_key(migration: MigrationFile) -> tuple[Any, ...]:
    """Return what the tool sorts by: the number or time in front, then letters and numbers of the name."""
    digits = re.match("[0-9]+", migration.version)
    assert digits is not None
    words = re.findall(r"[0-9]+|[^\W\d_]+", migration.version)
    return (
        _read_number(digits[0]),
        [(0, int(word), "") if word.isdecimal() else (1, 0, word.casefold()) for word in words],
        migration.version.swapcase(),
    )


def _read_number(digits: str) -> float:
    # 17 digits are a time, which is compared with the milliseconds since 1970 that other names begin with.
    if len(digits) == _DATE_DIGITS:
        try:
            moment = datetime.strptime(f"{digits}000+0000", "%Y%m%d%H%M%S%f%z")
        except ValueError:
            return float(digits)
        return round(moment.timestamp() * 1000)
    return float(digits)


def _refuse_program(path: Path, _text: str, _direction: Direction) -> SqlSection:
    # Only when it is to run: one that the tool has applied is a row of the ledger like any other.
    raise MigrationFault(
        f"{path.name} is a program, which only node-pg-migrate can run",
        hint="apply it with node-pg-migrate, then: confiture adopt --from node-pg-migrate; "
        f"or write its SQL to {path.stem}.sql",
        file=path,
    )


def _divide_pair(migration: MigrationFile, direction: Direction) -> SqlSection | None:
    half = choose_half(migration, direction)
    return SqlSection(*half) if half else None


def _divide(path: Path, text: str, direction: Direction) -> SqlSection | None:
    source, up, down = SourceFile(path, text), _UP.search(text), _DOWN.search(text)
    if up is None and down is not None:
        raise source.build_fault(
            "there is no -- Up Migration: node-pg-migrate would run all of this file, the down part too",
            down.start(),
            hint="write -- Up Migration above the statements that make the change",
        )
    if up is None:
        return SqlSection(path, text) if direction == "forward" else None
    first = min(up.start(), down.start() if down else up.start())
    above = find_statement_start(text[:first])
    if above is not None:
        raise source.build_fault(
            "this is above -- Up Migration: node-pg-migrate would never run it",
            above,
            hint="move it below -- Up Migration",
        )
    marker, other = (up, down) if direction == "forward" else (down, up)
    if marker is None:
        return None
    end = other.start() if other and other.start() > marker.start() else len(text)
    return SqlSection(path, keep_spans(text, [(marker.end(), end)]))


def _recognize(folder: Path) -> Evidence | None:
    return find_marked_file(folder, _NAME, _UP)


def _read_history(conn: Connection[Any], table: str, _migrations: Sequence[MigrationFile]) -> ToolHistory:
    rows = fetch_rows(
        conn, f"SELECT name, {render_utc('run_on::timestamptz')} FROM {table} ORDER BY run_on, id"
    )
    return ToolHistory(tuple(ToolRecord(name, applied_at) for name, applied_at in rows))


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"INSERT INTO {table} (name, run_on) VALUES ({quote_literal(migration.version)}, now());"


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"DELETE FROM {table} WHERE name = {quote_literal(migration.version)};"
