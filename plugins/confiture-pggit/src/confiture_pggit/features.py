"""Find which of pgGit's tables and functions a database has.

By their signatures and never by a version: pgGit's installer may stop half-way, and its version then says
nothing about what is there.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

# Releases differ in the last argument, which all of them leave at NULL for a commit with one parent.
_COMMIT_TYPES = ("uuid[]", "uuid")
_FIND = """
    SELECT to_regclass('pggit.system_events') IS NOT NULL,
        (SELECT type FROM unnest(%s::text[]) WITH ORDINALITY AS known (type, place)
            WHERE to_regprocedure('pggit.create_commit(text,text,text,' || type || ')') IS NOT NULL
            ORDER BY place LIMIT 1),
        to_regclass('pggit.objects') IS NOT NULL AND to_regprocedure('pggit.get_version(text)') IS NOT NULL,
        to_regprocedure('pggit.get_history(text,integer)') IS NOT NULL
"""


@frozen
class PgGitFeatures:
    """What a database has of pgGit.

    Attributes:
        events: The table ``pggit.system_events``.
        commit_type: The type of the last argument of ``pggit.create_commit``; ``None`` without it.
        versions: The table ``pggit.objects`` and the function ``pggit.get_version``.
        history: The function ``pggit.get_history``.
    """

    events: bool = False
    commit_type: str | None = None
    versions: bool = False
    history: bool = False


def find_features(conn: Connection[Any]) -> PgGitFeatures:
    """Look for pgGit's tables and functions, in one query and in a savepoint.

    Raises:
        psycopg.errors.InsufficientPrivilege: The role may not use the schema ``pggit``.
    """
    with conn.transaction(), Cursor(conn, row_factory=tuple_row) as cursor:
        (found,) = cursor.execute(_FIND, [list(_COMMIT_TYPES)]).fetchall()
    return PgGitFeatures(*found)
