"""Copy the schema to an embedded server that exists for one rehearsal."""

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
from confiture.models.report import Report
from confiture.postgres.connect import open_connection, read_server_version
from confiture.postgres.dump import DumpFault, PgDumpProgram, choose_pg_dump, normalize_dump, run_pg_dump
from confiture.postgres.session import fetch_rows, send
from confiture.rehearsal.database_settings import DatabaseSetting, copy_settings, render_roles
from confiture.rehearsal.outbound import disable_outbound
from confiture.rehearsal.row_sample import begin_read_only_snapshot, copy_rows
from confiture.server import Server, open_temporary_server
from confiture.server.binaries import BINDIR_VARIABLE, find_binaries, read_major
from confiture.server.extensions import add_extension_hints, build_extension_hint
from confiture.sql.quote import quote_ident
from confiture.units import format_count

_ELSEWHERE = "or rehearse on the server itself: --in clone or --in transaction"
_DUMP_FLAGS = (
    "--schema-only",
    "--no-tablespaces",
    "--no-security-labels",
    "--no-subscriptions",
    "--encoding=UTF8",
    "--no-password",
)
# Settings that a session on the database would have. Some decide what a migration does: timestamp to
# timestamptz rewrites a table or not, by the TimeZone.
_SETTINGS = """
    SELECT name, setting FROM pg_settings
    WHERE name IN ('TimeZone', 'DateStyle', 'IntervalStyle', 'default_text_search_config')
        OR (source IN ('database', 'user', 'database user') AND context IN ('user', 'superuser')
            AND name NOT IN ('role', 'session_authorization', 'default_tablespace', 'temp_tablespaces'))
    ORDER BY 1
"""
# Settings of the whole server without which a statement fails or warns: a logical slot, a publication, the
# time of a commit.
_SERVER_SETTINGS = """
    SELECT name, setting FROM pg_settings
    WHERE (name, setting) IN (('wal_level', 'logical'), ('track_commit_timestamp', 'on'))
"""
# Bodies are not checked: a function may use tables that the dump creates later.
_RESTORE_PREAMBLE = (
    "SET check_function_bodies = off; SET client_min_messages = warning; SET search_path = '';\n"
)
_ERROR = re.compile(r"ERROR:\s+(?P<state>\w{5}): (?P<message>.*)")


@frozen
class EmbeddedCopy:
    """A copy of a schema on an embedded server.

    Attributes:
        settings: The settings that connect to it.
        version: The version of the embedded server.
        notes: Notes on the copy, for the report.
    """

    settings: Settings = field(repr=False)
    version: str
    notes: tuple[str, ...] = ()

    def add_hints(self, report: Report) -> Report:
        """Return the report with the embedded server's version, and hints where it lacks an extension."""
        migrations = add_extension_hints(report.migrations)
        return evolve(report, migrations=migrations, rehearsed_on=self.version)


