"""Write an event and a commit to pgGit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

_INSERT = "INSERT INTO pggit.system_events (event_type, event_data) VALUES (%s, %s::jsonb)"
# pgGit stores this hash. What create_commit returns is a random UUID, which it stores nowhere.
_FIND_COMMIT = """
    SELECT hash FROM pggit.commits
    WHERE hash = encode(sha256((%s::text || %s::text || CURRENT_TIMESTAMP::text)::bytea), 'hex')
"""


def write_event(conn: Connection[Any], kind: str, facts: Mapping[str, Any]) -> None:
    """Add a row to ``pggit.system_events``, in a savepoint.

    Args:
        conn: The migration's connection.
        kind: ``APPLIED``, ``REVERTED`` or ``FAILED``.
        facts: What to write of the migration; those that are ``None`` are left out.

    Raises:
        psycopg.Error: pgGit refuses it; the transaction is as before.
    """
    data = {name: value for name, value in {"kind": kind, **facts}.items() if value is not None}
    with conn.transaction():
        conn.execute(_INSERT, [f"confiture_{kind.lower()}", json.dumps(data)])


def create_commit(conn: Connection[Any], commit_type: str, branch: str, message: str, sql: str) -> str | None:
    """Make a commit, in a savepoint, and return its hash; ``None`` if there is no commit with that hash.

    Raises:
        psycopg.Error: pgGit refuses it; the transaction is as before.
    """
    try:
        return _create_branch_too(conn, commit_type, branch, message, sql)
    except (psycopg.errors.InvalidTextRepresentation, psycopg.errors.InvalidEscapeSequence):
        # pgGit casts the text to bytea, where a backslash begins an escape: E'a\nb' is no valid one.
        return _create_branch_too(conn, commit_type, branch, _escape(message), _escape(sql))


def _create_branch_too(
    conn: Connection[Any], commit_type: str, branch: str, message: str, sql: str
) -> str | None:
    try:
        return _call(conn, commit_type, branch, message, sql)
    except psycopg.errors.UniqueViolation:
        # pgGit creates its branch main with an id that its sequence does not know of, so the first new branch
        # gets the same id. The failed call has moved the sequence on, which no rollback undoes.
        return _call(conn, commit_type, branch, message, sql)


def _call(conn: Connection[Any], commit_type: str, branch: str, message: str, sql: str) -> str | None:
    create = f"SELECT pggit.create_commit(%s::text, %s::text, %s::text, NULL::{commit_type})"
    with conn.transaction(), Cursor(conn, row_factory=tuple_row) as cursor:
        cursor.execute(create.encode(), [branch, message, sql])
        row = cursor.execute(_FIND_COMMIT, [message, sql]).fetchone()
    return row[0] if row else None


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\")
