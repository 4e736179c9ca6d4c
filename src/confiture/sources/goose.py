"""goose: ``<version>_name.sql`` in the order of its numbers, divided by ``-- +goose`` annotations.

The annotations are those of https://pressly.github.io/goose/documentation/annotations/, the rules for names
those of ``provider_collect.go`` in https://github.com/pressly/goose.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import Connection

from confiture.exceptions import MigrationFault
from confiture.migrations.folder import combine_faults
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows
from confiture.sources.goose_annotations import UP_ANNOTATION, GoosePart, read_annotations
from confiture.sources.goose_envsub import substitute_variables
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import (
    build_migration,
    find_marked_file,
    match_files,
    refuse_duplicates,
    refuse_nothing,
    sort_migrations,
)
from confiture.sql.lexer import blank_out
from confiture.sql.position import SourceFile
from confiture.sql.timestamp import render_utc

_NAME = r"(?P<version>[0-9]+)(?:_(?P<name>.*))?\.(?P<kind>sql|go)"


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "goose_db_version",
        frozenset({"id", "version_id", "is_applied"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("goose", "goose", _read_folder, _recognize, ledger, replaces_placeholders=True)


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    migrations, faults = list[MigrationFile](), list[MigrationFault]()
    for path, found in match_files(folder, _NAME):
        if path.name.endswith("_test.go"):
            continue
        if found["name"] is None or int(found["version"]) == 0:
            faults.append(_build_name_fault(path))
            continue
        divide = partial(_divide, options) if found["kind"] == "sql" else _refuse_go
        migrations.append(build_migration(found["version"], found["name"], path, divide))
    if faults:
        raise combine_faults(faults)
    refuse_nothing(folder, migrations, "goose", "VERSION_name.sql")
    return sort_migrations(refuse_duplicates(migrations), "number")


def _build_name_fault(path: Path) -> MigrationFault:
    # goose's command refuses the name, its library passes over the file.
    return MigrationFault(
        f"{path.name} is no name of goose's: a version above zero and an underscore begin one",
        hint="name it VERSION_name.sql, or so that it does not begin with a digit",
        file=path,
    )


def _refuse_go(path: Path, _text: str, _direction: Direction) -> SqlSection:
    # Only when it is to run: one that goose has applied is a row of the ledger like any other.
    raise MigrationFault(
        f"{path.name} is a program in Go, which only goose can run",
        hint=f"apply it with goose, then: confiture adopt --from goose; or write its SQL to {path.stem}.sql",
        file=path,
    )


def _divide(options: SourceOptions, path: Path, text: str, direction: Direction) -> SqlSection | None:
    source = SourceFile(path, text)
    found = read_annotations(source)
    parts = [part for part in found.parts if part.direction == direction]
    if direction == "backward" and not found.has_down:
        # goose does nothing then, and forgets the migration.
        return None
    return SqlSection(path, _join_parts(source, parts, options), found.transactional)


def _join_parts(source: SourceFile, parts: Sequence[GoosePart], options: SourceOptions) -> str:
    """Return the parts where they are in the file, with blanks between them."""
    pieces, done, whole = list[str](), 0, False
    for part in parts:
        blanks = blank_out(source.text[done : part.start])
        sql = source.text[part.start : part.end]
        if part.envsub:
            sql = substitute_variables(source, part.start, part.end, options.variables)
        # The line of a StatementEnd takes the semicolon that the statement above may lack.
        pieces += [f";{blanks[1:]}" if whole else blanks, sql]
        done, whole = part.end, part.whole
    return "".join([*pieces, blank_out(source.text[done:])])


def _recognize(folder: Path) -> Evidence | None:
    return find_marked_file(folder, _NAME, UP_ANNOTATION)


def _read_history(conn: Connection[Any], table: str, _migrations: Sequence[MigrationFile]) -> ToolHistory:
    # The last row of a version counts; older versions of goose add a row for `down` too. Version 0 is that
    # of the empty database.
    rows = fetch_rows(
        conn,
        f"""
        SELECT version_id::text, {render_utc("tstamp::timestamptz")}
        FROM (SELECT DISTINCT ON (version_id) * FROM {table} ORDER BY version_id, id DESC) AS last
        WHERE is_applied AND version_id <> 0
        ORDER BY id
        """,
    )
    return ToolHistory(tuple(ToolRecord(version, applied_at) for version, applied_at in rows))


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"INSERT INTO {table} (version_id, is_applied) VALUES ({int(migration.version)}, true);"


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"DELETE FROM {table} WHERE version_id = {int(migration.version)};"
