"""Read the schema of a database: its objects as canonical DDL, or their fingerprint."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection

from confiture.catalog.object_query import CANONICAL_SETTINGS, render_object_query, render_version_query
from confiture.catalog.tenant_objects import render_tenant_query, render_tenant_version_query
from confiture.exceptions import LockFault
from confiture.models.schema import SchemaObject
from confiture.postgres.session import fetch_rows

_ATTEMPTS = 3
_EXTENSIONS = (
    "ARRAY(SELECT format('%s %s', extname, extversion) FROM pg_extension ORDER BY extname COLLATE \"C\")"
)


def read_fingerprint(conn: Connection[Any], own_schema: str) -> str:
    """Return the SHA-256 of the canonical DDL of all objects; ``own_schema`` is left out.

    Needs no rights on any object, and writes nothing.

    Raises:
        LockFault: A table that a view reads is locked.
    """
    ((fingerprint,),) = _read(conn, render_version_query(own_schema, conn.info.server_version))
    return str(fingerprint)


def read_shape(
    conn: Connection[Any], own_schema: str, tenant: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the fingerprint, of one tenant's schema if one is named, and the extensions with their versions.

    Raises:
        LockFault: A table that a view reads is locked.
    """
    version = conn.info.server_version
    if tenant is None:
        query = render_version_query(own_schema, version)
    else:
        query = render_tenant_version_query(own_schema, version, tenant)
    ((fingerprint, extensions),) = _read(conn, f"SELECT ({query}), {_EXTENSIONS}")
    return str(fingerprint), tuple(extensions)


def read_tenant_objects(conn: Connection[Any], own_schema: str, tenant: str) -> tuple[SchemaObject, ...]:
    """Return the objects of a tenant's schema, by a name that all tenants share, sorted by kind and name.

    Raises:
        LockFault: A table that a view reads is locked.
    """
    found = _read(conn, render_tenant_query(own_schema, conn.info.server_version, tenant))
    return tuple(sorted(SchemaObject(*row) for row in found))


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
