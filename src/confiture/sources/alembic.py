"""Alembic: revisions in Python that name the revisions before them: https://alembic.sqlalchemy.org.

The graph is read from the text of the files. The SQL of a revision is what ``alembic upgrade --sql`` writes
for it, so Alembic, the project's ``env.py`` and its models are needed where something is pending, and only
there: https://alembic.sqlalchemy.org/en/latest/offline.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import Connection

from confiture.config.urls import mask_password
from confiture.exceptions import MigrationFault, RenderFault, UsageFault
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.alembic_revisions import AlembicProject, Revision, find_project, read_revisions
from confiture.sources.generated_sql import GeneratedSql, lay_out
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.user_python import ask_python
from confiture.sql.position import extract_line

_SCRIPT = Path(__file__).with_name("render_alembic.py")
_FUNCTIONS: Mapping[Direction, str] = {"forward": "upgrade", "backward": "downgrade"}


def build_source() -> Source:
    """Return the source."""
    ledger = ToolLedger(
        "alembic_version", frozenset({"version_num"}), _read_history, _render_applied, _render_reverted
    )
    return Source("alembic", "Alembic", _read_folder, _recognize, ledger, replaces_placeholders=True)


def _recognize(folder: Path) -> Evidence | None:
    env = folder / "env.py"
    try:
        found = (folder / "versions").is_dir() and "alembic" in env.read_text(
            encoding="utf-8", errors="replace"
        )
    except OSError:
        return None
    return Evidence(env.name) if found else None


def _read_folder(folder: Path, options: SourceOptions) -> tuple[MigrationFile, ...]:
    project = find_project(folder, options.root)
    revisions = read_revisions(project)
    generated = GeneratedSql(tuple(revision.id for revision in revisions), partial(_ask, project))
    return tuple(
        MigrationFile(
            version=revision.id,
            name=revision.slug,
            kind="sql",
            path=revision.path,
            text=revision.text,
            checksum=revision.checksum,
            divide=partial(_divide, generated, revision),
            requires=revision.requires,
        )
        for revision in revisions
    )


def _ask(project: AlembicProject, revisions: Sequence[str], direction: Direction) -> Mapping[str, Any]:
    request = {
        "ini": str(project.ini) if project.ini else None,
        "toml": str(project.toml) if project.toml else None,
        "folder": str(project.folder),
        "revisions": revisions,
        "function": _FUNCTIONS[direction],
    }
    answer: dict[str, Any] = ask_python("alembic", _SCRIPT, request, project.root)
    if "error" in answer:
        raise UsageFault(
            f"alembic cannot render SQL: {mask_password(answer['error'])}",
            hint=f"try it in {project.root}: alembic upgrade --sql heads",
        )
    if answer["dialect"] != "postgresql":
        raise UsageFault(
            f"alembic renders SQL for {answer['dialect']}, not for PostgreSQL",
            hint="let run_migrations_offline() in env.py take sqlalchemy.url, or a URL of PostgreSQL",
        )
    return {revision: answer[revision] for revision in revisions}


def _divide(generated: GeneratedSql, revision: Revision, direction: Direction) -> SqlSection:
    answer = generated.get(revision.id, direction)
    if "statements" not in answer:
        raise _build_fault(revision, _FUNCTIONS[direction], answer)
    return SqlSection(revision.path, lay_out(answer["statements"]), transactional=not answer["outside"])


def _build_fault(revision: Revision, function: str, answer: Mapping[str, Any]) -> MigrationFault:
    if answer.get("missing"):
        return MigrationFault(
            f"revision {revision.id} has no {function}()",
            hint=f"write {function}(), if only with pass",
            file=revision.path,
        )
    line = answer.get("line")
    return RenderFault(
        f"{function}() of revision {revision.id} cannot be rendered as SQL: {mask_password(answer['error'])}",
        hint="nothing can be read from the database there; apply it with alembic upgrade, and then: "
        "confiture adopt --from alembic",
        file=revision.path,
        line=line,
        source_line=extract_line(revision.text, line) if line else None,
    )


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    """Return the revisions that the heads in the table imply; it has no times and no order."""
    rows = fetch_rows(conn, f"SELECT version_num FROM {table} ORDER BY 1")
    files = {migration.version: migration for migration in migrations}
    heads = [head for (head,) in rows]
    applied = _collect_required(heads, files)
    unknown = [head for head in heads if head not in files]
    known = [migration.version for migration in migrations if migration.version in applied]
    return ToolHistory(tuple(map(ToolRecord, (*known, *unknown))), ordered=False)


def _collect_required(heads: Sequence[str], files: Mapping[str, MigrationFile]) -> set[str]:
    found, waiting = set[str](), list(heads)
    while waiting:
        version = waiting.pop()
        if version not in found:
            found.add(version)
            waiting += (files[version].requires or ()) if version in files else ()
    return found


def _render_applied(table: str, migration: MigrationFile, _all: Sequence[MigrationFile]) -> str:
    before = ", ".join(map(quote_literal, migration.requires or ()))
    delete = f"DELETE FROM {table} WHERE version_num IN ({before}); " if before else ""
    return f"{delete}INSERT INTO {table} (version_num) VALUES ({quote_literal(migration.version)});"


def _render_reverted(table: str, migration: MigrationFile, all_files: Sequence[MigrationFile]) -> str:
    """Return SQL that makes heads of what the migration required, unless another head requires that too."""
    lines = [f"DELETE FROM {table} WHERE version_num = {quote_literal(migration.version)};"]
    places = {other.version: place for place, other in enumerate(all_files)}
    for before in sorted(migration.requires or (), key=lambda version: places[version], reverse=True):
        names = ", ".join(map(quote_literal, sorted({before} | _collect_dependents(before, all_files))))
        lines.append(
            f"INSERT INTO {table} (version_num) SELECT {quote_literal(before)} "
            f"WHERE NOT EXISTS (SELECT FROM {table} WHERE version_num IN ({names}));"
        )
    return " ".join(lines)


def _collect_dependents(version: str, all_files: Sequence[MigrationFile]) -> set[str]:
    found = {version}
    for migration in all_files:
        if found & set(migration.requires or ()):
            found.add(migration.version)
    return found
