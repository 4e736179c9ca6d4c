"""Read and write ``databasechangelog``, and read the lock beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.models.migration import MigrationFile
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.liquibase_changeset import ChangeSet
from confiture.sources.source import ToolHistory, ToolLedger, ToolRecord
from confiture.sql.timestamp import render_utc

_COLUMNS = frozenset({"id", "author", "filename", "dateexecuted", "orderexecuted", "exectype", "md5sum"})
_LONGEST_TEXT_CHARACTERS = 255
# The only version of checksums that is computed here; Liquibase itself replaces older ones.
_CHECKSUM_VERSION = "9:"


@frozen
class ChangeSetRecord:
    """What Liquibase records of a changeset.

    Attributes:
        author: Its author.
        identifier: Its id.
        path: The whole path of its file; Liquibase records the end of it.
        name: Its path relative to the root changelog's folder.
        logical_path: What it records in place of that, if anything.
        checksum: Its checksum; ``None`` if it is not known.
        valid_checksums: Other checksums that are no change.
        contexts: Its contexts.
        labels: Its labels.
        comment: Its comment.
    """

    author: str
    identifier: str
    path: str
    name: str
    logical_path: str | None
    checksum: str | None
    valid_checksums: tuple[str, ...] = ()
    contexts: str = ""
    labels: str = ""
    comment: str = ""

    @classmethod
    def of(cls, changeset: ChangeSet, name: str) -> ChangeSetRecord:
        """Return what is recorded of a changeset."""
        return cls(
            changeset.author,
            changeset.identifier,
            changeset.file.resolve().as_posix(),
            name,
            changeset.logical_path,
            changeset.checksum,
            changeset.valid_checksums,
            " AND ".join(map(_enclose_words, changeset.contexts)),
            changeset.labels,
            changeset.comment,
        )

    def is_at(self, filename: str) -> bool:
        """Return True if a recorded file name is that of this changeset."""
        name = filename.removeprefix("classpath:").lstrip("/")
        if self.logical_path is not None:
            return name == self.logical_path.removeprefix("classpath:").lstrip("/")
        return self.path.endswith(f"/{PurePosixPath(name)}")

    def is_changed(self, checksum: str | None) -> bool:
        """Return True if a recorded checksum is known to be another one."""
        if checksum is None or self.checksum is None or not checksum.startswith(_CHECKSUM_VERSION):
            return False
        accepted = {"any", "1:any", checksum.lower()}
        return checksum != self.checksum and not accepted & {text.lower() for text in self.valid_checksums}


def _enclose_words(context: str) -> str:
    return f"({context})" if "," in context or " " in context else context


def build_ledger() -> ToolLedger:
    """Return the description of the table."""
    return ToolLedger("databasechangelog", _COLUMNS, _read_history, _render_applied, _render_reverted)


def _read_history(conn: Connection[Any], table: str, migrations: Sequence[MigrationFile]) -> ToolHistory:
    # Liquibase writes the local time of its session.
    rows = fetch_rows(
        conn,
        "SELECT id::text, author::text, filename::text, exectype::text, md5sum::text, "
        f"{render_utc('dateexecuted::timestamptz')} "
        f"FROM {table} ORDER BY orderexecuted, dateexecuted",
    )
    by_name: dict[tuple[str, str], list[MigrationFile]] = {}
    for file in migrations:
        by_name.setdefault((file.details.identifier, file.details.author), []).append(file)
    applied: list[ToolRecord] = []
    faults = list(_find_lock(conn, table))
    for identifier, author, filename, kind, checksum, moment in rows:
        if kind == "FAILED":
            faults.append(f"{filename}::{identifier}::{author} failed: put right what it left behind")
            continue
        migration = _find(by_name.get((identifier, author), ()), filename)
        if migration is None:
            applied.append(ToolRecord(f"{filename}::{identifier}::{author}", moment))
            continue
        changed = migration.details.is_changed(checksum)
        # A changeset with runOnChange that has changed is to run again.
        if not (changed and migration.repeatable):
            applied.append(ToolRecord(migration.version, moment, changed))
    return ToolHistory(tuple(applied), tuple(faults))


def _find(migrations: Iterable[MigrationFile], filename: str) -> MigrationFile | None:
    return next((migration for migration in migrations if migration.details.is_at(filename)), None)


def _find_lock(conn: Connection[Any], table: str) -> tuple[str, ...]:
    lock = f"{table.rpartition('.')[0]}.databasechangeloglock"
    ((exists,),) = fetch_rows(conn, f"SELECT to_regclass({quote_literal(lock)}) IS NOT NULL")
    holders = fetch_rows(conn, f"SELECT lockedby::text FROM {lock} WHERE locked") if exists else []
    return tuple(
        f"{holder or 'a process'} holds Liquibase's lock: wait for its end; if it has ended: "
        "liquibase release-locks"
        for (holder,) in holders
    )


def _render_applied(table: str, migration: MigrationFile, every: Sequence[MigrationFile]) -> str:
    name = _render_filename(table, migration, every)
    row = _render_row(table, migration.details, name)
    same = _render_condition(migration.details, name)
    again = ("dateexecuted", "orderexecuted", "md5sum", "deployment_id")
    changes = ", ".join(f"{column} = {row[column]}" for column in again)
    return (
        f"UPDATE {table} SET exectype = 'RERAN', {changes} WHERE {same};"
        f"INSERT INTO {table} ({', '.join(row)}) SELECT {', '.join(row.values())} "
        f"WHERE NOT EXISTS (SELECT FROM {table} WHERE {same});"
    )


def _render_reverted(table: str, migration: MigrationFile, every: Sequence[MigrationFile]) -> str:
    name = _render_filename(table, migration, every)
    return f"DELETE FROM {table} WHERE {_render_condition(migration.details, name)};"


def _render_row(table: str, record: ChangeSetRecord, filename: str) -> dict[str, str]:
    """Return SQL for the value of each column."""
    return {
        "id": quote_literal(record.identifier),
        "author": quote_literal(record.author),
        "filename": filename,
        "dateexecuted": "clock_timestamp()::timestamp",
        "orderexecuted": f"(SELECT coalesce(max(orderexecuted), 0) + 1 FROM {table})",
        "exectype": "'EXECUTED'",
        "md5sum": "NULL" if record.checksum is None else quote_literal(record.checksum),
        "description": "'sql'",
        "comments": _quote_text(record.comment),
        "contexts": _quote_text(record.contexts, empty="NULL"),
        "labels": _quote_text(record.labels, empty="NULL"),
        "liquibase": f"(SELECT liquibase FROM {table} ORDER BY orderexecuted DESC LIMIT 1)",
        "deployment_id": quote_literal(_read_deployment()),
    }


@cache
def _read_deployment() -> str:
    # Liquibase gives all changesets of one update the last ten digits of its milliseconds.
    return str(int(time.time() * 1000))[-10:]


def _quote_text(text: str, *, empty: str = "''") -> str:
    return quote_literal(text[:_LONGEST_TEXT_CHARACTERS]) if text else empty


def _render_condition(record: ChangeSetRecord, filename: str) -> str:
    return (
        f"id = {quote_literal(record.identifier)} AND author = {quote_literal(record.author)} "
        f"AND filename = {filename}"
    )


def _render_filename(table: str, migration: MigrationFile, every: Sequence[MigrationFile]) -> str:
    """Return SQL for what Liquibase records as the file's name.

    It is relative to a search path that only its own configuration knows; the rows that it wrote show it.
    """
    record: ChangeSetRecord = migration.details
    if record.logical_path is not None:
        return quote_literal(record.logical_path)
    paths = dict.fromkeys(file.details.path for file in every if file.details.logical_path is None)
    values = ", ".join(f"({quote_literal(path)})" for path in paths)
    begin = "1 + min(length(p.path) - length(t.filename))"
    return (
        f"coalesce((SELECT substr({quote_literal(record.path)}, {begin}) "
        f"FROM {table} t JOIN (VALUES {values}) p (path) "
        f"ON right(p.path, length(t.filename) + 1) = '/' || t.filename), {quote_literal(record.name)})"
    )
