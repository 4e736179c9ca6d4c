"""What migrations have made, to compare two databases."""

from __future__ import annotations

from typing import Any

import psycopg

_COLUMNS = """
    SELECT c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm')
    ORDER BY 1, a.attnum
"""
_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
_FUNCTIONS = """
    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1
"""


def describe_schema(conn: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Return the columns, indexes and functions of the schema ``public``, ledgers of tools included."""
    return [row for query in (_COLUMNS, _INDEXES, _FUNCTIONS) for row in conn.execute(query.encode())]
