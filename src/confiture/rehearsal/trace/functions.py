"""The functions that a statement calls, read from the catalog as far down as they go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.models.report import NotSeen
from confiture.postgres.session import literal, rows
from confiture.sql.lock_modes import Expected, expected_locks
from confiture.sql.procedural import Call, Inner, Inside, inside
from confiture.sql.quote import quote_name

_NAMES = "SELECT DISTINCT proname::text FROM pg_proc WHERE oid >= 16384"
# An aggregate has no text; what is written in C runs no SQL that anybody could read.
_DEFINITIONS = """
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
class Reached:
    """One text that a statement runs.

    Attributes:
        function: Its name, qualified; ``None`` for the statement's own text.
        found: What stands in it.
    """

    function: str | None
    found: Inside


def defined_names(conn: Connection[Any]) -> frozenset[str]:
    """Return the names of all functions and procedures that are not PostgreSQL's own."""
    return frozenset(name for (name,) in rows(conn, _NAMES))


def reached(conn: Connection[Any], sql: str, names: Collection[str] | None = None) -> tuple[Reached, ...]:
    """Return what a statement runs from inside: its own text, then the functions that it calls, and theirs.

    One query a level; none where no call is of one of these ``names``. Of an overloaded name every
    function is taken: which one is meant only the server knows. Triggers that fire, operators and casts
    are not followed.
    """
    each = [Reached(None, inside(sql))]
    done: set[tuple[int, bool]] = set()
    calls = each[0].found.calls
    while any(names is None or call.name in names for call in calls):
        below = [one for one in _defined(conn, calls) if (one[0], one[3]) not in done]
        done |= {(oid, in_exception) for oid, _, _, in_exception in below}
        new = [
            Reached(name, inside(text, in_exception=guarded, by_body=True))
            for _, name, text, guarded in below
        ]
        each += new
        calls = tuple(call for one in new for call in one.found.calls)
    return tuple(each)


def all_not_seen(each: Iterable[Reached], seen: Collection[str] = ()) -> tuple[NotSeen, ...]:
    """Return the locks that may have come and gone unobserved, in any of these texts."""
    return tuple(dict.fromkeys(one for text in each for one in not_seen(text.found, seen, text.function)))


def _defined(conn: Connection[Any], calls: Iterable[Call]) -> list[tuple[int, str, str, bool]]:
    wanted = {(call.schema, call.name, call.in_exception) for call in calls}
    values = ", ".join(
        f"({'NULL' if schema is None else literal(schema)}::text, {literal(name)}::text, {guarded})"
        for schema, name, guarded in sorted(wanted, key=str)
    )
    return [
        (oid, name, text, guarded)
        for oid, name, text, guarded in rows(conn, _DEFINITIONS.format(wanted=values))
    ]


def not_seen(found: Inside, seen: Collection[str] = (), function: str | None = None) -> tuple[NotSeen, ...]:
    """Return the locks that may have come and gone unobserved.

    ``seen`` are the relations on which some were observed; ``function`` is whose text it is.
    """
    guarded = (inner for inner in found.statements if inner.in_exception)
    return tuple(dict.fromkeys(each for inner in guarded for each in _missed(inner, seen, function)))


def _missed(inner: Inner, seen: Collection[str], function: str | None) -> Iterator[NotSeen]:
    place = ("" if inner.line is None else f" on line {inner.line}") + (f" of {function}" if function else "")
    if inner.sql is None:
        reason = f"{inner.reason}{place}; an EXCEPTION clause may have given its locks back"
        yield NotSeen(None, "locks of what runs inside", reason)
        return
    where = f"it stands{place} in a block with EXCEPTION, which may have given the lock back"
    for lock in expected_locks(inner.sql):
        name = _name(lock)
        if name is None:
            yield NotSeen(None, f"{lock.mode} on {lock.reason}", where)
        elif not any(each == name or each.endswith(f".{name}") for each in seen):
            yield NotSeen(name, lock.mode, where)


def _name(lock: Expected) -> str | None:
    if lock.relation is None:
        return None
    return quote_name(lock.schema, lock.relation)
