"""What a count of scans means: a relation read end to end, looked into, or emptied."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from confiture.rehearsal.trace.catalog import Catalog, Known

if TYPE_CHECKING:
    from confiture.rehearsal.trace.snapshot import Scans

# Of the rows that PostgreSQL believes there are: its estimate is rarely exact.
_NEARLY_ALL = 0.9
# Workers' rows are counted elsewhere; the leader reads a share of its own.
_LEADERS_SHARE = 0.1
_WITH_THE_PLANNERS = 3

_WORD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*([A-Za-z]+)", re.DOTALL)
# Utility statements; whatever else may run a function.
_PLAIN = re.compile(
    "ALTER|ANALYZE|CLUSTER|COMMENT|CREATE|DROP|GRANT|IMPORT|LOCK|REASSIGN|"
    "REINDEX|RESET|REVOKE|SECURITY|SET|SHOW|TRUNCATE|VACUUM"
)


def first_word(sql: str) -> str:
    """Return the first word of a statement in capitals, comments passed over."""
    found = _WORD.match(sql)
    return found[1].upper() if found else ""


def may_run_procedures(sql: str) -> bool:
    """Whether a statement may run functions, which may take locks and give them back, by its first word."""
    return not _PLAIN.fullmatch(first_word(sql))


def is_query(sql: str) -> bool:
    """Whether a statement is a query or changes rows only, by its first word."""
    return first_word(sql) in ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "VALUES", "TABLE")


def populated(catalog: Catalog, oid: int) -> bool:
    """Whether a relation had rows before the migration, as far as PostgreSQL's own estimates say."""
    known = catalog.known.get(oid)
    if known is None:
        return False
    own = not known.partitioned and (known.tuples > 0 or known.pages > 0 or known.filled)
    return own or _children_are(catalog, oid)


def _children_are(catalog: Catalog, oid: int) -> bool:
    return any(populated(catalog, child) for child in catalog.children(oid))


def complete(catalog: Catalog, oid: int, scans: Scans) -> bool:
    """Whether these scans have read a populated relation, or a whole one through its index, end to end."""
    known = catalog.known[oid]
    if known.kind == "index":
        table = catalog.known.get(catalog.table_of(oid))
        # A look-up gives a row or a few; one pass that gives all of them has read the table. The planner
        # looks up the ends of an index, a row each.
        passed = scans.tuples - (scans.times - 1)
        return (
            table is not None and scans.times <= _WITH_THE_PLANNERS and passed > 1 and _all_of(table, passed)
        )
    if known.kind not in ("table", "matview"):
        return False
    # A parent may be empty while its children are not.
    return _all_of(known, scans.tuples) if scans.tuples else not known.tuples and _children_are(catalog, oid)


def _all_of(known: Known, tuples: int) -> bool:
    if known.tuples <= 0:
        return known.kind != "index"
    share = _LEADERS_SHARE if known.may_be_scanned_in_parallel else _NEARLY_ALL
    return tuples >= share * known.tuples


def is_truncate(known: Known, scans: Scans | None, sql: str | None) -> bool:
    """Whether a table with a new file was emptied rather than rewritten: its rows were not read."""
    if known.kind != "table":
        return False
    word = first_word(sql) if sql else ""
    return word == "TRUNCATE" or (not _PLAIN.fullmatch(word) and (scans is None or scans.tuples == 0))
