"""Read the SQL files of one folder for the conventions that name and divide them in their own way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from confiture.exceptions import MigrationFault, SourceFault
from confiture.migrations.file_notes import name_file
from confiture.migrations.folder import combine_faults, hash_text, list_folder, read_file
from confiture.migrations.version import VersionKey, parse_version
from confiture.models.migration import Direction, MigrationFile, SqlSection
from confiture.sources.source import Evidence
from confiture.sql.lexer import blank_out

Divide = Callable[[Path, str, Direction], SqlSection | None]
"""Returns one direction of a file; called with the path, the text and the direction."""


def match_files(folder: Path, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
    """Yield the files of a folder whose names match a pattern, sorted by name.

    Raises:
        SourceFault: The folder cannot be read.
    """
    compiled = re.compile(pattern, re.DOTALL)
    for path in list_folder(folder):
        found = compiled.fullmatch(path.name)
        if found and not path.is_dir():
            yield path, found


def find_marked_file(folder: Path, pattern: str, marker: re.Pattern[str]) -> Evidence | None:
    """Return the first SQL file of a folder with the mark of a tool, for file names that many tools have."""
    for path, _ in match_files(folder, pattern):
        if path.suffix == ".sql" and marker.search(path.read_text("utf-8", errors="replace")):
            return Evidence(path.name)
    return None


def list_subfolders(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder, sorted by name, without hidden ones.

    Raises:
        SourceFault: The folder cannot be read.
    """
    for path in list_folder(folder):
        if not path.name.startswith(".") and path.is_dir():
            yield path


def build_migration(
    version: str,
    name: str,
    path: Path,
    divide: Divide | None = None,
    *,
    down: Path | None = None,
) -> MigrationFile:
    """Return the migration of a file, and of the file that undoes it if that is separate.

    Raises:
        MigrationFault: A file cannot be read.
    """
    text = read_file(path)
    down_text = read_file(down) if down else None
    return MigrationFile(
        version=version,
        name=name,
        kind="sql",
        path=path,
        text=text,
        checksum=hash_text(text),
        down_path=down,
        down_text=down_text,
        divide=_bind(divide, path, text, down, down_text) if divide else None,
    )


def _bind(
    divide: Divide, path: Path, text: str, down: Path | None, down_text: str | None
) -> Callable[[Direction], SqlSection | None]:
    def divide_file(direction: Direction) -> SqlSection | None:
        if direction == "backward" and down is not None:
            return divide(down, down_text or "", direction)
        return divide(path, text, direction)

    return divide_file


def choose_half(migration: MigrationFile, direction: Direction) -> tuple[Path, str] | None:
    """Return the file of a direction of a pair of files, and its text; ``None`` if there is no such file."""
    if direction == "forward":
        return migration.path, migration.text
    if migration.down_path is None:
        return None
    return migration.down_path, migration.down_text or ""


def refuse_duplicates(migrations: Sequence[MigrationFile]) -> tuple[MigrationFile, ...]:
    """Return the migrations unchanged.

    Raises:
        MigrationFault: Two of them have one version.
        MigrationFaults: Several versions are used twice.
    """
    by_version: dict[VersionKey, list[MigrationFile]] = {}
    for migration in migrations:
        by_version.setdefault(parse_version(migration.version), []).append(migration)
    faults = [
        MigrationFault(
            f"version {group[0].version} is used {len(group)} times: "
            f"{' and '.join(name_file(file.path) for file in group)}",
            hint="give all but one of them a new version",
            file=group[-1].path,
        )
        for group in by_version.values()
        if len(group) > 1
    ]
    if faults:
        raise combine_faults(faults)
    return tuple(migrations)


def sort_migrations(migrations: Iterable[MigrationFile], sorting: str) -> tuple[MigrationFile, ...]:
    """Return the migrations by version, as ``"number"`` or as ``"text"``."""
    if sorting == "text":
        return tuple(sorted(migrations, key=lambda migration: migration.version))
    return tuple(
        sorted(migrations, key=lambda migration: (parse_version(migration.version), migration.version))
    )


def has_sha256(path: Path, checksum: str) -> bool:
    """Return True if a file has this SHA-256, in hexadecimal, with whatever line ends Git gave it."""
    return checksum in {digest.hex() for digest in hash_line_ends(path)}


def hash_line_ends(path: Path, algorithm: str = "sha256") -> tuple[bytes, ...]:
    """Return the hash of a file as it is, with LF, and with CRLF."""
    data = path.read_bytes()
    unix = data.replace(b"\r\n", b"\n")
    variants = (data, unix, unix.replace(b"\n", b"\r\n"))
    return tuple(hashlib.new(algorithm, variant).digest() for variant in variants)


def refuse_nothing(folder: Path, migrations: Sequence[MigrationFile], title: str, names: str) -> None:
    """Refuse a folder without a migration of a convention.

    Raises:
        SourceFault: There is no migration.
    """
    if not migrations:
        raise SourceFault(
            f"no migrations of {title} in {folder}",
            hint=f"its files are named {names}; another convention: confiture adopt --from NAME",
        )


def keep_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return a text of the same length and the same lines, with blanks outside of the spans."""
    pieces, done = list[str](), 0
    for start, end in spans:
        pieces += [blank_out(text[done:start]), text[start:end]]
        done = end
    return "".join([*pieces, blank_out(text[done:])])
