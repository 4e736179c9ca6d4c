"""Read the functions that a statement calls, and those that they call, from the catalog."""

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
# pg_get_functiondef refuses aggregates, and a function in C has no SQL to read.
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
    """One text that a statement executes.

    Attributes:
        function: The qualified name of the function; ``None`` for the statement's text.
        body: The statements and calls in the text.
    """

    function: str | None
    body: ProceduralBody


def read_function_names(conn: Connection[Any]) -> frozenset[str]:
    """Return the names of all functions and procedures that PostgreSQL does not ship."""
    return frozenset(name for (name,) in fetch_rows(conn, _NAMES_SQL))


def follow_calls(
    conn: Connection[Any], sql: str, names: Collection[str] | None = None
) -> tuple[ReachedBody, ...]:
    """Return the texts that a statement executes: its own, then the functions that it calls, recursively.

    Costs one query per call depth, and none if no call is in ``names``. Of an overloaded name, returns
    every function, because only the server can tell which one is called. Does not follow triggers,
    operators and casts.
    """
    bodies = [ReachedBody(None, parse_body(sql))]
    done: set[tuple[int, bool]] = set()
    calls = bodies[0].body.calls
    while any(names is None or call.name in names for call in calls):
        # A function that is called with and without a surrounding EXCEPTION block is read as both.
        below = [
            definition
            for definition in _read_definitions(conn, calls)
            if (definition[0], definition[3]) not in done
        ]
        done |= {(oid, in_exception) for oid, _, _, in_exception in below}
        new = [
            ReachedBody(name, parse_body(text, in_exception=guarded, lines_from_body=True))
            for _, name, text, guarded in below
        ]
        bodies += new
        calls = tuple(call for reached in new for call in reached.body.calls)
    return tuple(bodies)


def find_all_not_seen(bodies: Iterable[ReachedBody], seen: Collection[str] = ()) -> tuple[NotSeen, ...]:
    """Return the locks in these texts that may have been released before anybody observed them."""
    return tuple(
        dict.fromkeys(
            gap for reached in bodies for gap in find_not_seen(reached.body, seen, reached.function)
        )
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
    """Return the locks in one text that may have been released before anybody observed them.

    Args:
        body: The text.
        seen: Relations on which a lock was observed.
        function: The function that the text belongs to, if any.
    """
    # Only a subtransaction that is rolled back releases locks before the transaction ends.
    guarded = (inner for inner in body.statements if inner.in_exception)
    return tuple(dict.fromkeys(unseen for inner in guarded for unseen in _find_missed(inner, seen, function)))


def _find_missed(inner: InnerStatement, seen: Collection[str], function: str | None) -> Iterator[NotSeen]:
    place = ("" if inner.line is None else f" on line {inner.line}") + (f" of {function}" if function else "")
    if inner.sql is None:
        reason = f"{inner.reason}{place}; an EXCEPTION clause may have released its locks"
        yield NotSeen(None, "locks of statements run inside", reason)
        return
    where = f"its statement is{place} in a block with EXCEPTION, which may have released the lock"
    for lock in find_expected_locks(inner.sql):
        name = _qualify_name(lock)
        if name is None:
            yield NotSeen(None, f"{lock.mode} on {lock.reason}", where)
        elif not any(relation == name or relation.endswith(f".{name}") for relation in seen):
            yield NotSeen(name, lock.mode, where)


def _qualify_name(lock: ExpectedLock) -> str | None:
    if lock.relation is None:
        return None
    return quote_name(lock.schema, lock.relation)
