"""Choose the convention to adopt: the one named, or the one that the files and the database show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.config.settings import Settings
from confiture.exceptions import LedgerFault, SourceFault, UsageFault
from confiture.ledger.tool_tables import ToolTable, find_tool_tables
from confiture.sources.find_source import find_source, list_sources
from confiture.sources.source import Evidence, Source


@frozen
class Choice:
    """The convention to adopt.

    Attributes:
        source: The convention.
        table: The tool's own ledger, quoted; ``None`` if the database has none.
        evidence: What shows it, for people; ``None`` if the user named it.
    """

    source: Source
    table: str | None
    evidence: str | None = None


def choose_source(conn: Connection[Any], settings: Settings, name: str | None) -> Choice:
    """Return the convention of this name, or the one that files and database agree on.

    Raises:
        UsageFault: There is no such source, or several fit.
        SourceFault: The folder shows none.
        LedgerFault: The database has several ledgers of this tool.
    """
    name = name if name is not None else settings.source
    sources = list_sources(settings)
    if name is not None:
        source = find_source(settings, name)
        found = find_tool_tables(conn, [source], settings.schema)
        return Choice(source, _get_only(source, found))
    tables = find_tool_tables(conn, sources, settings.schema)
    seen = [(source, evidence) for source in sources if (evidence := source.recognize(settings.migrations))]
    fitting = _narrow(seen, tables)
    if not fitting and tables:
        table = tables[0]
        raise SourceFault(
            f"{table.table} is a ledger of {table.source.title}, but {settings.migrations} holds none of its "
            "migrations",
            hint="name the folder: --migrations DIR",
        )
    if not fitting:
        raise SourceFault(
            f"no convention of another tool was recognized in {settings.migrations}",
            hint="name it: confiture adopt --from NAME",
        )
    if len(fitting) > 1:
        listed = ", ".join(source.name for source, _ in fitting)
        raise UsageFault(
            f"{settings.migrations} could be of several tools: {listed}",
            hint="name it: confiture adopt --from NAME",
        )
    source, evidence = fitting[0]
    own = [table for table in tables if table.source.name == source.name]
    if tables and not own:
        raise LedgerFault(
            f"{evidence.file} is of {source.title}, but the database has a ledger of "
            f"{tables[0].source.title}: {tables[0].table}",
            hint=f"if that ledger is not of this folder: confiture adopt --from {source.name}",
        )
    return Choice(source, _get_only(source, own), evidence.file)


def _narrow(
    seen: Sequence[tuple[Source, Evidence]], tables: Sequence[ToolTable]
) -> list[tuple[Source, Evidence]]:
    """Return what fits best: what the files show for certain, and what the database has a ledger of."""
    certain = [(source, evidence) for source, evidence in seen if evidence.certain]
    likely = certain or list(seen)
    kept = {table.source.name for table in tables}
    return [pair for pair in likely if pair[0].name in kept] or likely


def _get_only(source: Source, found: Sequence[ToolTable]) -> str | None:
    if len(found) > 1:
        names = " and ".join(table.table for table in found)
        raise LedgerFault(
            f"this database has {len(found)} ledgers of {source.title}: {names}",
            hint="drop or rename the one that is not used",
        )
    return found[0].table if found else None
