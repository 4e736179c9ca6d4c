"""Define what a source of migrations is: a tool's convention for files, and the ledger it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import Factory, field, frozen

from confiture.models.migration import MigrationFile


@frozen
class SourceOptions:
    """What a source may need to know besides the folder.

    Attributes:
        root: The folder of the configuration file, or the working directory.
        variables: ``[tool.confiture.variables]``: what placeholders in files stand for.
        sorting: ``"number"`` or ``"text"`` if the tool's ledger shows that it sorts versions so, against its
            convention; else ``None``.
    """

    root: Path = Path()
    variables: Mapping[str, str] = field(default=Factory(dict), repr=False)
    sorting: str | None = None


@frozen
class Evidence:
    """Why a folder may be of a convention.

    Attributes:
        file: The file that shows it, relative to the folder.
        certain: False if files of other conventions could look the same.
    """

    file: str
    certain: bool = True


@frozen
class ToolRecord:
    """A migration that another tool applied.

    Attributes:
        version: The version of the migration, as the source writes it.
        applied_at: When it was applied, in ISO 8601 with time zone; ``None`` if the tool does not record it.
        changed: True if the tool recorded a checksum that is not that of the file.
    """

    version: str
    applied_at: str | None = None
    changed: bool = False


@frozen
class ToolHistory:
    """What the ledger of another tool says.

    Attributes:
        applied: What is applied, in the order in which it was applied.
        faults: Why it cannot be taken over, as sentences: a migration that failed half-way, for example.
        ordered: False if the ledger does not record in which order it was applied.
        notes: What the user must know before it is taken over, as sentences.
        last_only: True if the ledger records only the last migration, and the others before it are inferred.
    """

    applied: tuple[ToolRecord, ...] = ()
    faults: tuple[str, ...] = ()
    ordered: bool = True
    notes: tuple[str, ...] = ()
    last_only: bool = False


@frozen
class ToolLedger:
    """The table in which another tool records what it applied.

    Attributes:
        table: Its usual name, without a schema.
        columns: The columns that tell it from a table of the same name that another tool made.
        without: Columns that this tool's table never has.
        read: Called with a connection, the table's quoted name and the migrations; reads the history.
        render_applied: Returns SQL that records a migration in the table, for ``adopt --mirror``. Called with
            the table's quoted name, the migration and all migrations.
        render_reverted: Returns SQL that removes a migration from the table. Called in the same way.
    """

    table: str
    columns: frozenset[str]
    read: Callable[[Any, str, Sequence[MigrationFile]], ToolHistory]
    render_applied: Callable[[str, MigrationFile, Sequence[MigrationFile]], str]
    render_reverted: Callable[[str, MigrationFile, Sequence[MigrationFile]], str]
    without: frozenset[str] = frozenset()

    def matches(self, table: str, columns: Iterable[str]) -> bool:
        """Return True if a table of this name and with these columns is of this tool."""
        return table == self.table and self.columns <= set(columns) and not self.without & set(columns)


@frozen
class Source:
    """A convention for migration files.

    Attributes:
        name: As ``source`` in the configuration and ``adopt --from`` write it: ``"goose"``.
        title: The tool's own spelling of its name.
        read: Returns the migrations of a folder, in the tool's order. Raises ``SourceFault`` if there are
            none, and ``MigrationFault`` for a faulty file.
        recognize: Called with the folder; returns what shows that it is of this convention, else ``None``.
        ledger: The tool's ledger; ``None`` if it has none.
        replaces_placeholders: True if the migrations that it returns replace placeholders as the tool does;
            else what ``sql.placeholders`` does by itself is done.
    """

    name: str
    title: str
    read: Callable[[Path, SourceOptions], tuple[MigrationFile, ...]]
    recognize: Callable[[Path], Evidence | None]
    ledger: ToolLedger | None = None
    replaces_placeholders: bool = False
