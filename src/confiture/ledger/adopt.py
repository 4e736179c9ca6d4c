"""Take over the migrations that another tool applied: read its ledger, and record them in ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from attrs import evolve, frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault, UsageFault
from confiture.ledger.choose_source import Choice, choose_source
from confiture.ledger.table import Ledger
from confiture.ledger.tool_order import order_migrations
from confiture.ledger.writer import open_ledger_writer
from confiture.migrations.file_notes import format_names
from confiture.migrations.planner import select_pending
from confiture.migrations.version import VersionKey, parse_version
from confiture.models.ledger import AdoptionOutcome, AdoptionResult, AdoptionStep, LedgerEntry, LedgerRow
from confiture.models.migration import MigrationFile
from confiture.postgres.connect import open_connection
from confiture.sources.adoption import Adoption, read_adoption, render_adoption_sql
from confiture.sources.read_migrations import list_lacking, read_migrations
from confiture.sources.source import ToolHistory, ToolRecord


@frozen
class Mapping:
    """What adopting would record.

    Attributes:
        adoption: The convention, and the tool's own ledger.
        migrations: All migrations, in order.
        new: Those to record, each with what the tool recorded of it, in the order of its ledger.
        undone: Those that the tool has undone, which our ledger forgets.
        behind: Those that the tool's ledger lacks because they ran before it was kept up to date.
        notes: What the user must know.
    """

    adoption: Adoption
    migrations: tuple[MigrationFile, ...]
    new: tuple[tuple[MigrationFile, ToolRecord], ...] = ()
    undone: tuple[MigrationFile, ...] = ()
    behind: tuple[MigrationFile, ...] = ()
    notes: tuple[str, ...] = ()


def adopt(
    settings: Settings, *, name: str | None = None, dry_run: bool = False, mirror: bool = False
) -> AdoptionResult:
    """Record what another tool applied, and the convention of its files; with ``dry_run``, write nothing.

    ``name`` is the source's; ``None`` to recognize it.

    Raises:
        UsageFault: The convention cannot be recognized, or there is no such source.
        LedgerFault: The tool's ledger is dirty, or disagrees with the files or with ours.
        LockFault: Another run holds the migration lock.
    """
    if dry_run:
        with open_connection(settings) as conn:
            choice = choose_source(conn, settings, name)
            entries = Ledger(settings.schema).read(conn)
            mapping = _map_history(conn, settings, choice, entries, mirror=mirror)
    else:
        with open_ledger_writer(settings) as writer:
            choice = choose_source(writer.conn, settings, name)
            entries = writer.read_entries()
            mapping = _map_history(writer.conn, settings, choice, entries, mirror=mirror)
            writer.write(" ".join(_render_sql(writer.ledger, settings, choice, mapping)))
    return _describe(choice, mapping, entries, dry_run=dry_run)


def _render_sql(ledger: Ledger, settings: Settings, choice: Choice, mapping: Mapping) -> Iterator[str]:
    yield render_adoption_sql(settings.schema, mapping.adoption)
    yield from (ledger.render_delete_sql(migration.version) for migration in mapping.undone)
    yield from (ledger.render_insert_sql(_make_row(*pair)) for pair in mapping.new)
    theirs = choice.source.ledger
    if theirs is not None and choice.table is not None:
        for migration in mapping.behind:
            yield theirs.render_applied(choice.table, migration, mapping.migrations)


def _map_history(
    conn: Connection[Any],
    settings: Settings,
    choice: Choice,
    entries: Sequence[LedgerEntry],
    *,
    mirror: bool,
) -> Mapping:
    source, table = choice.source, choice.table
    if mirror and (table is None or source.ledger is None):
        raise UsageFault(
            f"--mirror: this database has no ledger of {source.title} to keep up to date",
            hint="leave out --mirror",
        )

    # Some sources start a process of the tool's to read.
    @cache
    def read_sorted(sorting: str | None) -> tuple[MigrationFile, ...]:
        return read_migrations(evolve(settings, source=source.name, sorting=sorting))

    history = ToolHistory()
    if table is not None and source.ledger is not None:
        history = source.ledger.read(conn, table, read_sorted(None))
    ordered = order_migrations(read_sorted, history)
    migrations = ordered.migrations
    adoption = Adoption(source.name, table, mirror, ordered.sorting)
    files = {parse_version(migration.version): migration for migration in migrations}
    _refuse_faults(choice, history, files)
    known = {parse_version(entry.version) for entry in entries}
    new = tuple(
        (files[key], record)
        for record in history.applied
        if (key := parse_version(record.version)) not in known
    )
    before = read_adoption(conn, settings.schema)
    mirrored = before is not None and before.mirror and before.source == source.name
    lacking = list_lacking(history, migrations, entries) if mirrored or mirror else ()
    undone, behind = (lacking, ()) if mirrored else ((), lacking)
    gone = {parse_version(migration.version) for migration in undone}
    kept = [entry for entry in entries if parse_version(entry.version) not in gone]
    _check_outcome(migrations, kept, new)
    notes = [*ordered.notes, *history.notes, *_note_behind(choice, behind)]
    return Mapping(adoption, migrations, new, undone, behind, tuple(notes))


def _note_behind(choice: Choice, behind: Sequence[MigrationFile]) -> Iterator[str]:
    if behind:
        names = format_names([migration.version for migration in behind])
        yield f"recorded in {choice.table} too, since confiture applied it without --mirror: {names}"


def _refuse_faults(choice: Choice, history: ToolHistory, files: dict[VersionKey, MigrationFile]) -> None:
    lines = list(history.faults)
    for record in history.applied:
        migration = files.get(parse_version(record.version))
        if migration is None:
            lines.append(f"applied, but its file is missing: {record.version}")
        elif record.changed:
            lines.append(f"changed since it was applied: {migration.label}")
    if lines:
        title = choice.source.title
        raise LedgerFault(
            f"cannot take over {choice.table}, the ledger of {title}\n  " + "\n  ".join(lines),
            hint=f"solve it with {title} or restore the files; nothing was recorded",
        )


def _check_outcome(
    migrations: Sequence[MigrationFile],
    entries: Sequence[LedgerEntry],
    new: Sequence[tuple[MigrationFile, ToolRecord]],
) -> None:
    """Refuse to record what ``confiture run`` would then refuse to go on from."""
    after = [
        LedgerEntry(file.version, file.name, file.checksum, record.applied_at or "") for file, record in new
    ]
    # The user decides at the next run about migrations that are out of order.
    select_pending(migrations, (*entries, *after), out_of_order=True)


def _make_row(migration: MigrationFile, record: ToolRecord) -> LedgerRow:
    # A duration of 0 marks in the history what was not run here, as a baseline does.
    return LedgerRow(
        migration.version,
        migration.name,
        migration.checksum,
        0.0,
        True,
        (),
        (),
        applied_at=record.applied_at,
    )


def _describe(
    choice: Choice, mapping: Mapping, entries: Sequence[LedgerEntry], *, dry_run: bool
) -> AdoptionResult:
    new = {file.version for file, _ in mapping.new}
    undone = {file.version for file in mapping.undone}
    known = {parse_version(entry.version) for entry in entries}

    def name_outcome(migration: MigrationFile) -> AdoptionOutcome:
        if migration.version in new:
            return "would-record" if dry_run else "recorded"
        if migration.version in undone:
            return "would-forget" if dry_run else "forgotten"
        return "applied" if parse_version(migration.version) in known else "pending"

    return AdoptionResult(
        source=choice.source.name,
        title=choice.source.title,
        evidence=choice.evidence,
        tool_table=choice.table,
        mirror=mapping.adoption.mirror,
        dry_run=dry_run,
        migrations=tuple(
            AdoptionStep(migration.version, migration.name, name_outcome(migration))
            for migration in mapping.migrations
        ),
        notes=mapping.notes,
    )
