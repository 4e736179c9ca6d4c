"""A copy of the schema on a server of our own, which is there for one rehearsal and then gone."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from attrs import evolve, field, frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import ConfigurationFault, ServerFault
from confiture.models.report import MigrationReport, Report
from confiture.postgres.connect import connected, server_version
from confiture.postgres.dump import DumpFault, Program, dumped, normalised, program_for
from confiture.postgres.session import rows, send
from confiture.rehearsal.database_settings import Setting, copy_settings, roles_sql
from confiture.rehearsal.outbound import cut_off
from confiture.rehearsal.row_sample import copy_rows, read_only_view
from confiture.server import Server, temporary
from confiture.server.binaries import OVERRIDE, binaries, major
from confiture.server.extensions import way_on
from confiture.sql.quote import quote_ident

ELSEWHERE = "or rehearse on the server itself: --in clone, --in transaction"
_FLAGS = (
    "--schema-only",
    "--no-tablespaces",
    "--no-security-labels",
    "--no-subscriptions",
    "--encoding=UTF8",
    "--no-password",
)
# What a session on the database itself would have: some of it decides what a migration does.
_SETTINGS = """
    SELECT name, setting FROM pg_settings
    WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'default_text_search_config')
        OR (source IN ('database', 'user', 'database user') AND context IN ('user', 'superuser')
            AND name NOT IN ('role', 'session_authorization', 'default_tablespace', 'temp_tablespaces'))
    ORDER BY 1
