"""Test whether the database meets what a migration requires before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import field, frozen
from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

from confiture_checks.queries import locate_errors
from confiture_checks.settings import Requirement

# parse_ident's error quotes the name that it cannot read; to_regclass's does not.
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
                FROM unnest(parts[:cardinality(parts) - 1]) WITH ORDINALITY AS piece (part, number))))
"""
# A partitioned table's index is invalid until every partition has one: that is no failed build.
_INVALID = """
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1
"""
# A role without pg_read_all_stats sees that there is a replica, and nothing else about it. A base
# backup is no replica. The lag is NULL for a replica that has caught up, and for one still catching up.
_REPLICAS = """
    SELECT coalesce(nullif(application_name, ''), pid::text), state,
        extract(epoch FROM replay_lag)::float8 * 1000
    FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1
"""
# Every role sees who a session belongs to, but not every role sees its kind of process. Other roles'
# parallel workers then count as sessions, which errs on the safe side.
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
        unmet: A sentence for each thing that is not as required.
        unknown: Why it could not be determined; ``None`` if it could.
        stats: What was measured.
    """

    unmet: tuple[str, ...] = ()
    unknown: str | None = None
    stats: dict[str, Any] = field(factory=dict)


def evaluate_requirement(conn: Connection[Any], requirement: Requirement) -> Iterator[PreconditionResult]:
    """Yield the result of each precondition that the requirement sets."""
    with Cursor(conn, row_factory=tuple_row) as cursor:
        for is_set, evaluate in _PRECONDITIONS:
            if is_set(requirement):
                yield evaluate(cursor, requirement)


def _evaluate_tables(cursor: Cursor[Any], requirement: Requirement) -> PreconditionResult:
    with locate_errors(lambda _: "plugin.checks.require.tables"):
        missing = cursor.execute(_NO_TABLE, [list(requirement.tables)]).fetchall()
    return PreconditionResult(tuple(f"there is no table {name}" for (name,) in missing))


def _evaluate_columns(cursor: Cursor[Any], requirement: Requirement) -> PreconditionResult:
    with locate_errors(lambda _: "plugin.checks.require.columns"):
        missing = cursor.execute(_NO_COLUMN, [list(requirement.columns)]).fetchall()
    return PreconditionResult(tuple(f"there is no column {name}" for (name,) in missing))


def _evaluate_indexes(cursor: Cursor[Any], _: Requirement) -> PreconditionResult:
    return PreconditionResult(tuple(f"index {name} is invalid" for (name,) in cursor.execute(_INVALID)))


def _evaluate_replication_lag(cursor: Cursor[Any], requirement: Requirement) -> PreconditionResult:
    bound_ms = requirement.max_replication_lag_ms or 0.0
    replicas = cursor.execute(_REPLICAS).fetchall()
    behind = [(name, lag_ms) for name, _, lag_ms in replicas if (lag_ms or 0) > bound_ms]
    known = [lag_ms or 0.0 for _, state, lag_ms in replicas if lag_ms is not None or state == "streaming"]
    return PreconditionResult(
        tuple(
            f"replica {name} is {lag_ms:.0f} ms behind, {bound_ms:.0f} are allowed" for name, lag_ms in behind
        ),
        unknown=_explain_unknown_lag(replicas),
        stats={
            "replicas": len(replicas),
            "replication_lag_ms": round(max(known), 1) if len(known) == len(replicas) > 0 else None,
        },
    )


def _explain_unknown_lag(replicas: list[tuple[Any, ...]]) -> str | None:
    if any(state is None for _, state, _ in replicas):
        return "replication lag is not known: the role may not see it (GRANT pg_read_all_stats TO it)"
    late = [name for name, state, lag_ms in replicas if state != "streaming" and lag_ms is None]
    return f"replication lag is not known: {', '.join(late)} is still catching up" if late else None


def _evaluate_connections(cursor: Cursor[Any], requirement: Requirement) -> PreconditionResult:
    ((free,),) = cursor.execute(_FREE).fetchall()
    required = requirement.connection_headroom or 0
    unmet = (f"{free} connections are free, {required} must be",) if free < required else ()
    return PreconditionResult(unmet, stats={"free_connections": free})


_PRECONDITIONS: tuple[
    tuple[Callable[[Requirement], bool], Callable[[Cursor[Any], Requirement], PreconditionResult]], ...
] = (
    (lambda requirement: bool(requirement.tables), _evaluate_tables),
    (lambda requirement: bool(requirement.columns), _evaluate_columns),
    (lambda requirement: requirement.no_invalid_indexes, _evaluate_indexes),
    (lambda requirement: requirement.max_replication_lag_ms is not None, _evaluate_replication_lag),
    (lambda requirement: requirement.connection_headroom is not None, _evaluate_connections),
)
