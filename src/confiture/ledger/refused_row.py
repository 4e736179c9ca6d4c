"""Tell that a refused row was confiture's own: others may have added triggers or checks to the ledger."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus

from confiture.ledger.table import TABLES
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sql.quote import quote_ident

# Neither of these errors has a field for the table.
_NAMED = re.compile(r'(?:permission denied|policy\b.*) for (?:table|relation) "?(\w+)"?$')


def find_refusing_table(conn: Connection[Any], error: BaseException, schema: str) -> str | None:
    """Return the ledger's table whose row was refused, quoted; ``None`` if the error is about another one."""
    if not isinstance(error, psycopg.Error):
        return None
    table = error.diag.table_name if error.diag.schema_name == schema else None
    if table is None and error.sqlstate == "42501":
        found = _NAMED.search(error.diag.message_primary or "")
        table = found[1] if found else None
    if table is None and error.diag.context:
        table = _find_trigger_table(conn, error.diag.context, schema)
    return f"{quote_ident(schema)}.{table}" if table in TABLES else None


def describe_refusal(table: str, message: str) -> tuple[str, str]:
    """Return the message and the hint for a row that one of the ledger's tables refused."""
    return (
        f"{table} refused what confiture records there: {message}",
        "no statement of a migration did this: look for a trigger, policy or constraint that was added to the"
        f" table, in psql with \\d {table}",
    )


def _find_trigger_table(conn: Connection[Any], context: str, schema: str) -> str | None:
    """Return the table of the ledger whose trigger calls the function that an error's context names."""
    if conn.closed or conn.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
        return None
    rows = fetch_rows(
        conn,
        "SELECT c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid"
        f" WHERE n.nspname = {quote_literal(schema)} AND NOT t.tgisinternal"
        f" AND position(' ' || quote_ident(p.proname) || '(' in"
        f" replace({quote_literal(context)}, '.', ' ')) > 0 ORDER BY c.relname DESC LIMIT 1",
    )
    return str(rows[0][0]) if rows else None
