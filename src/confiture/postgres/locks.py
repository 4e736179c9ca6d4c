"""Read from ``pg_locks`` what a migration has locked, and what those locks block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, frozen
from psycopg import Connection

from confiture.models.lock_mode import STRONG_MODES, LockMode, keep_strongest
from confiture.models.report import Blocks, Lock, RelationKind
from confiture.postgres.session import fetch_rows

# The relation locks of one session. Callers may append OR and a condition for another kind of lock.
HELD_BY_SQL = f"""
    SELECT relation::bigint, mode FROM pg_locks
    WHERE locktype = 'relation' AND granted AND pid = {{pid}} AND mode IN {STRONG_MODES}
"""
HELD_SQL = HELD_BY_SQL.format(pid="pg_backend_pid()")

# The highest oid of all relations; PostgreSQL reads it from the end of the oid index.
NEWEST_OID_SQL = "SELECT max(oid)::bigint FROM pg_class"

KIND_BY_RELKIND: dict[str, RelationKind] = {
    "r": "table",
    "p": "table",
    "i": "index",
    "I": "index",
    "v": "view",
    "m": "matview",
    "S": "sequence",
    "f": "foreign",
    "t": "toast",
}

# Without joins, because it runs once per migration; regnamespace looks up the schema's name in a cache.
_NAMES_SQL = """
    SELECT oid::bigint, relnamespace::regnamespace::text, quote_ident(relname), relkind::text
    FROM pg_class WHERE relpersistence <> 't'
"""
_CATALOGS = ("pg_catalog", "information_schema")


@frozen
class RelationName:
    """The name and kind of a relation before the migration."""

    name: str
    kind: RelationKind


def read_relations(conn: Connection[Any], oids: Iterable[int] | None = None) -> dict[int, RelationName]:
    """Return the relations visible to ``conn`` by oid, without catalogs; all of them without ``oids``.

    Another connection than the migration's sees the relations as they were before it, including dropped
    ones. On the migration's own connection, call this before it begins.
    """
    chosen = "" if oids is None else f" AND oid = ANY(ARRAY[{', '.join(map(str, oids))}]::oid[])"
    return {
        oid: RelationName(f"{schema}.{name}", "toast" if schema == "pg_toast" else KIND_BY_RELKIND[kind])
        for oid, schema, name, kind in fetch_rows(conn, _NAMES_SQL + chosen)
        if kind in KIND_BY_RELKIND and schema not in _CATALOGS
    }


def list_strongest_locks(
    held: Iterable[tuple[Any, ...]], known: Mapping[int, RelationName]
) -> tuple[Lock, ...]:
    """Return one lock per known relation, with the strongest mode held, sorted by name."""
    on_known = [
        Lock(
            relation=known[oid].name,
            kind=known[oid].kind,
            mode=mode,
            blocks=find_blocked_access(known[oid].kind, mode),
        )
        for oid, mode in held
        if oid in known
    ]
    return merge_locks((), tuple(on_known))


def add_held_ms(
    locks: Iterable[Lock], known: Mapping[int, RelationName], held_ms: Mapping[tuple[Any, ...], float]
) -> tuple[Lock, ...]:
    """Return the locks with how long each is held, from the time by relation oid and mode."""
    times = {
        (known[oid].name, mode): duration_ms for (oid, mode), duration_ms in held_ms.items() if oid in known
    }
    return tuple(evolve(lock, held_ms=times[lock.relation, lock.mode]) for lock in locks)


def merge_locks(first: tuple[Lock, ...], second: tuple[Lock, ...]) -> tuple[Lock, ...]:
    """Return one lock per relation, with the strongest mode, sorted by name."""
    strongest = keep_strongest(
        (*first, *second), target_of=lambda lock: lock.relation, strength_of=lambda lock: LockMode[lock.mode]
    )
    return tuple(strongest[name] for name in sorted(strongest))


def find_blocked_access(kind: RelationKind, mode: str) -> tuple[str, ...]:
    """Return which accesses of other sessions a lock blocks: ``"reads"``, ``"writes"``.

    Follows PostgreSQL's conflict table: a SELECT takes AccessShare, a DELETE RowExclusive.
    """
    reads = mode == "AccessExclusiveLock" and kind in ("table", "matview", "view")
    writes = mode in STRONG_MODES and kind == "table"
    return (*(("reads",) if reads else ()), *(("writes",) if writes else ()))


def collect_blocks(locks: Iterable[Lock]) -> Blocks:
    """Return the relations whose reads and writes these locks block."""
    all_locks = tuple(locks)
    return Blocks(
        reads=tuple(lock.relation for lock in all_locks if "reads" in lock.blocks),
        writes=tuple(lock.relation for lock in all_locks if "writes" in lock.blocks),
    )


def read_changed_relations(conn: Connection[Any]) -> tuple[str, ...]:
    """Return the tables, views and sequences that this transaction has written to or altered.

    Reads the locks that it holds, because every write or ALTER takes more than AccessShare and RowShare.
    """
    return tuple(name for (name,) in fetch_rows(conn, CHANGED_SQL))


CHANGED_SQL = """
    SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.locktype = 'relation' AND l.granted AND l.pid = pg_backend_pid()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.mode NOT IN ('AccessShareLock', 'RowShareLock') AND c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S')
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
    ORDER BY 1
"""
