"""The functions that a statement calls, read from the catalog as far down as they go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.models.report import NotSeen
from confiture.postgres.session import fetch_rows, quote_literal
from confiture.sql.lock_modes import ExpectedLock, find_expected_locks
from confiture.sql.procedural import FunctionCall, InnerStatement, ProceduralBody, parse_body
from confiture.sql.quote import quote_name

_NAMES_SQL = "SELECT DISTINCT proname::text FROM pg_proc WHERE oid >= 16384"
# An aggregate has no text; what is written in C runs no SQL that anybody could read.
_DEFINITIONS_SQL = """
    SELECT p.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(p.proname), pg_get_functiondef(p.oid),
        bool_or(w.in_exception)
    FROM (VALUES {wanted}) AS w (schema, name, in_exception)
    JOIN pg_proc p ON p.proname = w.name JOIN pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_language l ON l.oid = p.prolang
    WHERE p.prokind <> 'a' AND l.lanname NOT IN ('c', 'internal')
        AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND (n.nspname = w.schema OR w.schema IS NULL AND n.nspname = ANY (current_schemas(true)))
    GROUP BY p.oid, n.nspname ORDER BY 1
"""


@frozen
class ReachedBody:
    """One text that a statement runs.

    Attributes:
        function: Its name, qualified; ``None`` for the statement's own text.
        body: What stands in it.
    """

    function: str | None
    body: ProceduralBody


def read_function_names(conn: Connection[Any]) -> frozenset[str]:
    """Return the names of all functions and procedures that are not PostgreSQL's own."""
    return frozenset(name for (name,) in fetch_rows(conn, _NAMES_SQL))


def follow_calls(
    conn: Connection[Any], sql: str, names: Collection[str] | None = None
) -> tuple[ReachedBody, ...]:
    """Return what a statement runs from inside: its own text, then the functions that it calls, and theirs.

    One query a level; none where no call is of one of these ``names``. Of an overloaded name every
    function is taken: which one is meant only the server knows. Triggers that fire, operators and casts
    are not followed.
    """
    each = [ReachedBody(None, parse_body(sql))]
    done: set[tuple[int, bool]] = set()
    calls = each[0].body.calls
    while any(names is None or call.name in names for call in calls):
        below = [one for one in _read_definitions(conn, calls) if (one[0], one[3]) not in done]
        done |= {(oid, in_exception) for oid, _, _, in_exception in below}
        new = [
            ReachedBody(name, parse_body(text, in_exception=guarded, lines_from_body=True))
            for _, name, text, guarded in below
        ]
        each += new
        calls = tuple(call for one in new for call in one.body.calls)
    return tuple(each)


def find_all_not_seen(bodies: Iterable[ReachedBody], seen: Collection[str] = ()) -> tuple[NotSeen, ...]:
    """Return the locks that may have come and gone unobserved, in any of these texts."""
    return tuple(
        dict.fromkeys(one for text in bodies for one in find_not_seen(text.body, seen, text.function))
    )


def _read_definitions(
    conn: Connection[Any], calls: Iterable[FunctionCall]
) -> list[tuple[int, str, str, bool]]:
    wanted = {(call.schema, call.name, call.in_exception) for call in calls}
    values = ", ".join(
        f"({'NULL' if schema is None else quote_literal(schema)}::text, "
        f"{quote_literal(name)}::text, {guarded})"
        for schema, name, guarded in sorted(wanted, key=str)
    )
    return [
        (oid, name, text, guarded)
        for oid, name, text, guarded in fetch_rows(conn, _DEFINITIONS_SQL.format(wanted=values))
    ]


def find_not_seen(
    body: ProceduralBody, seen: Collection[str] = (), function: str | None = None
) -> tuple[NotSeen, ...]:
    """Return the locks that may have come and gone unobserved.

    ``seen`` are the relations on which some were observed; ``function`` is whose text it is.
    """
    guarded = (inner for inner in body.statements if inner.in_exception)
    return tuple(dict.fromkeys(unseen for inner in guarded for unseen in _find_missed(inner, seen, function)))


def _find_missed(inner: InnerStatement, seen: Collection[str], function: str | None) -> Iterator[NotSeen]:
    place = ("" if inner.line is None else f" on line {inner.line}") + (f" of {function}" if function else "")
    if inner.sql is None:
        reason = f"{inner.reason}{place}; an EXCEPTION clause may have given its locks back"
        yield NotSeen(None, "locks of what runs inside", reason)
        return
    where = f"it stands{place} in a block with EXCEPTION, which may have given the lock back"
    for lock in find_expected_locks(inner.sql):
        name = _qualify_name(lock)
        if name is None:
            yield NotSeen(None, f"{lock.mode} on {lock.reason}", where)
        elif not any(text == name or text.endswith(f".{name}") for text in seen):
            yield NotSeen(name, lock.mode, where)


def _qualify_name(lock: ExpectedLock) -> str | None:
    if lock.relation is None:
        return None
    return quote_name(lock.schema, lock.relation)
