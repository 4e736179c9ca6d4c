"""Find the read models that the backfill plugin fills, and with which migration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from confiture.config.settings import Settings
from confiture.migrations.version import parse_filename, parse_version
from confiture.schema.function_body import Name

_SUFFIX = ".backfill.sql"
_TABLE = re.compile(r"^--\s*backfill\s*:\s*table\s*=\s*(\S+)", re.MULTILINE)


@frozen
class Backfill:
    """A read model that is filled with a migration.

    Attributes:
        table: The read model.
        migration: The migration's version or its name, as written.
    """

    table: Name
    migration: str

    def belongs_to(self, version: str, name: str) -> bool:
        """Return True if the migration with this version and name fills it."""
        if self.migration == name:
            return True
        # A name that is no version has other characters than digits.
        return self.migration[:1].isdigit() and parse_version(self.migration) == parse_version(version)


def read_backfills(settings: Settings) -> tuple[Backfill, ...]:
    """Return the backfills of ``VERSION_name.backfill.sql`` files and of the plugin's table."""
    return (*_read_files(settings.migrations), *_read_models(settings.plugin_tables.get("backfill", {})))


def _read_files(folder: Path) -> Iterator[Backfill]:
    for file in sorted(folder.glob(f"*{_SUFFIX}")):
        named = parse_filename(file.name)
        text = file.read_text(encoding="utf-8", errors="replace")
        for table in _TABLE.findall(text):
            yield Backfill(_split_name(table), named.version if named else "")


def _read_models(table: Mapping[str, Any]) -> Iterator[Backfill]:
    for name, model in table.get("models", {}).items():
        yield Backfill(_split_name(name), str(model.get("migration", "")))


def _split_name(written: str) -> Name:
    schema, _, name = written.replace('"', "").rpartition(".")
    return schema or None, name
