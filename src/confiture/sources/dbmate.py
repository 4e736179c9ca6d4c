"""dbmate: ``<digits>_name.sql``, divided by ``-- migrate:up`` and ``-- migrate:down``.

The rules are those of version 2.36, in pkg/dbmate/db.go and migration.go of https://github.com/amacneil/dbmate.
It refuses a file without ``-- migrate:down``, which older versions read: here it is a migration without a way
back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg import Connection

from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import (
    build_migration,
    find_marked_file,
    keep_spans,
    match_files,
    refuse_duplicates,
    refuse_nothing,
    sort_migrations,
)
from confiture.sql.position import SourceFile

_NAME = r"(?P<version>[0-9]+)(?:_(?P<name>.*)|.*)\.sql"
# At the start of a line only; dbmate does not look whether the line is inside a string.
_MARKER = re.compile(r"^--[ \t]*migrate:(?P<part>up|down)(?P<options>[ \t]*$|[ \t]+\S.*$)", re.MULTILINE)
_HINT = "write -- migrate:up and, below its statements, -- migrate:down, each at the start of a line"


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "schema_migrations",
        frozenset({"version"}),
        _read_history,
        _render_applied,
        _render_reverted,
        # golang-migrate has the one column, Supabase the others.
        without=frozenset({"dirty", "statements", "name"}),
    )
    return Source("dbmate", "dbmate", _read_folder, _recognize, ledger)


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    migrations = [
        build_migration(found["version"], found["name"] or "", path, _divide)
        for path, found in match_files(folder, _NAME)
    ]
    refuse_nothing(folder, migrations, "dbmate", "VERSION_name.sql")
    refuse_duplicates(migrations)
    if options.sorting == "number":
        return sort_migrations(migrations, "number")
    # By the whole name: 10_b.sql comes before 1_a.sql, because a digit sorts below an underscore.
    return tuple(sorted(migrations, key=lambda migration: migration.path.name))


def _divide(path: Path, text: str, direction: Direction) -> SqlSection | None:
    markers = list(_MARKER.finditer(text))
    _check_markers(SourceFile(path, text), markers)
    if direction == "forward":
        marker, end = markers[0], markers[1].start() if len(markers) > 1 else len(text)
    elif len(markers) > 1:
        marker, end = markers[1], len(text)
    else:
        return None
    transactional = "transaction:false" not in marker["options"].split()
    return SqlSection(path, keep_spans(text, [(marker.end(), end)]), transactional)


def _check_markers(source: SourceFile, markers: Sequence[re.Match[str]]) -> None:
    """Refuse what dbmate refuses: SQL above the first part, and the parts in another order."""
    if not markers:
        raise source.build_fault("there is no -- migrate:up in this file", hint=_HINT)
    above = source.text[: markers[0].start()]
    if stray := re.search(r"^(?![ \t]*--)[ \t]*\S", above, re.MULTILINE):
        raise source.build_fault(
            "there is text above -- migrate:up", stray.end() - 1, hint="move it below -- migrate:up"
        )
    for marker, part in zip(markers, ("up", "down"), strict=False):
        if marker["part"] != part:
            raise source.build_fault(
                f"-- migrate:{marker['part']} is out of place", marker.start(), hint=_HINT
            )
    if len(markers) > 2:
        # dbmate reads several pairs, but PostgreSQL refuses its second record of the version.
        raise source.build_fault(
            "this begins a second pair of parts: dbmate records the file after the first one, then fails",
            markers[2].start(),
            hint="write it into a file with a version that is higher",
        )


def _recognize(folder: Path) -> Evidence | None:
    return find_marked_file(folder, _NAME, _MARKER)


def _read_history(conn: Connection[Any], table: str, _migrations: Sequence[MigrationFile]) -> ToolHistory:
    # dbmate records no time and no position: only the set of versions is known.
    rows = fetch_rows(conn, f"SELECT version::text FROM {table} ORDER BY 1")
    return ToolHistory(tuple(ToolRecord(version) for (version,) in rows), ordered=False)


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"INSERT INTO {table} (version) VALUES ({quote_literal(migration.version)});"


def _render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    return f"DELETE FROM {table} WHERE version = {quote_literal(migration.version)};"
