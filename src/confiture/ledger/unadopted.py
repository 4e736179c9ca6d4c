"""Refuse to run again what another tool has applied from files that the plain convention can read too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault
from confiture.ledger.tool_tables import find_tool_tables
from confiture.migrations.file_notes import format_names
from confiture.migrations.version import parse_version
from confiture.models.migration import MigrationFile
from confiture.sources.find_source import find_source

# The files of these have names and dividers that are ours as well; those of others are refused anyway.
_ALIKE = ("dbmate", "golang-migrate", "sqlx", "supabase")


def refuse_unadopted(conn: Connection[Any], settings: Settings, migrations: Sequence[MigrationFile]) -> None:
    """Refuse the first run on a database in which another tool has applied some of the migrations.

    Raises:
        LedgerFault: The ledger of another tool has one of the migrations.
    """
    sources = [find_source(settings, name) for name in _ALIKE]
    for table in find_tool_tables(conn, sources, settings.schema):
        assert table.source.ledger is not None
        try:
            history = table.source.ledger.read(conn, table.table, migrations)
        except (InsufficientPrivilege, ValueError):
            # A role without the right to read it learns nothing. The tool's versions are always numbers.
            continue
        theirs = {parse_version(record.version) for record in history.applied}
        found = [file.version for file in migrations if parse_version(file.version) in theirs]
        if found:
            raise LedgerFault(
                f"{table.source.title} has applied migrations of this folder, as {table.table} shows: "
                f"{format_names(found)}",
                hint=f"take them over: confiture adopt --from {table.source.name}; to run them all the same, "
                'write source = "plain" into the configuration',
            )
