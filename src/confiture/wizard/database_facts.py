"""Read what a decision needs besides the rehearsal: sizes, and the sessions that are in the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.postgres.connect import read_server_version
from confiture.postgres.session import fetch_rows, quote_literal

# A relation that was never analyzed has -1 rows, which means unknown.
_ROWS = """
    SELECT format('%I.%I', n.nspname, c.relname), c.reltuples::float8
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY (ARRAY[{names}]::regclass[]) AND c.reltuples >= 0
"""
_SESSIONS = """
    SELECT format('%I.%I', n.nspname, c.relname),
        format('pid %s%s, %s%s, holds %s on %I.%I', a.pid,
            CASE WHEN a.application_name <> '' THEN format(' (%s)', a.application_name) ELSE '' END,
            coalesce(a.state, a.backend_type),
            CASE WHEN a.xact_start IS NULL THEN ''
                ELSE format(', in a transaction for %s',
                    date_trunc('second', clock_timestamp() - a.xact_start))
            END,
            l.mode, n.nspname, c.relname)
    FROM pg_locks l
    JOIN pg_stat_activity a ON a.pid = l.pid
    JOIN pg_class c ON c.oid = l.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation = ANY (ARRAY[{names}]::regclass[])
    ORDER BY a.xact_start, a.pid
"""


@frozen
class DatabaseFacts:
    """What the database says besides the rehearsal.

    Attributes:
        name: The database's name.
        server_version: ``"18.1"``.
        rows: About how many rows each relation holds, by its name as reports write it.
        sessions: The other sessions that hold a lock on a relation, described, by the relation's name.
    """

    name: str
    server_version: str
    rows: Mapping[str, float]
    sessions: Mapping[str, tuple[str, ...]]


def read_facts(conn: Connection[Any], relations: Iterable[str]) -> DatabaseFacts:
    """Return the facts about these relations, with one query each for sizes and sessions."""
    names = [f"to_regclass({quote_literal(relation)})" for relation in dict.fromkeys(relations)]
    listed = ", ".join(names)
    rows = fetch_rows(conn, _ROWS.format(names=listed)) if names else []
    held = fetch_rows(conn, _SESSIONS.format(names=listed)) if names else []
    sessions: dict[str, tuple[str, ...]] = {}
    for relation, text in held:
        sessions[relation] = (*sessions.get(relation, ()), text)
    return DatabaseFacts(conn.info.dbname, read_server_version(conn), dict(rows), sessions)
