"""The plain convention: ``VERSION_name.sql`` and its relatives in one folder."""

from __future__ import annotations

from pathlib import Path

from confiture.migrations.folder import read_folder
from confiture.models.migration import MigrationFile
from confiture.sources.source import Evidence, Source, SourceOptions


def build_source() -> Source:
    """Return the source."""
    return Source("plain", "the plain convention", _read_plain, _recognize)


def _read_plain(folder: Path, _options: SourceOptions) -> tuple[MigrationFile, ...]:
    return read_folder(folder)


def _recognize(_folder: Path) -> Evidence | None:
    # It is the convention of a folder that was not adopted, so there is nothing to recognize.
    return None
