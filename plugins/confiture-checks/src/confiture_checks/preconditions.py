"""Checks the preconditions of a migration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from confiture_checks.queries import locate_errors
from confiture_checks.settings import Require

# parse_ident names what it cannot read; to_regclass does not.
_NO_TABLE = """
    SELECT name FROM unnest(%s::text[]) AS name WHERE NOT EXISTS (
        SELECT FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND c.oid = CASE WHEN parse_ident(name) IS NOT NULL THEN to_regclass(name) END)
"""
_NO_COLUMN = """
    SELECT name FROM unnest(%s::text[]) AS name, parse_ident(name) AS parts WHERE NOT EXISTS (
        SELECT FROM pg_attribute a
        WHERE a.attname = parts[cardinality(parts)] AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attrelid = to_regclass((
                SELECT string_agg(quote_ident(part), '.' ORDER BY number)
                FROM unnest(parts[:cardinality(parts) - 1]) WITH ORDINALITY AS each (part, number))))
"""
# A partitioned table's own is invalid until every partition has one: that is none that failed.
_INVALID = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1
"""
# A role without pg_read_all_stats sees that there is a replica, and nothing else of it. A base
# backup is no replica. No lag is shown for one that has caught up, and for one that has not yet.
_REPLICAS = """
    SELECT coalesce(nullif(application_name, ''), pid::text), state,
        extract(epoch FROM replay_lag)::float8 * 1000
    FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1
"""
# Whose session it is anybody may see, what kind of process only some: parallel workers of others
# are counted as sessions then, which errs on the safe side.
_FREE = """
    SELECT current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true), '0')::int
        - (SELECT count(*)::int FROM pg_stat_activity WHERE datid IS NOT NULL AND usesysid IS NOT NULL
            AND coalesce(backend_type, 'client backend') = 'client backend')
"""


@frozen
class PreconditionResult:
    """The result of one precondition.

    Attributes:
        unmet: A sentence for each thing that is not as it must be.
        unknown: Why it could not be checked, ``None`` if it was.
        stats: What was measured.
    """

    unmet: tuple[str, ...] = ()
    unknown: str | None = None
    stats: dict[str, Any] | None = None


def check_preconditions(conn: Connection[Any], require: Require) -> Iterator[PreconditionResult]:
    """Yield the result of each precondition that the settings ask for."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        for is_wanted, check in _CHECKS:
            if is_wanted(require):
                yield check(cursor, require)


def _check_tables(cursor: Cursor[Any], require: Require) -> PreconditionResult:
    with locate_errors(lambda _: "plugin.checks.require.tables"):
        missing = cursor.execute(_NO_TABLE, [list(require.tables)]).fetchall()
    return PreconditionResult(tuple(f"there is no table {name}" for (name,) in missing))


def _check_columns(cursor: Cursor[Any], require: Require) -> PreconditionResult:
    with locate_errors(lambda _: "plugin.checks.require.columns"):
        missing = cursor.execute(_NO_COLUMN, [list(require.columns)]).fetchall()
    return PreconditionResult(tuple(f"there is no column {name}" for (name,) in missing))


def _check_indexes(cursor: Cursor[Any], _: Require) -> PreconditionResult:
    return PreconditionResult(tuple(f"index {name} is invalid" for (name,) in cursor.execute(_INVALID)))


def _check_lag(cursor: Cursor[Any], require: Require) -> PreconditionResult:
    bound_ms = require.max_replication_lag_ms or 0.0
    replicas = cursor.execute(_REPLICAS).fetchall()
    behind = [(name, lag_ms) for name, _, lag_ms in replicas if (lag_ms or 0) > bound_ms]
    known = [lag_ms or 0.0 for _, state, lag_ms in replicas if lag_ms is not None or state == "streaming"]
    return PreconditionResult(
        tuple(
            f"replica {name} is {lag_ms:.0f} ms behind, {bound_ms:.0f} are allowed" for name, lag_ms in behind
        ),
        unknown=_explain_unknown(replicas),
        stats={
            "replicas": len(replicas),
            "replication_lag_ms": round(max(known), 1) if len(known) == len(replicas) > 0 else None,
        },
    )


def _explain_unknown(replicas: list[tuple[Any, ...]]) -> str | None:
    if any(state is None for _, state, _ in replicas):
        return "replication lag is not known: the role may not see it (GRANT pg_read_all_stats TO it)"
    late = [name for name, state, lag_ms in replicas if state != "streaming" and lag_ms is None]
    return f"replication lag is not known: {', '.join(late)} is still catching up" if late else None


def _check_headroom(cursor: Cursor[Any], require: Require) -> PreconditionResult:
    ((free,),) = cursor.execute(_FREE).fetchall()
    wanted = require.connection_headroom or 0
    unmet = (f"{free} connections are free, {wanted} must be",) if free < wanted else ()
    return PreconditionResult(unmet, stats={"free_connections": free})


_CHECKS: tuple[
    tuple[Callable[[Require], bool], Callable[[Cursor[Any], Require], PreconditionResult]], ...
] = (
    (lambda require: bool(require.tables), _check_tables),
    (lambda require: bool(require.columns), _check_columns),
    (lambda require: require.no_invalid_indexes, _check_indexes),
    (lambda require: require.max_replication_lag_ms is not None, _check_lag),
    (lambda require: require.connection_headroom is not None, _check_headroom),
)