"""
_HEAD = "SET check_function_bodies = off; SET client_min_messages = warning; SET search_path = '';\n"
_ERROR = re.compile(r"ERROR:\s+(?P<state>\w{5}): (?P<message>.*)")


@frozen
class EmbeddedCopy:
    """A copy of a schema.

    Attributes:
        settings: Lead to it.
        version: Of the server it is on.
        notes: What a reader must know of it.
    """

    settings: Settings = field(repr=False)
    version: str
    notes: tuple[str, ...] = ()

    def explain(self, report: Report) -> Report:
        """Return the report with the way on where an extension is missing here."""
        migrations = tuple(_explained(migration) for migration in report.migrations)
        return evolve(report, migrations=migrations, rehearsed_on=self.version)


def _explained(migration: MigrationReport) -> MigrationReport:
    error = migration.error
    hint = way_on(error.sqlstate, error.message) if error else None
    return evolve(migration, error=evolve(error, hint=hint)) if error and hint else migration


@contextmanager
def embedded_copy(settings: Settings, sample_rows: int | None = None) -> Iterator[EmbeddedCopy]:
    """Copy the schema, and a sample of the rows where asked for; nothing is written on the source.

    Raises:
        ConfigurationFault: ``pg_dump`` is too old, or an extension is missing here.
        RightsFault: The role may not read everything.
        ServerFault: The embedded server cannot be had.
    """
    with connected(settings, direct=True) as source:
        made = tuple(Setting(None, *row) for row in rows(source, _SETTINGS))
        snapshot = read_only_view(source)
        program = _program(source.info.server_version // 10000)
        binaries()
        text = _schema(settings, program, snapshot, source)
        with temporary(Path(tempfile.gettempdir())) as server:
            there = evolve(settings, url=server.conninfo(source.info.dbname), direct_url=None, wait_s=0.0)
            _prepare(source, server, made)
            _restore(server, source.info.dbname, text)
            notes = _fill(settings, source, there, sample_rows)
            version = server_version(source)
            # The source is let go before anything runs.
            source.close()
            with connected(there) as target:
                here = server_version(target)
            differs = major_differs(version, here)
            yield EmbeddedCopy(there, here, (*notes, *((differs,) if differs else ())))


def major_differs(source: str, here: str) -> str | None:
    """Say that two servers are of different major versions; ``None`` where they are not."""
    if source.partition(".")[0] == here.partition(".")[0]:
        return None
    return (
        f"warning: rehearsed on PostgreSQL {here}, and the server is {source}: locks, rewrites and syntax "
        f"may differ between major versions; {OVERRIDE} names other server programs, --in clone has none"
    )


def _program(server_major: int) -> Program:
    try:
        return program_for(server_major)
    except DumpFault as fault:
        fault.hint = f"{fault.hint}; {ELSEWHERE}"
        raise


def _schema(settings: Settings, program: Program, snapshot: str, source: Connection[Any]) -> str:
    flags = (*_FLAGS, f"--snapshot={snapshot}")
    text = dumped(settings, program, flags=flags)
    mappings = bool(rows(source, "SELECT 1 FROM pg_user_mappings LIMIT 1"))
    # A user mapping may hold a password, and leads elsewhere.
    return _HEAD + normalised(text, user_mappings=mappings)


def _prepare(source: Connection[Any], server: Server, made: tuple[Setting, ...]) -> None:
    """Make the database, its settings and the roles."""
    name = source.info.dbname
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        _refuse_missing(source, conn)
        if name not in ("app", "postgres", "template1"):
            send(conn, f"CREATE DATABASE {quote_ident(name)} TEMPLATE template0")
        send(conn, roles_sql(source))
        # One that this version has not is none that it could heed.
        copy_settings(conn, made, name)


def _fill(
    settings: Settings, source: Connection[Any], there: Settings, sample_rows: int | None
) -> tuple[str, ...]:
    """Copy the rows that are wanted, and cut the copy off; return what is to be said of it."""
    with connected(there) as target:
        copy_rows(source, target, settings.schema, sample_rows)
        cut_off(target)
        empty = _refreshed(source, target)
        send(target, "ANALYZE")
    what = "no rows" if sample_rows is None else f"a sample of {sample_rows} rows a table"
    schema = f"rehearsed in a copy of the schema of {source.info.dbname} with {what}, as a superuser"
    return (schema, *empty)


_EXTENSIONS = "SELECT extname::text, extversion FROM pg_extension ORDER BY 1"


def _refuse_missing(source: Connection[Any], target: Connection[Any]) -> None:
    """Refuse before anything is restored what a schema needs and this server has not."""
    there = {name for (name,) in rows(target, "SELECT name::text FROM pg_available_extensions")}
    missing = [f"{name} {version}" for name, version in rows(source, _EXTENSIONS) if name not in there]
    if missing:
        raise missing_extensions(missing, server_version(target))


def missing_extensions(missing: list[str], version: str) -> ConfigurationFault:
    """The fault of a schema that needs extensions which the embedded server has not."""
    return ConfigurationFault(
        f"the embedded PostgreSQL {version} comes without {', '.join(missing)}, which the database uses",
        hint=f"set {OVERRIDE} to the bin folder of a PostgreSQL that has it, {ELSEWHERE}",
    )


def _restore(server: Server, database: str, text: str) -> None:
    """Let psql run the dump, each statement by itself: thousands of tables need no locks at once."""
    psql = server.bindir / "psql"
    command = [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environ["PGCLIENTENCODING"] = "UTF8"
    try:
        done = subprocess.run(
            [*command, server.conninfo(database)],
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environ,
            check=False,
        )
    except OSError as error:
        raise ServerFault(
            f"{psql} does not run: {error.strerror}",
            hint=f"set {OVERRIDE} to a bin folder with psql, or unset it",
        ) from error
    if done.returncode:
        raise _not_restored(done.stderr.decode(errors="replace"), major(server.bindir))


def _not_restored(said: str, here: int) -> ConfigurationFault:
    found = _ERROR.search(said)
    message = found["message"] if found else (said.strip().splitlines() or ["psql failed"])[-1]
    hint = way_on(found["state"], message) if found else None
    return ConfigurationFault(
        f"the schema cannot be made on the embedded PostgreSQL {here}: {message}",
        hint=f"{hint}; {ELSEWHERE}" if hint else f"set {OVERRIDE} to the server's own version, {ELSEWHERE}",
    )


_FILLED_VIEWS = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid
"""


def _refreshed(source: Connection[Any], target: Connection[Any]) -> tuple[str, ...]:
    """Fill the materialized views that are filled at the source, those first that others are made of."""
    waiting = [name for (name,) in rows(source, _FILLED_VIEWS)]
    while waiting:
        left = [name for name in waiting if not _refreshes(target, name)]
        if len(left) == len(waiting):
            return tuple(f"materialized view {name} could not be filled" for name in left)
        waiting = left
    return ()


def _refreshes(target: Connection[Any], name: str) -> bool:
    try:
        send(target, f"REFRESH MATERIALIZED VIEW {name}")
    except psycopg.DatabaseError:
        return False
    return True
