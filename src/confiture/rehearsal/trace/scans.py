"""Interpret the scan counters of a relation: read from end to end, looked up, or truncated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confiture.rehearsal.trace.catalog import Catalog, KnownRelation
from confiture.sql.statement_kind import StatementKind, classify_statement

if TYPE_CHECKING:
    from confiture.rehearsal.trace.snapshot import ScanCounts

# The share of PostgreSQL's row estimate that counts as all rows: the estimate is rarely exact.
_NEARLY_ALL = 0.9
# Parallel workers count the rows that they read in their own sessions; only the leader's share is visible.
_LEADERS_SHARE = 0.1
_MOST_PASSES = 3


def is_populated(catalog: Catalog, oid: int) -> bool:
    """Return True if a relation had rows before the migration, by PostgreSQL's estimates."""
    known = catalog.relations.get(oid)
    if known is None:
        return False
    own = not known.partitioned and (known.tuples > 0 or known.pages > 0 or known.filled)
    return own or _has_populated_child(catalog, oid)


def _has_populated_child(catalog: Catalog, oid: int) -> bool:
    return any(is_populated(catalog, child) for child in catalog.find_children(oid))


def is_complete_scan(catalog: Catalog, oid: int, scans: ScanCounts) -> bool:
    """Return True if these scans read a populated table, or all of an index, from end to end."""
    known = catalog.relations[oid]
    if known.kind == "index":
        table = catalog.relations.get(catalog.find_table(oid))
        # The validation of a foreign key may read the table through an index. A look-up returns a few rows;
        # a pass that returns all of them has read the table. The planner probes the ends of an index for
        # statistics: those scans return one row each.
        passed = scans.tuples - (scans.times - 1)
        return table is not None and scans.times <= _MOST_PASSES and passed > 1 and _covers(table, passed)
    if known.kind not in ("table", "matview"):
        return False
    # An empty parent returns no rows itself; a query scans its children too.
    return (
        _covers(known, scans.tuples)
        if scans.tuples
        else not known.tuples and _has_populated_child(catalog, oid)
    )


def _covers(known: KnownRelation, tuples: int) -> bool:
    if known.tuples <= 0:
        return known.kind != "index"
    share = _LEADERS_SHARE if known.may_be_scanned_in_parallel else _NEARLY_ALL
    return tuples >= share * known.tuples


def is_truncate(known: KnownRelation, scans: ScanCounts | None, sql: str | None) -> bool:
    """Return True if a table with a new file was truncated, not rewritten: its rows were not read."""
    if known.kind != "table":
        return False
    # The SQL of a hook is unknown: it may have called any function.
    kind = classify_statement(sql) if sql else StatementKind()
    return kind.verb == "TRUNCATE" or (kind.may_run_functions and (scans is None or scans.tuples == 0))
