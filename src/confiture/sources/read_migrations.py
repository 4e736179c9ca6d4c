"""Read the migrations as their convention says: that of the configuration, or that which was adopted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from attrs import evolve, frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import ConfitureError, LedgerFault
from confiture.migrations.file_notes import format_names
from confiture.migrations.version import parse_version
from confiture.models.ledger import LedgerEntry
from confiture.models.migration import MigrationFile
from confiture.postgres.connect import open_connection
from confiture.sources.adoption import Adoption, read_adoption
from confiture.sources.find_source import find_source
from confiture.sources.mirror import ToolMirror
from confiture.sources.source import Source, SourceOptions, ToolHistory

PLAIN = "plain"


@frozen
class OpenedMigrations:
    """The migrations of a database's folder, and a connection to that database.

    Attributes:
        conn: The connection.
        migrations: The migrations, in order.
        settings: The settings, with the source that was used.
        mirror: Writes to the other tool's ledger what a run applies; ``None`` without ``adopt --mirror``.
        tool: The adopted tool's ledger and its table; ``None`` if there is none.
    """

    conn: Connection[Any]
    migrations: tuple[MigrationFile, ...]
    settings: Settings
    mirror: ToolMirror | None = None
    tool: tuple[Source, str] | None = None

    def refuse_disagreement(self, entries: Iterable[LedgerEntry], *, in_copy: bool) -> None:
        """Refuse to go on from a ledger that does not know what the other tool did since it was adopted.

        With ``in_copy``, the tool's ledger may have no rows, and tells nothing of what was undone.

        Raises:
            LedgerFault: The tool has applied a migration that ``entries`` do not have, or, if its ledger is
                kept up to date, it has undone one that they have.
        """
        if self.tool is None:
            return
        source, table = self.tool
        assert source.ledger is not None
        entries = tuple(entries)
        history = source.ledger.read(self.conn, table, self.migrations)
        known = {parse_version(entry.version) for entry in entries}
        # What is only inferred to be applied may be a file that was added below the last version since.
        records = history.applied[-1:] if history.last_only else history.applied
        newer = [record.version for record in records if parse_version(record.version) not in known]
        kept = self.mirror is not None and not in_copy
        undone = [file.version for file in list_lacking(history, self.migrations, entries)] if kept else []
        lines = [
            *history.faults,
            *([f"applied by {source.title}: {format_names(newer)}"] if newer else []),
            *([f"undone by {source.title}: {format_names(undone)}"] if undone else []),
        ]
        if lines:
            how = "does not agree with ours" if undone else "is ahead of ours"
            mirror = " --mirror" if self.mirror else ""
            raise LedgerFault(
                f"{table}, the ledger of {source.title}, {how}\n  " + "\n  ".join(lines),
                hint=f"take it over: confiture adopt --from {source.name}{mirror}",
            )


@frozen
class FirstReading:
    """The migrations as they were read before connecting, or the fault that was found."""

    settings: Settings
    migrations: tuple[MigrationFile, ...] = ()
    fault: ConfitureError | None = None

    def settle(self, conn: Connection[Any]) -> OpenedMigrations:
        """Return the migrations, read again if the database says that another convention was adopted.

        Raises:
            ConfitureError: The migrations cannot be read.
        """
        adoption = read_adoption(conn, self.settings.schema)
        if adoption and self.settings.source in (None, adoption.source):
            settings = evolve(self.settings, source=adoption.source, sorting=adoption.sorting)
            migrations = self.migrations if settings == self.settings else read_migrations(settings)
            tool = _find_tool(settings, adoption)
            mirror = ToolMirror(*tool, migrations) if tool and adoption.mirror else None
            return OpenedMigrations(conn, migrations, settings, mirror, tool)
        if self.fault:
            raise self.fault
        return OpenedMigrations(conn, self.migrations, self.settings)


def list_lacking(
    history: ToolHistory, migrations: Iterable[MigrationFile], entries: Iterable[LedgerEntry]
) -> tuple[MigrationFile, ...]:
    """Return the migrations, in order, that our ledger has as applied and that of a tool does not."""
    theirs = {parse_version(record.version) for record in history.applied}
    ours = {parse_version(entry.version) for entry in entries if entry.finished}
    lacking = (file for file in migrations if parse_version(file.version) in ours - theirs)
    # A source leaves out of the history a repeatable one that is to run again.
    return tuple(file for file in lacking if not file.repeatable)


def read_migrations(settings: Settings) -> tuple[MigrationFile, ...]:
    """Return the migrations of the configured source, in order, without asking the database.

    Raises:
        SourceFault: The folder does not exist, or contains no migration.
        MigrationFault: A file is faulty.
        UsageFault: There is no such source.
    """
    source = find_source(settings, settings.source or PLAIN)
    options = SourceOptions(settings.root, settings.variables, settings.sorting)
    migrations = source.read(settings.migrations, options)
    if source.replaces_placeholders:
        return migrations
    return tuple(evolve(migration, variables=settings.variables) for migration in migrations)


def read_first(settings: Settings) -> FirstReading:
    """Read the migrations before connecting, so that a faulty file is reported without a server."""
    try:
        return FirstReading(settings, read_migrations(settings))
    except ConfitureError as fault:
        return FirstReading(settings, fault=fault)


@contextmanager
def open_migrations(settings: Settings, *, direct: bool = False) -> Iterator[OpenedMigrations]:
    """Connect, and yield the connection with the migrations.

    Raises:
        ConfitureError: The migrations cannot be read, or the server cannot be reached.
    """
    first = read_first(settings)
    with ExitStack() as stack:
        try:
            conn = stack.enter_context(open_connection(settings, direct=direct))
        except ConfitureError:
            if first.fault:
                raise first.fault from None
            raise
        yield first.settle(conn)


def _find_tool(settings: Settings, adoption: Adoption) -> tuple[Source, str] | None:
    source = find_source(settings, adoption.source)
    return (source, adoption.table) if source.ledger and adoption.table else None
