"""The columns of the ledger's tables, and the SQL that adds those that an older ledger lacks."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sql.quote import quote_ident

# Each table with its columns, and its key. The order is that of their creation.
_TABLES: dict[str, tuple[dict[str, str], str]] = {
    "ledger": (
        {
            "version": "text",
            "name": "text NOT NULL",
            "checksum": "text",
            "applied_at": "timestamptz NOT NULL",
            "applied_by": "text NOT NULL",
            "duration_ms": "double precision NOT NULL",
            "transactional": "boolean NOT NULL",
            "plugins": "jsonb NOT NULL",
            "hooks": "jsonb NOT NULL",
        },
        "version",
    ),
    "progress": (
        {
            "version": "text",
            "direction": "text",
            "step": "integer",
            "name": "text NOT NULL",
            "checksum": "text",
            "statement_sha256": "text NOT NULL",
            "begun_at": "timestamptz NOT NULL",
            "done_at": "timestamptz",
        },
        "version, direction, step",
    ),
    "hook_progress": (
        {
            "version": "text",
            "direction": "text",
            "phase": "text",
            "plugin": "text",
            "hook": "text",
            "progress": "jsonb NOT NULL",
            "at": "timestamptz NOT NULL",
        },
        "version, direction, phase, plugin, hook",
    ),
    "event": (
        {
            "number": "bigint NOT NULL",
            "kind": "text NOT NULL",
            "version": "text NOT NULL",
            "name": "text NOT NULL",
            "direction": "text NOT NULL",
            "at": "timestamptz NOT NULL",
            "by": "text NOT NULL",
            "duration_ms": "double precision NOT NULL",
            "transactional": "boolean NOT NULL",
            "plugins": "jsonb NOT NULL",
            "hooks": "jsonb NOT NULL",
            "locks": "jsonb NOT NULL",
            "git_revision": "text",
            "server_version": "text NOT NULL",
            "schema_before": "text",
            "schema_after": "text",
            "error": "jsonb",
        },
        # A publication FOR ALL TABLES refuses an UPDATE of a table without a key. Two applications may give
        # the same number to two events.
        "number, at, version",
    ),
    "schema_object": (
        {
            "kind": "text NOT NULL",
            "identity": "text NOT NULL",
            "number": "bigint NOT NULL",
            "ddl": "text",
        },
        "",
    ),
}
# What the rows of an older ledger have in a column that must not be empty.
_DEFAULTS = {
    "text": "''",
    "timestamptz": "'epoch'",
    "double precision": "0",
    "boolean": "true",
    "jsonb": "'[]'",
    "bigint": "0",
}


def list_columns(table: str) -> str:
    """Return the names of a table's columns, so that an INSERT does not depend on their order."""
    return ", ".join(_TABLES[table][0])


def count_columns(table: str) -> int:
    """Return how many columns a table has."""
    return len(_TABLES[table][0])


def render_create_sql(schema: str) -> str:
    """Return SQL that creates the tables that do not exist."""
    q = quote_ident(schema)
    return "".join(_render_table(q, table) for table in _TABLES)


def _render_table(q: str, table: str) -> str:
    columns, key = _TABLES[table]
    lines = [f"{name} {kind}" for name, kind in columns.items()]
    primary = [f"PRIMARY KEY ({key})"] if key else []
    return f"CREATE TABLE IF NOT EXISTS {q}.{table} ({', '.join((*lines, *primary))});"


def render_complete_sql(schema: str) -> str:
    """Return an SQL condition: all tables exist, with all their columns."""
    count = sum(len(columns) for columns, _ in _TABLES.values())
    return f"(SELECT count(*) FROM ({_render_present(schema)}) present) = {count}"


def find_missing_columns(conn: Connection[Any], schema: str) -> dict[str, str]:
    """Return SQL that adds each column that an existing table lacks, by ``table.column``.

    A column of a key cannot be added: its SQL is empty.
    """
    present = set(fetch_rows(conn, _render_present(schema)))
    tables = {table for table, _ in present}
    return {
        f"{table}.{name}": _render_add(schema, table, name)
        for table, (columns, _) in _TABLES.items()
        for name in columns
        if table in tables and (table, name) not in present
    }


def _render_present(schema: str) -> str:
    """Return a query for the tables and columns that there are; it needs no rights on the schema."""
    wanted = ", ".join(
        f"({quote_literal(table)}, {quote_literal(name)})"
        for table, (columns, _) in _TABLES.items()
        for name in columns
    )
    return (
        "SELECT c.relname::text, a.attname::text FROM pg_class c"
        f" JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = {quote_literal(schema)}"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped"
        f" WHERE (c.relname, a.attname) IN ({wanted})"
    )


def _render_add(schema: str, table: str, name: str) -> str:
    columns, key = _TABLES[table]
    if name in key.split(", "):
        return ""
    kind = columns[name]
    required = kind.endswith(" NOT NULL")
    default = f" DEFAULT {_DEFAULTS[kind.removesuffix(' NOT NULL')]}" if required else ""
    return f"ALTER TABLE {quote_ident(schema)}.{table} ADD COLUMN {name} {kind}{default};"
