"""Supabase: ``supabase/migrations/<digits>_name.sql``, in the order of the file names.

The rules are those of pkg/migration in https://github.com/supabase/cli. It sends the statements of a file and
the row of its ledger in one pipeline, which PostgreSQL runs as one transaction; only a first statement may be
one that cannot run inside a transaction. There is no way back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from psycopg import Connection

from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import (
    build_migration,
    match_files,
    refuse_duplicates,
    refuse_nothing,
    sort_migrations,
)

_NAME = r"(?P<version>[0-9]+)_(?P<name>.*)\.sql"
# Early versions of the command made a first file of this name, which it passes over since.
_EARLY_NAME = re.compile(r"(?P<version>[0-9]{14})_init\.sql")
_EARLY_BEFORE = 20211209000000
_HALVES = (".up.sql", ".down.sql")


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "schema_migrations",
        frozenset({"version", "statements", "name"}),
        _read_history,
        _render_applied,
        _render_reverted,
    )
    return Source("supabase", "Supabase", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    migrations = [
        build_migration(found["version"], found["name"], path, _divide) for path, found in _find_files(folder)
    ]
    refuse_nothing(folder, migrations, "Supabase", "VERSION_name.sql")
    refuse_duplicates(migrations)
    if options.sorting == "number":
        return sort_migrations(migrations, "number")
    return tuple(sorted(migrations, key=lambda migration: migration.path.name))


def _find_files(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for place, (path, found) in enumerate(match_files(folder, _NAME)):
        early = _EARLY_NAME.fullmatch(path.name) if place == 0 else None
        if early is None or int(early["version"]) >= _EARLY_BEFORE:
            yield path, found


def _divide(path: Path, text: str, direction: Direction) -> SqlSection | None:
    return SqlSection(path, text, lone_outside=True) if direction == "forward" else None


def _recognize(folder: Path) -> Evidence | None:
    # The command's own layout; elsewhere, files of other conventions have the same names.
    own = folder.absolute().parts[-2:] == ("supabase", "migrations")
    for path, _ in _find_files(folder):
        # Supabase would run the down files of other tools as well.
        if own or not path.name.endswith(_HALVES):
            return Evidence(path.name, certain=own)
    return None


def _read_history(conn: Connection[Any], table: str, _migrations: Sequence[MigrationFile]) -> ToolHistory:
    # The table has neither times nor an order.
    rows = fetch_rows(conn, f"SELECT version FROM {table} ORDER BY version")
    return ToolHistory(tuple(ToolRecord(version) for (version,) in rows), ordered=False)


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    statements = ", ".join(quote_literal(statement) for statement in _split(migration.text))
    return (
        f"INSERT INTO {table} (version, name, statements) VALUES ({quote_literal(migration.version)},"
        f" {quote_literal(migration.name)}, ARRAY[{statements}]::text[]);"
    )


def _split(text: str) -> Iterator[str]:
    """Yield the statements as the command records them: with the comments above, without the semicolon."""
    from confiture.sql.parser import ParseError, parse

    try:
        ends = [parsed.end for parsed in parse(text)]
    except ParseError:
        ends = []
    start = 0
    for end in [*ends, len(text)]:
        if statement := text[start:end].strip("; \t\r\n"):
            yield statement
        start = end


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"DELETE FROM {table} WHERE version = {quote_literal(migration.version)};"
