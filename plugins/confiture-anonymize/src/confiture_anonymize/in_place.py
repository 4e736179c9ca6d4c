"""Mask a database in place: replace the rows of a table by what the masks make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from confiture_anonymize.copy_plan import TablePlan
from confiture_anonymize.copy_rows import copy_table
from confiture_anonymize.errors import TargetFault


def replace_rows(reader: Connection[Any], writer: Connection[Any], plan: TablePlan) -> int:
    """Replace the rows of one table in the writer's transaction, and return how many there are.

    The reader still sees the rows that the writer has deleted, and streams them back masked. An UPDATE would
    fail where the mask of one row is the original of another in a unique column.
    """
    with reader.transaction():
        # The reader's lock first: if others wait for the table, the reader must not wait behind them.
        reader.execute(f"LOCK TABLE {plan.table.rows_sql} IN ACCESS SHARE MODE".encode())
        # Nobody else writes to the table between the moment that the reader sees and the commit.
        writer.execute(f"LOCK TABLE {plan.table.rows_sql} IN SHARE ROW EXCLUSIVE MODE".encode())
        writer.execute(f"DELETE FROM {plan.table.rows_sql}".encode())
        return 0 if plan.skipped else copy_table(reader, writer, plan)


def rewrite_files(target: Connection[Any], plans: Sequence[TablePlan]) -> None:
    """Remove what is left of the original rows in the tables' files, and in the planner's statistics."""
    _forget_statistics(target, [plan.table.sql for plan in plans])
    for plan in plans:
        target.execute(f"VACUUM (FULL, ANALYZE) {plan.table.sql}".encode())


def _forget_statistics(target: Connection[Any], names: list[str]) -> None:
    # ANALYZE of a table that is empty now keeps the old ones, most common values included.
    rewritten = (
        "SELECT t.oid FROM named AS t UNION SELECT p.relid FROM named AS t, pg_partition_tree(t.oid) AS p"
    )
    for catalog, column in (("pg_statistic", "starelid"), ("pg_statistic_ext_data", "stxoid")):
        found = rewritten if column == "starelid" else _EXTENDED.format(rewritten=rewritten)
        delete = (
            "WITH named AS (SELECT pg_catalog.unnest(%s::text[])::regclass AS oid)"
            f" DELETE FROM pg_catalog.{catalog} WHERE {column} IN ({found})"
        )
        with target.transaction():
            target.execute("SET LOCAL allow_system_table_mods = on")
            target.execute(delete.encode(), (names,))


_EXTENDED = "SELECT s.oid FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid IN ({rewritten})"


def refuse_large_objects(target: Connection[Any]) -> None:
    """Refuse to mask a database with large objects, of which no profile says what they hold.

    Raises:
        TargetFault: It has some.
    """
    ((count,),) = target.execute("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").fetchall()
    if count:
        raise TargetFault(
            f"the database holds {count} large objects, which would stay as they are",
            hint="remove them from the copy: SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
        )
