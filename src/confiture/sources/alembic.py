"""Alembic: revisions in Python that name the revisions before them: https://alembic.sqlalchemy.org.

The graph is read from the text of the files. The SQL of a revision is what ``alembic upgrade --sql`` writes
for it, so Alembic, the project's ``env.py`` and its models are needed where something is pending, and only
there: https://alembic.sqlalchemy.org/en/latest/offline.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from psycopg import Connection

from confiture.exceptions import MigrationFault, UsageFault
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.alembic_revisions import AlembicProject, find_project, read_revisions
from confiture.sources.generated_sql import lay_out
from confiture.sources.source import Evidence, Source, SourceOptions, ToolHistory, ToolLedger, ToolRecord
from confiture.sources.user_python import ask_python
from confiture.sql.position import extract_line

_SCRIPT = Path(__file__).with_name("render_alembic.py")
_FUNCTIONS: Mapping[Direction, str] = {"forward": "upgrade", "backward": "downgrade"}
# A down undoes few of many.
_MOST_BACKWARD = 20


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
    renderer = _Renderer(project, tuple(revision.id for revision in revisions))
    return tuple(
        MigrationFile(
            version=revision.id,
            name=revision.slug,
            kind="sql",
            path=revision.path,
            text=revision.text,
            checksum=revision.checksum,
            divide=renderer.bind(revision.id, revision.path, revision.text),
            requires=revision.requires,
        )
        for revision in revisions
    )


@define
class _Renderer:
    """Asks Alembic for the SQL of revisions, of many at once, when the first is needed."""

    project: AlembicProject
    order: Sequence[str]
    answers: dict[tuple[str, Direction], Any] = field(factory=dict)

    def bind(self, revision: str, path: Path, text: str) -> Any:
        """Return the function that divides the file of a revision."""
        return lambda direction: self._divide(revision, path, text, direction)

    def _divide(self, revision: str, path: Path, text: str, direction: Direction) -> SqlSection:
        if (revision, direction) not in self.answers:
            self._ask(revision, direction)
        answer = self.answers[revision, direction]
        if "statements" not in answer:
            raise _build_fault(revision, path, text, _FUNCTIONS[direction], answer)
        return SqlSection(path, lay_out(answer["statements"]), transactional=not answer["outside"])

    def _ask(self, revision: str, direction: Direction) -> None:
        # What is pending comes after the first that is, and what is undone before it.
        place = self.order.index(revision)
        wanted = (
            self.order[place:]
            if direction == "forward"
            else self.order[max(0, place + 1 - _MOST_BACKWARD) : place + 1]
        )
        project = self.project
        request = {
            "ini": str(project.ini) if project.ini else None,
            "toml": str(project.toml) if project.toml else None,
            "folder": str(project.folder),
            "revisions": wanted,
            "function": _FUNCTIONS[direction],
        }
        answer = ask_python("alembic", _SCRIPT, request, project.root)
        if "error" in answer:
            raise UsageFault(
                f"alembic cannot render {revision}: {answer['error']}",
                hint=f"try it in {project.root}: alembic upgrade --sql {revision}",
            )
        if answer.get("dialect") != "postgresql":
            raise UsageFault(
                f"alembic renders SQL for {answer.get('dialect', 'no database')}, not for PostgreSQL",
                hint="let run_migrations_offline() in env.py take sqlalchemy.url, or a URL of PostgreSQL",
            )
        self.answers.update({(name, direction): answer[name] for name in wanted})


def _build_fault(
    revision: str, path: Path, text: str, function: str, answer: Mapping[str, Any]
) -> MigrationFault:
    if answer.get("missing"):
        return MigrationFault(
            f"revision {revision} has no {function}()",
            hint=f"write {function}(), if only with pass",
            file=path,
        )
    line = answer.get("line")
    return MigrationFault(
        f"{function}() of revision {revision} cannot be rendered as SQL: {answer['error']}",
        hint="nothing can be read from the database there; apply it with alembic upgrade, and then: "
        "confiture adopt --from alembic",
        file=path,
        line=line,
        source_line=extract_line(text, line) if line else None,
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