@contextmanager
def open_embedded_copy(settings: Settings, sample_rows: int | None = None) -> Iterator[EmbeddedCopy]:
    """Copy the schema, and with ``sample_rows`` a sample of the rows; write nothing to the source.

    Raises:
        ConfigurationFault: ``pg_dump`` is too old, or the embedded server lacks an extension.
        RightsFault: The role may not read everything.
        ServerFault: The embedded server cannot be started.
    """
    with open_connection(settings, direct=True) as source:
        # Before the snapshot, which changes settings of the session.
        made = tuple(DatabaseSetting(None, *row) for row in fetch_rows(source, _SETTINGS))
        # pg_dump and the copy of the rows read the same snapshot.
        snapshot = begin_read_only_snapshot(source)
        program = _find_program(source.info.server_version // 10000)
        find_binaries()
        text = _dump_schema(settings, program, snapshot, source)
        server_settings: dict[str, str] = dict(fetch_rows(source, _SERVER_SETTINGS))
        with open_temporary_server(Path(tempfile.gettempdir()), settings=server_settings) as server:
            copied = evolve(settings, url=server.conninfo(source.info.dbname), direct_url=None, wait_s=0.0)
            _prepare(source, server, made)
            _restore(server, source.info.dbname, text)
            notes = _fill(settings, source, copied, sample_rows)
            version = read_server_version(source)
            # Before the rehearsal: an old snapshot on the source would keep VACUUM from removing rows.
            source.close()
            with open_connection(copied) as target:
                here = read_server_version(target)
            differs = warn_of_major_difference(version, here)
            yield EmbeddedCopy(copied, here, (*notes, *((differs,) if differs else ())))


def warn_of_major_difference(source: str, here: str) -> str | None:
    """Return a warning if two servers have different major versions, else ``None``."""
    if source.partition(".")[0] == here.partition(".")[0]:
        return None
    return (
        f"warning: rehearsed on PostgreSQL {here}, but the server runs {source}: locks, rewrites and syntax "
        f"may differ between major versions; set {BINDIR_VARIABLE} to a PostgreSQL "
        f"{source.partition('.')[0]}, or use --in clone"
    )


def _find_program(server_major: int) -> PgDumpProgram:
    try:
        return choose_pg_dump(server_major)
    except DumpFault as fault:
        fault.hint = f"{fault.hint}; {_ELSEWHERE}"
        raise


def _dump_schema(settings: Settings, program: PgDumpProgram, snapshot: str, source: Connection[Any]) -> str:
    flags = (*_DUMP_FLAGS, f"--snapshot={snapshot}")
    text = run_pg_dump(settings, program, flags=flags)
    mappings = bool(fetch_rows(source, "SELECT 1 FROM pg_user_mappings LIMIT 1"))
    # User mappings are removed from the dump: they may hold passwords, and let the copy reach other servers.
    return _RESTORE_PREAMBLE + normalize_dump(text, user_mappings=mappings)


def _prepare(source: Connection[Any], server: Server, settings: tuple[DatabaseSetting, ...]) -> None:
    """Create the database, the roles and the database's settings."""
    name = source.info.dbname
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        _refuse_missing(source, conn)
        if name not in ("app", "postgres", "template1"):
            send(conn, f"CREATE DATABASE {quote_ident(name)} TEMPLATE template0")
        send(conn, render_roles(source))
        # Refusals are ignored: this version does not know the setting, so it changes nothing here.
        copy_settings(conn, settings, name)


def _fill(
    settings: Settings, source: Connection[Any], target_settings: Settings, sample_rows: int | None
) -> tuple[str, ...]:
    """Copy the rows, disable outbound connections, vacuum and analyze; return notes for the report."""
    with open_connection(target_settings) as target:
        # VACUUM marks no page as all-visible before the log of its rows is flushed.
        send(target, "SET synchronous_commit = on")
        copy_rows(source, target, settings.schema, sample_rows)
        disable_outbound(target)
        empty = _refresh_views(source, target)
        # As in production: an index alone is read only if pages are all-visible.
        send(target, "VACUUM (ANALYZE)")
    rows = "no rows" if sample_rows is None else f"a sample of {format_count(sample_rows, 'row')} per table"
    note = f"rehearsed in a copy of the schema of {source.info.dbname} with {rows}, as a superuser"
    return (note, *empty)


_EXTENSIONS = "SELECT extname::text, extversion FROM pg_extension ORDER BY 1"


def _refuse_missing(source: Connection[Any], target: Connection[Any]) -> None:
    """Refuse a schema before the restore if the embedded server lacks one of its extensions."""
    available = {name for (name,) in fetch_rows(target, "SELECT name::text FROM pg_available_extensions")}
    missing = [
        f"{name} {version}" for name, version in fetch_rows(source, _EXTENSIONS) if name not in available
    ]
    if missing:
        raise build_missing_extensions_fault(missing, read_server_version(target))


def build_missing_extensions_fault(missing: list[str], version: str) -> ConfigurationFault:
    """Return the fault of a schema whose extensions the embedded server lacks."""
    return ConfigurationFault(
        f"the embedded PostgreSQL {version} lacks {', '.join(missing)}, which the database uses",
        hint=f"set {BINDIR_VARIABLE} to the bin folder of a PostgreSQL that has it, {_ELSEWHERE}",
    )


def _restore(server: Server, database: str, text: str) -> None:
    """Restore the dump with psql."""
    # Not in one transaction: it would hold the locks of all tables, and thousands exceed the lock table.
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
            f"cannot run {psql}: {error.strerror}",
            hint=f"set {BINDIR_VARIABLE} to a bin folder with psql, or unset it",
        ) from error
    if done.returncode:
        raise _build_restore_fault(done.stderr.decode(errors="replace"), read_major(server.bindir))


def _build_restore_fault(stderr: str, here: int) -> ConfigurationFault:
    found = _ERROR.search(stderr)
    message = found["message"] if found else (stderr.strip().splitlines() or ["psql failed"])[-1]
    hint = build_extension_hint(found["state"], message) if found else None
    return ConfigurationFault(
        f"cannot restore the schema on the embedded PostgreSQL {here}: {message}",
        hint=f"{hint}; {_ELSEWHERE}"
        if hint
        else f"set {BINDIR_VARIABLE} to the server's own version, {_ELSEWHERE}",
    )


_FILLED_VIEWS = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid
"""


def _refresh_views(source: Connection[Any], target: Connection[Any]) -> tuple[str, ...]:
    """Refresh the materialized views that are populated at the source; return notes on those that failed."""
    waiting = [name for (name,) in fetch_rows(source, _FILLED_VIEWS)]
    # A refresh fails until the materialized views that it reads are populated: repeat while any succeeds.
    while waiting:
        left = [name for name in waiting if not _try_refresh(target, name)]
        if len(left) == len(waiting):
            return tuple(f"materialized view {name} could not be refreshed: it is empty" for name in left)
        waiting = left
    return ()


def _try_refresh(target: Connection[Any], name: str) -> bool:
    try:
        send(target, f"REFRESH MATERIALIZED VIEW {name}")
    except psycopg.DatabaseError:
        return False
    return True
