"""Compare two databases: all that pg_dump writes of their schemas, and their rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg

from confiture.config.settings import Settings
from confiture.postgres.dump import read_schema

_STATEMENT = re.compile(r"^--\n-- Name: .*\n--\n+", re.MULTILINE)
# What pg_dump does not write: an index that is not valid, and what a partitioned index lacks.
_INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
_TABLES = """
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema', 'confiture')
"""


def read_catalog(url: str, folder: Path) -> set[str]:
    """Return the objects of a database as SQL, with their properties, comments and states."""
    text = read_schema(Settings(root=folder, url=url)).text
    found = {normalise(part) for part in _STATEMENT.split(text)[1:]}
    with psycopg.connect(url) as conn:
        return found | {f"invalid index {name}" for (name,) in conn.execute(_INVALID)}


def normalise(statement: str) -> str:
    """Return a statement of pg_dump with its lines sorted: the order of columns and clauses does not count."""
    return "\n".join(sorted(line.strip().rstrip(",") for line in statement.splitlines() if line.strip()))


def read_rows(url: str) -> dict[str, list[Any]]:
    """Return the rows of every table, in no order, each as JSON: columns in no order either."""
    with psycopg.connect(url) as conn:
        names = sorted(name for (name,) in conn.execute(_TABLES))
        return {
            name: sorted(
                str(row) for (row,) in conn.execute(f"SELECT to_jsonb(t) FROM ONLY {name} AS t".encode())
            )
            for name in names
        }
