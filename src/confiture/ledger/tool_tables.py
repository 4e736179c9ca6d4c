"""Find the ledgers of other tools in a database, by the columns of their tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sources.source import Source

_TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname), c.relname::text,
        array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relname IN ({names}) AND c.relkind IN ('r', 'p') AND n.nspname <> {schema}
    GROUP BY 1, 2 ORDER BY 1
"""


@frozen
class ToolTable:
    """A table that another tool keeps its ledger in.

    Attributes:
        source: The convention of that tool.
        table: The table, schema-qualified and quoted.
    """

    source: Source
    table: str


def find_tool_tables(conn: Connection[Any], sources: Iterable[Source], schema: str) -> tuple[ToolTable, ...]:
    """Return the ledgers of these tools that the database has, outside confiture's ``schema``."""
    kept = [source for source in sources if source.ledger]
    names = sorted({source.ledger.table for source in kept if source.ledger})
    if not names:
        return ()
    query = _TABLES.format(names=", ".join(map(quote_literal, names)), schema=quote_literal(schema))
    rows = fetch_rows(conn, query)
    return tuple(
        ToolTable(source, table)
        for table, name, columns in rows
        for source in kept
        if source.ledger and source.ledger.matches(name, columns)
    )
