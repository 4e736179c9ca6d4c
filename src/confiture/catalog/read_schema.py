"""Read the schema of a database: its objects as canonical DDL, or their fingerprint."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection

from confiture.catalog.object_query import CANONICAL_SETTINGS, render_object_query, render_version_query
from confiture.exceptions import LockFault
from confiture.models.schema import SchemaObject
from confiture.postgres.session import fetch_rows

_ATTEMPTS = 3


def read_fingerprint(conn: Connection[Any], own_schema: str) -> str:
    """Return the SHA-256 of the canonical DDL of all objects; ``own_schema`` is left out.

    Needs no rights on any object, and writes nothing.

    Raises:
        LockFault: A table that a view reads is locked.
    """
    ((fingerprint,),) = _read(conn, render_version_query(own_schema, conn.info.server_version))
    return str(fingerprint)


def read_objects(conn: Connection[Any], own_schema: str) -> tuple[SchemaObject, ...]:
    """Return all objects, sorted by kind and name; ``own_schema`` is left out.

    Raises:
        LockFault: A table that a view reads is locked.
    """
    found = _read(conn, render_object_query(own_schema, conn.info.server_version))
    return tuple(sorted(SchemaObject(*row) for row in found))


def _read(conn: Connection[Any], query: str) -> list[tuple[Any, ...]]:
    for _ in range(_ATTEMPTS - 1):
        try:
            return _read_once(conn, query)
        except (psycopg.errors.InternalError_, psycopg.errors.UndefinedTable):
            # Another session has dropped an object while its definition was read.
            continue
    return _read_once(conn, query)


def _read_once(conn: Connection[Any], query: str) -> list[tuple[Any, ...]]:
    try:
        # Rolled back, so that the settings apply to this query only.
        with conn.transaction(force_rollback=True):
            # Printing a view takes an AccessShareLock on its tables.
            return fetch_rows(conn, f"SET LOCAL lock_timeout = '5s'; {CANONICAL_SETTINGS} {query}")
    except psycopg.errors.LockNotAvailable as error:
        raise LockFault(
            f"the schema cannot be read: {error.diag.message_primary}",
            hint="another session has locked a table that a view reads; try again when it has ended",
        ) from error
