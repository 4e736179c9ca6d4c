"""Recognize a folder of another migration tool by the names of its files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

_MOST_FILES = 5000

# A name that says only one tool stands above a name that several tools could use.
_NAMES: tuple[tuple[str, str], ...] = (
    ("Prisma", r"migration_lock\.toml|\d{14}_[^/]+/migration\.sql"),
    ("Alembic", r"(?:[^/]+/)?script\.py\.mako|(?:versions/)?[0-9a-f]{12}_[^/]+\.py"),
    ("Django", r"manage\.py"),
    ("sqitch", r"(?:[^/]+/)?sqitch\.plan"),
    ("Drizzle", r"meta/_journal\.json"),
    ("Atlas", r"atlas\.sum"),
    ("Hasura", r"(?:[^/]+/)?\d{13}_[^/]+/up\.sql"),
    ("Diesel", r"[^/]+/(?:up|down)\.sql"),
    ("refinery", r"[VU]\d+__[^/]+\.rs"),
    ("SeaORM", r"(?:[^/]+/)?m\d{8}_\d{6}_[^/]+\.rs"),
    ("Flyway", r"(?:[^/]+/)?(?:[VUB]\d[\d._]*|R)__[^/]+\.(?:sql|java)"),
    ("yoyo", r"[^/]+\.rollback\.sql|\d{8}_\d{2}_[A-Za-z0-9]{5}-[^/]+\.(?:py|sql)|\d+\.[^/]+\.(?:py|sql)"),
    ("Liquibase", r"(?:[^/]+/)?[^/]*changelog[^/]*\.(?:xml|ya?ml|json|sql)"),
    ("graphile-migrate", r"committed/\d+[^/]*\.sql"),
    ("Laravel", r"\d{4}_\d{2}_\d{2}_\d{6}_[^/]+\.php"),
    ("Doctrine", r"Version\d+\.php"),
    ("Phinx", r"\d{14}_[^/]+\.php"),
    ("Rails", r"\d{14}_[^/]+\.rb"),
    ("Ecto", r"\d{14}_[^/]+\.exs"),
    ("Entity Framework", r"\d{14}_[^/]+\.cs"),
    ("goose", r"\d+_[^/]+\.go"),
    ("golang-migrate", r"\d+_[^/]+\.(?:up|down)\.sql"),
    ("TypeORM", r"\d{13}-[^/]+\.[cm]?[jt]s"),
    ("Sequelize", r"\d{14}-[^/]+\.[cm]?[jt]s"),
    ("Knex", r"\d{14}_[^/]+\.[cm]?[jt]s"),
    ("node-pg-migrate", r"\d{13,17}_[^/]+\.[cm]?[jt]s"),
)
_WAYS = {
    "Hasura": "its folders are read as those of Diesel: confiture adopt --from diesel",
}
# Confiture reads the files of these as they are, by the name of a source.
_SOURCES = {
    "Alembic": "alembic",
    "Diesel": "diesel",
    "Django": "django --migrations .",
    "Drizzle": "drizzle",
    "Flyway": "flyway",
    "Prisma": "prisma",
    "sqitch": "sqitch",
    "golang-migrate": "golang-migrate",
    "yoyo": "yoyo",
    "goose": "goose",
    "node-pg-migrate": "node-pg-migrate",
    "Liquibase": "liquibase",
}
_PYTHON_TOOLS = {"alembic": "Alembic", "yoyo": "yoyo", "django": "Django"}
_IMPORT = re.compile(rf"^(?:from|import) (?P<module>{'|'.join(_PYTHON_TOOLS)})\b", re.MULTILINE)
_OTHER_WAY = "write the SQL of each to VERSION_name.up.sql, and what undoes it to VERSION_name.down.sql"


@frozen
class OtherTool:
    """Another tool that the files of a folder belong to.

    Attributes:
        name: The tool's name.
        evidence: The file that shows it, relative to the folder, with slashes.
    """

    name: str
    evidence: str

    @property
    def way(self) -> str:
        """How its migrations become ours."""
        if self.name in _SOURCES:
            written = _SOURCES[self.name]
            return (
                f"confiture adopt --from {written}; for what asks no database, "
                f'write source = "{written.split()[0]}" into the configuration'
            )
        return f"{_WAYS.get(self.name, _OTHER_WAY)}; what the database has already: confiture baseline V"


def recognize_tool(paths: Iterable[str]) -> OtherTool | None:
    """Return the tool that files belong to, by their paths relative to the folder, with slashes."""
    listed = sorted(paths)
    for name, pattern in _NAMES:
        compiled = re.compile(pattern)
        for path in listed:
            if compiled.fullmatch(path):
                return OtherTool(name, path)
    return None


def recognize_python(text: str, name: str) -> OtherTool | None:
    """Return the tool whose module a Python file imports."""
    found = _IMPORT.search(text)
    return OtherTool(_PYTHON_TOOLS[found["module"]], name) if found else None


def find_tool(folder: Path) -> OtherTool | None:
    """Return the tool that the files of a folder and of its subfolders belong to."""
    return recognize_tool(_list_paths(folder))


def _list_paths(folder: Path) -> list[str]:
    paths: list[str] = []
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        try:
            files = sorted(entry.iterdir()) if entry.is_dir() else [entry]
        except OSError:
            continue
        paths += [file.relative_to(folder).as_posix() for file in files]
        if len(paths) > _MOST_FILES:
            break
    return paths
