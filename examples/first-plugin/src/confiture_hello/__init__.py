"""Report the size of the relations that a migration has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confiture import HookContext, HookResult, hookimpl

if TYPE_CHECKING:
    from psycopg import Connection

_SIZE = """
    SELECT coalesce(sum(pg_total_relation_size(name::regclass)), 0)::bigint
    FROM unnest(%s::text[]) AS name
"""


@hookimpl
def after_ddl(conn: Connection[Any], context: HookContext) -> HookResult:
    """Measure the changed relations, inside the migration's transaction."""
    changed = list(context.relations())
    [(size_bytes,)] = conn.execute(_SIZE, [changed]).fetchall()
    return HookResult(
        phase="AFTER_DDL",
        hook_name="MeasureChanged",
        stats={"relations": len(changed), "size_bytes": size_bytes},
    )
