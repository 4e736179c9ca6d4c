"""Read the migrations of rambler, and its ledger.

rambler sorts file names as text and records each whole name. ``-- rambler up`` and ``-- rambler down`` each
begin a section, and may alternate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confiture import hookimpl
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.sql_files import build_migration, match_files, refuse_nothing
from confiture.sql.lexer import blank_out

_MARKER = re.compile(r"^-- *rambler +(up|down) *$", re.MULTILINE)
_PARTS = {"forward": "up", "backward": "down"}


@hookimpl
def sources() -> list[Source]:
    """Add one convention."""
    ledger = ToolLedger("migrations", frozenset({"migration"}), read_history, render_applied, render_reverted)
    return [Source("rambler", "rambler", read_folder, recognize, ledger)]


def read_folder(folder: Path, _options: SourceOptions) -> tuple[MigrationFile, ...]:
    """Return the migrations, in rambler's order; the whole file name is the version."""
    migrations = [
        build_migration(path.name, "", path, divide) for path, _ in match_files(folder, r"\d+_.*\.sql")
    ]
    refuse_nothing(folder, migrations, "rambler", "NUMBER_name.sql")
    return tuple(migrations)


def divide(path: Path, text: str, direction: Direction) -> SqlSection:
    """Return one direction. Blanks replace the rest, so that errors name the right line."""
    marks = [*_MARKER.finditer(text)]
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    kept = [blank_out(text[: marks[0].start()] if marks else text)]
    for mark, end in zip(marks, ends, strict=False):
        section = text[mark.end() : end]
        wanted = mark[1] == _PARTS[direction]
        kept += [blank_out(mark[0]), section if wanted else blank_out(section)]
    return SqlSection(path, "".join(kept))


def recognize(folder: Path) -> Evidence | None:
    """Return the first file that has a marker of rambler's."""
    for path, _ in match_files(folder, r"\d+_.*\.sql"):
        if _MARKER.search(path.read_text(encoding="utf-8", errors="replace")):
            return Evidence(path.name)
    return None


def read_history(conn: Any, table: str, _migrations: Sequence[MigrationFile]) -> ToolHistory:
    """Return what rambler applied. It records no order."""
    rows = conn.execute(f"SELECT migration FROM {table} ORDER BY 1").fetchall()
    return ToolHistory(tuple(ToolRecord(name) for (name,) in rows), ordered=False)


def render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    """Return the row that rambler would write."""
    return f"INSERT INTO {table} (migration) VALUES ({quote(migration.version)});"


def render_reverted(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    """Return what removes that row."""
    return f"DELETE FROM {table} WHERE migration = {quote(migration.version)};"


def quote(text: str) -> str:
    """Return an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
