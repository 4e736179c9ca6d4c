"""Refuse a target that must not be written to."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture_anonymize.errors import TargetFault


@frozen
class DatabaseIdentity:
    """What tells one database from all others, however its URL is spelt.

    Attributes:
        cluster: The identifier of the server's data; replicas have that of their primary.
        oid: The database's number there.
        name: Its name, for messages.
    """

    cluster: int
    oid: int
    name: str

    def is_same(self, other: DatabaseIdentity) -> bool:
        """Return True if both are one database, or one is a replica of the other."""
        return (self.cluster, self.oid) == (other.cluster, other.oid)


def read_identity(conn: Connection[Any]) -> DatabaseIdentity:
    """Return the identity of the database behind a connection."""
    row = conn.execute(
        "SELECT s.system_identifier, d.oid::bigint, d.datname FROM pg_catalog.pg_control_system() AS s,"
        " pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()"
    ).fetchone()
    assert row is not None
    return DatabaseIdentity(*row)


def refuse_same_database(source: Connection[Any], target: Connection[Any]) -> None:
    """Refuse a target that is the source, or the primary that the source is a replica of.

    Raises:
        TargetFault: It is.
    """
    if (identity := read_identity(target)).is_same(read_identity(source)):
        raise TargetFault(
            f"the target is the source: the database {identity.name!r}",
            hint="name another database with --to",
        )


def refuse_production(target: Connection[Any], production: Connection[Any]) -> None:
    """Refuse a target that is the database of ``[env.production]``.

    Raises:
        TargetFault: It is.
    """
    if (identity := read_identity(target)).is_same(read_identity(production)):
        raise TargetFault(
            f"the target is production: the database {identity.name!r} is that of [env.production]",
            hint="name another database; production is never written to",
        )
