"""Build the schema that migrations make, on an empty database, and read its objects."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg
from attrs import evolve, frozen
from psycopg import Connection

from confiture.api.execution import Executor
from confiture.catalog.read_schema import read_objects
from confiture.config.settings import Settings
from confiture.exceptions import ConfigurationFault, MigrationFault
from confiture.migrations.version import parse_version
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import MigrationFile
from confiture.models.report import MigrationReport, Report
from confiture.models.schema import SchemaObject
from confiture.postgres.connect import open_connection, read_server_version
from confiture.postgres.session import send
from confiture.rehearsal.clone import open_empty_database
from confiture.rehearsal.database_settings import copy_settings, read_settings, render_roles
from confiture.server import Server, find_binaries, open_temporary_server
from confiture.server.binaries import BINDIR_VARIABLE, read_major
from confiture.server.extensions import build_extension_hint
from confiture.sql.quote import quote_ident

BuildPlace = Literal["embedded", "server"]
_DATABASE = "app"
_MISSING_ROLE = re.compile(r'role "(?P<name>.+)" does not exist')


@frozen
class SchemaBuilder:
    """An empty database in which migrations are applied, without plugins.

    Attributes:
        settings: The settings that connect to it, with the migrations folder.
        may_create_roles: True on a server that exists only for this.
    """

    settings: Settings
    may_create_roles: bool

    def build(self, versions: Collection[str]) -> tuple[SchemaObject, ...]:
        """Apply those of the migrations that are not applied yet; return all objects.

        Raises:
            MigrationFault: One of them fails.
        """
        created: set[str] = set()
        while fault := self._apply(versions):
            role = find_missing_role(fault)
            if role is None or role in created or not self.may_create_roles:
                raise fault
            created.add(role)
            with open_connection(self.settings) as conn:
                send(conn, f"CREATE ROLE {quote_ident(role)}")
        with open_connection(self.settings) as conn:
            return read_objects(conn, self.settings.schema)

    def _apply(self, versions: Collection[str]) -> MigrationFault | None:
        def choose(
            scripts: tuple[MigrationFile, ...], entries: tuple[LedgerEntry, ...]
        ) -> tuple[MigrationFile, ...]:
            done = {parse_version(entry.version) for entry in entries if entry.finished}
            return tuple(
                script
                for script in scripts
                if script.version in versions and parse_version(script.version) not in done
            )

        report = Executor(self.settings, "run", choose, (), lambda _: None).execute()
        failed = next((migration for migration in report.migrations if migration.error), None)
        return _build_fault(report, failed) if report.outcome != "ok" else None


def _build_fault(report: Report, failed: MigrationReport | None) -> MigrationFault:
    error = failed.error if failed else report.error
    message = error.message if error else "it was interrupted"
    label = f"{failed.version} {failed.name}".rstrip() if failed else "the migrations"
    hint = build_extension_hint(error.sqlstate, message) if error else None
    return MigrationFault(
        f"cannot build the schema: {label} fails on an empty database: {message}",
        hint=hint or "rehearse it there to see the whole report: confiture dry-run --in embedded",
    )


def find_missing_role(fault: MigrationFault) -> str | None:
    """Return the role that a migration names and that does not exist, if that is the fault."""
    found = _MISSING_ROLE.search(fault.message)
    return found["name"] if found else None


@contextmanager
def open_builder(
    settings: Settings, source: Connection[Any] | None = None, place: BuildPlace = "embedded"
) -> Iterator[SchemaBuilder]:
    """Open an empty database for the block: on an embedded server, or on the server of ``source``.

    With ``source``, the embedded server gets its roles and the settings of its database.

    Raises:
        ConfigurationFault: The embedded server has another major version than ``source``.
        ServerFault: The embedded server cannot be started.
        RightsFault: The role may not create a database.
    """
    if place == "server":
        assert source is not None
        with open_empty_database(settings, source.info.dbname) as empty:
            yield SchemaBuilder(evolve(empty, notify=None), may_create_roles=False)
        return
    if source is not None:
        _refuse_other_major(source)
    with open_temporary_server(Path(tempfile.gettempdir())) as server:
        if source is not None:
            _prepare(server, source)
        url = server.conninfo(_DATABASE)
        empty = evolve(settings, url=url, direct_url=None, wait_s=0.0, notify=None)
        yield SchemaBuilder(empty, may_create_roles=True)


def _refuse_other_major(source: Connection[Any]) -> None:
    built, live = read_major(find_binaries()), source.info.server_version // 10000
    if built != live:
        raise ConfigurationFault(
            f"the embedded server is PostgreSQL {built}, the database's is {read_server_version(source)}: "
            "their definitions cannot be compared",
            hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL {live}, or build in an empty "
            "database on the server: --in server",
        )


def _prepare(server: Server, source: Connection[Any]) -> None:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        send(conn, render_roles(source))
        copy_settings(conn, read_settings(source, source.info.dbname), _DATABASE)
