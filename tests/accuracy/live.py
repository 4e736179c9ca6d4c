"""What really waits: another session tries every relation while a transaction is open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from attrs import frozen
from psycopg import Connection

PATIENCE_MS = 40
_RELATIONS = """
    SELECT oid::bigint, relnamespace::regnamespace::text, quote_ident(relname), relkind::text
    FROM pg_class WHERE relkind IN ('r', 'p', 'm', 'v', 'f', 'i', 'I') AND relpersistence <> 't'
    AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    AND relnamespace::regnamespace::text !~ '^pg_toast'
"""


@frozen
class Known:
    """A relation as it was before the migration."""

    name: str
    kind: str


@frozen
class Waiting:
    """The relations whose reads and whose writes waited."""

    reads: frozenset[str]
    writes: frozenset[str]


def read_relations(conn: Connection[Any]) -> dict[int, Known]:
    """Return the user's relations by oid: the map that locks are read against."""
    rows = conn.execute(_RELATIONS)
    return {oid: Known(f"{schema}.{name}", kind) for oid, schema, name, kind in rows}


def find_waiting(third: Connection[Any], known: Mapping[int, Known], locked_views: frozenset[str]) -> Waiting:
    """Try every relation from ``third``, which is in autocommit, and return what waited."""
    third.execute(f"SET lock_timeout = {PATIENCE_MS}")
    tables = {relation.name for relation in known.values() if relation.kind in "rp"}
    read = tables | {relation.name for relation in known.values() if relation.kind == "m"} | locked_views
    return Waiting(
        reads=frozenset(name for name in read if _waits(third, f"SELECT * FROM {name} LIMIT 0")),
        writes=frozenset(name for name in tables if _waits(third, f"DELETE FROM {name} WHERE false")),
    )


def _waits(third: Connection[Any], command: str) -> bool:
    try:
        third.execute(command.encode())
    except psycopg.errors.LockNotAvailable:
        return True
    except psycopg.Error:
        # Not populated, a rule in the way: an answer, and it came at once.
        return False
    return False
