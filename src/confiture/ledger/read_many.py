"""Read the ledgers of many tenants of one database at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from confiture.ledger.table import Ledger
from confiture.models.ledger import LedgerEntry
from confiture.postgres.session import fetch_rows, quote_literal


def read_many(conn: Connection[Any], schemas: Sequence[str]) -> dict[str, tuple[LedgerEntry, ...]]:
    """Return the entries of each of these ledgers, by schema; those that do not exist are left out.

    Raises:
        psycopg.Error: One of them cannot be read.
    """
    existing = _select_existing(conn, schemas)
    if not existing:
        return {}
    selects = (
        f"SELECT {quote_literal(schema)}, entries.* FROM ({Ledger(schema).render_read_sql()}) AS entries"
        for schema in existing
    )
    found: dict[str, list[LedgerEntry]] = {schema: [] for schema in existing}
    for schema, version, name, checksum, applied_at, done, direction, begun in fetch_rows(
        conn, " UNION ALL ".join(selects)
    ):
        entry = LedgerEntry(version, name, checksum, applied_at, tuple(done or ()), direction, begun)
        found[schema].append(entry)
    return {schema: tuple(entries) for schema, entries in found.items()}


def _select_existing(conn: Connection[Any], schemas: Sequence[str]) -> tuple[str, ...]:
    listed = ", ".join(map(quote_literal, schemas))
    rows = fetch_rows(
        conn,
        "SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        f" WHERE relname IN ('ledger', 'progress') AND nspname IN ({listed})"
        " GROUP BY nspname HAVING count(*) = 2",
    )
    return tuple(name for (name,) in rows)
