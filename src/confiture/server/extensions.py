"""Recognize the error for an extension that the embedded PostgreSQL lacks, and suggest what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import evolve

if TYPE_CHECKING:
    import psycopg

    from confiture.models.report import MigrationReport

# Newer versions raise feature_not_supported with the first message; older ones fail to open the control file
# (undefined_file).
_SQLSTATES = ("0A000", "58P01")
_MESSAGES = (
    re.compile(r'extension "(?P<name>[^"]+)" is not available'),
    re.compile(r'could not open extension control file ".*/(?P<name>[^/"]+)\.control"'),
)


def explain_missing_extension(error: psycopg.Error) -> str | None:
    """Return the hint for an extension that the embedded server lacks; ``None`` for any other error."""
    return build_extension_hint(error.sqlstate, error.diag.message_primary or str(error))


def add_extension_hints(migrations: Iterable[MigrationReport]) -> tuple[MigrationReport, ...]:
    """Return the reports with the same hint where the embedded server lacks an extension."""
    return tuple(map(_add_hint, migrations))


def _add_hint(migration: MigrationReport) -> MigrationReport:
    error = migration.error
    hint = build_extension_hint(error.sqlstate, error.message) if error else None
    return evolve(migration, error=evolve(error, hint=hint)) if error and hint else migration


def build_extension_hint(sqlstate: str | None, message: str) -> str | None:
    """Return the same hint from an error's SQLSTATE and message, which is what a report keeps."""
    if sqlstate not in _SQLSTATES:
        return None
    found = next(filter(None, (pattern.search(message) for pattern in _MESSAGES)), None)
    return _format_hint(found["name"]) if found else None


def _format_hint(name: str) -> str:
    return (
        f"the embedded PostgreSQL does not include the extension {name!r}; set CONFITURE_PG_BINDIR to the "
        "bin folder of a PostgreSQL that has it, or connect to another server with --url"
    )
