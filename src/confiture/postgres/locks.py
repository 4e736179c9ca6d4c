"""What a migration has locked, and what that blocks, read from ``pg_locks``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen
from psycopg import Connection

from confiture.models.lock_mode import STRONG_MODES, LockMode, keep_strongest
from confiture.models.report import Blocks, Lock, RelationKind
from confiture.postgres.session import fetch_rows

# What a session holds; what is added after OR finds a lock that is on no relation.
HELD_BY_SQL = f"""
    SELECT relation::bigint, mode FROM pg_locks
    WHERE locktype = 'relation' AND granted AND pid = {{pid}} AND mode IN {STRONG_MODES}
"""
HELD_SQL = HELD_BY_SQL.format(pid="pg_backend_pid()")

# The highest oid among the relations that there are; found at the end of an index.
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

# Without joins: it is asked once a migration.
_NAMES_SQL = """
    SELECT oid::bigint, relnamespace::regnamespace::text, quote_ident(relname), relkind::text
    FROM pg_class WHERE relpersistence <> 't'
"""
_CATALOGS = ("pg_catalog", "information_schema")


@frozen
class RelationName:
    """A relation as it was called before the migration."""

    name: str
    kind: RelationKind


def read_relations(conn: Connection[Any], oids: Iterable[int] | None = None) -> dict[int, RelationName]:
    """Return the relations that ``conn`` sees, catalogs left out, by oid; all of them without ``oids``.

    On a connection other than the migration's these are the ones that existed before it, the
    dropped ones included; on its own the map must be taken before it begins.
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
    """Return each known relation once, with the strongest mode held on it, by name."""
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


def merge_locks(first: tuple[Lock, ...], second: tuple[Lock, ...]) -> tuple[Lock, ...]:
    """Return each relation once, with its strongest mode."""
    strongest = keep_strongest(
        (*first, *second), target_of=lambda lock: lock.relation, strength_of=lambda lock: LockMode[lock.mode]
    )
    return tuple(strongest[name] for name in sorted(strongest))


def find_blocked_access(kind: RelationKind, mode: str) -> tuple[str, ...]:
    """Return what a lock makes other sessions wait with: ``"reads"``, ``"writes"``.

    From PostgreSQL's conflict table: a SELECT takes AccessShare, a DELETE RowExclusive.
    """
    reads = mode == "AccessExclusiveLock" and kind in ("table", "matview", "view")
    writes = mode in STRONG_MODES and kind == "table"
    return (*(("reads",) if reads else ()), *(("writes",) if writes else ()))


def collect_blocks(locks: Iterable[Lock]) -> Blocks:
    """Return the relations whose reads and writes these locks block."""
    each = tuple(locks)
    return Blocks(
        reads=tuple(lock.relation for lock in each if "reads" in lock.blocks),
        writes=tuple(lock.relation for lock in each if "writes" in lock.blocks),
    )


def read_changed_relations(conn: Connection[Any]) -> tuple[str, ...]:
    """Return the tables, views and sequences that this transaction has written to or altered."""
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
