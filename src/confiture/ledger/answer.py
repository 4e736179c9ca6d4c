"""Record what a person says of a statement that was begun: it is done, or it is to be run again."""

from __future__ import annotations

import re

from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault, UsageFault
from confiture.ledger.repair import (
    find_file,
    format_label,
    read_statements,
    resolve_version,
    settle_scripts,
)
from confiture.ledger.writer import open_ledger_writer
from confiture.migrations.version import VersionKey, parse_version
from confiture.models.ledger import LedgerEntry, Repair
from confiture.models.migration import MigrationFile, Statement
from confiture.postgres.statement_effects import find_session
from confiture.sources.read_migrations import read_first

_PLACE = re.compile(r"(?P<version>.+):(?P<line>[0-9]+)")


def record_answer(settings: Settings, place: str, *, done: bool) -> Repair:
    """Record the statement at ``V:LINE`` as done, or forget that it was begun, so that it is run again.

    Raises:
        UsageFault: No statement there was begun without being recorded as done.
        LedgerFault: Another session still runs it.
        LockFault: Another run holds the migration lock.
    """
    version, line = _parse_place(place)
    first = read_first(settings)
    with open_ledger_writer(settings) as writer:
        scripts, entries = settle_scripts(first, writer.conn), writer.read_entries()
        entry = _find_unfinished(entries, version, resolve_version(version, scripts, entries))
        statement = _find_begun(entry, find_file(scripts, entry), line)
        _refuse_running(writer.conn, entry, statement)
        step, ledger = len(entry.done), writer.ledger
        if done:
            begin = ledger.render_begin_step_sql(entry, step, statement.sql)
            writer.write(begin + ledger.render_end_step_sql(entry, step))
        else:
            writer.write(ledger.render_forget_step_sql(entry, step))
    command = "confiture run" if entry.direction == "forward" else "confiture down"
    what = "is recorded as done, and {} goes on after it" if done else "will be run again: {}"
    return Repair(done=(f"line {line} of {format_label(entry)} {what.format(command)}",))


def _parse_place(place: str) -> tuple[str, int]:
    found = _PLACE.fullmatch(place)
    if found is None:
        raise UsageFault(
            f"{place!r} is not a version and a line",
            hint="write V:LINE, as in 20260120090000:4; confiture repair shows it",
        )
    return found["version"], int(found["line"])


def _find_unfinished(entries: tuple[LedgerEntry, ...], version: str, key: VersionKey) -> LedgerEntry:
    for entry in entries:
        if not entry.finished and parse_version(entry.version) == key:
            return entry
    raise UsageFault(
        f"version {version} is not unfinished: no statement of it was begun",
        hint="list the unfinished migrations: confiture repair",
    )


def _find_begun(entry: LedgerEntry, script: MigrationFile | None, line: int) -> Statement:
    label, hint = format_label(entry), f"see what was begun: confiture repair {entry.version}"
    if script is None:
        raise UsageFault(f"the file of {label} is missing", hint="restore it first")
    if script.kind == "python":
        raise UsageFault(f"{label} is a Python migration, which starts over: it has no lines", hint=hint)
    statements, unreadable = read_statements(script, entry)
    if unreadable:
        raise UsageFault(f"the file of {label} cannot be read: {unreadable}", hint="correct it first")
    begun = statements[len(entry.done) : len(entry.done) + 1] if entry.begun is not None else ()
    for statement in begun:
        if statement.line == line:
            return statement
    where = f"; line {begun[0].line} was" if begun else ""
    raise UsageFault(
        f"line {line} of {label} is no statement that was begun and not recorded as done{where}", hint=hint
    )


def _refuse_running(conn: Connection[object], entry: LedgerEntry, statement: Statement) -> None:
    pid = find_session(conn, statement.sql)
    if pid is not None:
        raise LedgerFault(
            f"pid {pid} still runs line {statement.line} of {format_label(entry)}",
            hint="wait until it has ended, then answer",
        )
