"""Find rows whose foreign keys refer to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection

from confiture_anonymize.copy_plan import TablePlan
from confiture_anonymize.source_schema import quote


def find_orphans(target: Connection[Any], plans: Sequence[TablePlan]) -> Iterator[tuple[str, str, int]]:
    """Yield each foreign key with rows that refer to nothing: table, constraint and rows."""
    tables = {plan.table.identity: plan.table for plan in plans}
    for plan in plans:
        for key in plan.table.foreign_keys:
            if key.target not in tables:
                continue
            joined = " AND ".join(
                f"t.{quote(theirs)} = s.{quote(ours)}"
                for ours, theirs in zip(key.columns, key.target_columns, strict=True)
            )
            given = " AND ".join(f"s.{quote(name)} IS NOT NULL" for name in key.columns)
            query = (
                f"SELECT count(*) FROM {plan.table.rows_sql} AS s WHERE {given} AND NOT EXISTS"
                f" (SELECT FROM {tables[key.target].sql} AS t WHERE {joined})"
            )
            ((orphans,),) = target.execute(query.encode()).fetchall()
            if orphans:
                yield plan.table.label, key.name, orphans
