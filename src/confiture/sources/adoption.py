"""Remember which convention ``adopt`` chose: one row in a table of our schema."""

from __future__ import annotations

from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sql.quote import quote_ident


@frozen
class Adoption:
    """What ``adopt`` recorded.

    Attributes:
        source: The source's name.
        table: The quoted name of the tool's own ledger; ``None`` if there was none.
        mirror: True if every run also records in the tool's ledger what it applies.
        sorting: How the tool sorts versions, if its ledger shows that; see ``SourceOptions``.
    """

    source: str
    table: str | None = None
    mirror: bool = False
    sorting: str | None = None


def read_adoption(conn: Connection[Any], schema: str) -> Adoption | None:
    """Return what ``adopt`` recorded in this database; ``None`` if it was never run."""
    try:
        rows = fetch_rows(conn, f"SELECT name, tool_table, mirror, sorting FROM {quote_ident(schema)}.source")
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.InsufficientPrivilege,
    ):
        # A role without the right to read it cannot read the ledger either, whose error says so.
        return None
    return Adoption(*rows[0]) if rows else None


def render_adoption_sql(schema: str, adoption: Adoption) -> str:
    """Return SQL that records the adoption, in place of an earlier one."""
    q = quote_ident(schema)
    values = ", ".join(
        (
            quote_literal(adoption.source),
            "NULL" if adoption.table is None else quote_literal(adoption.table),
            str(adoption.mirror).lower(),
            "NULL" if adoption.sorting is None else quote_literal(adoption.sorting),
        )
    )
    return f"""
        CREATE TABLE IF NOT EXISTS {q}.source (
            name text PRIMARY KEY,
            tool_table text,
            mirror boolean NOT NULL,
            sorting text,
            adopted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            adopted_by text NOT NULL DEFAULT session_user
        );
        DELETE FROM {q}.source;
        INSERT INTO {q}.source (name, tool_table, mirror, sorting) VALUES ({values});
    """
