"""What a count of scans means: a relation read end to end, looked into, or emptied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confiture.rehearsal.trace.catalog import Catalog, KnownRelation
from confiture.sql.statement_kind import StatementKind, classify_statement

if TYPE_CHECKING:
    from confiture.rehearsal.trace.snapshot import ScanCounts

# Of the rows that PostgreSQL believes there are: its estimate is rarely exact.
_NEARLY_ALL = 0.9
# Workers' rows are counted elsewhere; the leader reads a share of its own.
_LEADERS_SHARE = 0.1
_MOST_PASSES = 3


def is_populated(catalog: Catalog, oid: int) -> bool:
    """Whether a relation had rows before the migration, as far as PostgreSQL's own estimates say."""
    known = catalog.relations.get(oid)
    if known is None:
        return False
    own = not known.partitioned and (known.tuples > 0 or known.pages > 0 or known.filled)
    return own or _has_populated_child(catalog, oid)


def _has_populated_child(catalog: Catalog, oid: int) -> bool:
    return any(is_populated(catalog, child) for child in catalog.find_children(oid))


def is_complete_scan(catalog: Catalog, oid: int, scans: ScanCounts) -> bool:
    """Whether these scans have read a populated relation, or a whole one through its index, end to end."""
    known = catalog.relations[oid]
    if known.kind == "index":
        table = catalog.relations.get(catalog.find_table(oid))
        # A look-up gives a row or a few; one pass that gives all of them has read the table. The planner
        # looks up the ends of an index, a row each.
        passed = scans.tuples - (scans.times - 1)
        return table is not None and scans.times <= _MOST_PASSES and passed > 1 and _covers(table, passed)
    if known.kind not in ("table", "matview"):
        return False
    # A parent may be empty while its children are not.
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
    """Whether a table with a new file was emptied rather than rewritten: its rows were not read."""
    if known.kind != "table":
        return False
    # A hook's SQL is not known: it may have called anything.
    kind = classify_statement(sql) if sql else StatementKind()
    return kind.verb == "TRUNCATE" or (kind.may_run_functions and (scans is None or scans.tuples == 0))
