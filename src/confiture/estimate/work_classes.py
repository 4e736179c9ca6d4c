"""Find the class of work of a rehearsed statement, from its observed effects and from its kind.

The text of an ``ALTER TABLE`` does not show if it only changes the catalog, scans or rewrites; its effects
do. Statements of one class grow alike, so the prior stores their errors by class.
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from confiture.estimate.statistics import Statistics
from confiture.models.report import StatementReport
from confiture.sql.statement_kind import StatementKind, classify_statement

WorkClass = Literal[
    "catalog", "scan", "foreign key", "rewrite", "cluster", "index", "text index", "dml", "matview"
]
LINEAR_CLASSES = ("scan", "rewrite", "cluster", "index", "matview")
"""Classes whose work grows with the number of rows; that of the others with ``n·log2 n``."""

# Comparing texts by the rules of a language takes longer than comparing numbers, the more so the more rows
# there are to sort. By their bytes, which the C locale does, it does not.
_BYTE_COLLATIONS = ("C", "POSIX", "C.UTF-8", "C.utf8")
_TEXT_TYPES = ("text", "character", "citext", "name")
_EVENTS = {"INSERT": ("insert",), "COPY": ("insert",), "UPDATE": ("update",), "DELETE": ("delete",)}


@frozen
class StatementClass:
    """The class of a statement, or why it has none.

    Attributes:
        work_class: The class; ``None`` if no timings of such a statement exist.
        relations: The relations that it scans, rewrites or indexes.
        events: The events whose triggers it fires: ``run_insert``, ``update``, ``delete``.
        reason: Why it has no class.
        advice: How to get an estimate anyway, an instruction.
    """

    work_class: WorkClass | None
    relations: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    reason: str = ""
    advice: str = ""


def classify(statement: StatementReport, here: Statistics | None = None) -> StatementClass:
    """Return the class of a rehearsed statement.

    Args:
        statement: Its report.
        here: Statistics of the database of the rehearsal, which know the types of columns; without them an
            index on a text column cannot be told from one on a number.
    """
    kind = classify_statement(statement.sql)
    return _classify_unknown(statement, kind) or _classify_by_effect(statement, kind, here)


def _classify_by_effect(
    statement: StatementReport, kind: StatementKind, here: Statistics | None
) -> StatementClass:
    builds = tuple(build.table for build in statement.index_builds)
    touched = tuple(dict.fromkeys((*statement.rewrites, *builds, *statement.scans)))
    if kind.changes_rows or kind.verb == "COPY":
        return _classify_dml(statement, kind)
    # A rewrite also rebuilds the indexes and scans the table, so the heaviest effect decides.
    if kind.fills_relation:
        return StatementClass("matview", statement.scans) if statement.scans else _explain_little_read()
    if statement.rewrites:
        return StatementClass("cluster" if kind.verb == "CLUSTER" else "rewrite", statement.rewrites)
    if builds:
        return StatementClass("text index" if _has_text_key(builds, kind, here) else "index", builds)
    if not statement.scans:
        return StatementClass("catalog", touched)
    # The check of a foreign key joins two tables. VALIDATE does not say what it validates, its scans do.
    joins = kind.checks_foreign_key or (kind.validates and len(statement.scans) > 1)
    return StatementClass("foreign key" if joins else "scan", statement.scans)


def _has_text_key(tables: tuple[str, ...], kind: StatementKind, here: Statistics | None) -> bool:
    """Return True if an index sorts a text column or an expression by the rules of a language."""
    if here and here.settings.get("lc_collate") in _BYTE_COLLATIONS:
        return False
    types = {
        column.name: column.type
        for table in tables
        if here and table in here.relations
        for column in here.relations[table].columns
    }
    # Most expressions that are indexed are texts: lower(email), data ->> 'name'.
    return any(not key or types.get(key, "").startswith(_TEXT_TYPES) for key in kind.index_keys)


def _classify_unknown(statement: StatementReport, kind: StatementKind) -> StatementClass | None:
    if statement.not_rehearsed:
        return _build_unknown(
            f"it could not be rehearsed: {statement.not_rehearsed}",
            "apply the migrations before it first, or rehearse with --in clone",
        )
    if kind.verb in ("DO", "CALL", "EXECUTE"):
        return _build_unknown(
            f"{kind.verb} runs code; its time on other data cannot be predicted",
            "write its work as plain SQL statements, which are timed one by one",
        )
    if kind.concurrent:
        return _build_unknown(
            "CONCURRENTLY waits for the transactions of other sessions to end",
            "rehearse it without CONCURRENTLY and expect two to three times that time",
        )
    if kind.verb in ("SELECT", "VALUES") and not (kind.changes_rows or kind.fills_relation):
        return _build_unknown(
            f"{kind.verb} may call functions, which were never timed", "time it on a copy of production"
        )
    if kind.verb in ("TRUNCATE", "VACUUM", "ANALYZE"):
        return _build_unknown(f"{kind.verb} was never timed", "time it on a copy of production")
    return None


def _classify_dml(statement: StatementReport, kind: StatementKind) -> StatementClass:
    events = _EVENTS.get(kind.verb, ("insert", "update", "delete"))
    if statement.scans:
        return StatementClass("dml", statement.scans, events)
    if kind.verb in ("INSERT", "COPY") and not kind.reads_rows:
        return StatementClass("dml", (), events)
    return _explain_little_read()


def _explain_little_read() -> StatementClass:
    return _build_unknown(
        "it scanned no table here, so the rehearsal does not show how many rows it reads in production",
        "rehearse on a database with rows; if it uses an index, count the matching rows in production",
    )


def _build_unknown(reason: str, advice: str) -> StatementClass:
    return StatementClass(None, reason=reason, advice=advice)
