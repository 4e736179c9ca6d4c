"""Which class of work a rehearsed statement is, by what it was seen to do and by its kind."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from confiture.models.report import StatementReport
from confiture.sql.statement_kind import StatementKind, statement_kind

WorkClass = Literal["catalog", "scan", "rewrite", "index", "dml", "matview"]

_EVENTS = {"INSERT": ("insert",), "COPY": ("insert",), "UPDATE": ("update",), "DELETE": ("delete",)}


@frozen
class StatementClass:
    """What a statement is.

    Attributes:
        work_class: Its class, ``None`` where it has none that timings are known of.
        relations: Those that it reads, rewrites or builds an index of.
        events: The triggers of which events it fires.
        reason: Why it has no class.
        advice: The step on, where it has none.
    """

    work_class: WorkClass | None
    relations: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    reason: str = ""
    advice: str = ""


def classify(statement: StatementReport) -> StatementClass:
    """Return the class of a statement that was rehearsed."""
    kind = statement_kind(statement.sql)
    return _classify_unknown(statement, kind) or _classify_by_effect(statement, kind)


def _classify_by_effect(statement: StatementReport, kind: StatementKind) -> StatementClass:
    builds = tuple(build.table for build in statement.index_builds)
    read = tuple(dict.fromkeys((*statement.rewrites, *builds, *statement.scans)))
    if kind.changes_rows or kind.verb == "COPY":
        return _classify_dml(statement, kind)
    if kind.fills_relation:
        return StatementClass("matview", statement.scans) if statement.scans else _explain_little_read()
    if statement.rewrites:
        return StatementClass("rewrite", statement.rewrites)
    if builds:
        return StatementClass("index", builds)
    return StatementClass("scan", statement.scans) if statement.scans else StatementClass("catalog", read)


def _classify_unknown(statement: StatementReport, kind: StatementKind) -> StatementClass | None:
    if statement.not_rehearsed:
        return _build_unknown(
            f"it could not be rehearsed: {statement.not_rehearsed}", "apply what it waits for first"
        )
    if not kind.changes_rows and kind.verb in ("DO", "CALL", "SELECT", "EXECUTE", "VALUES"):
        return _build_unknown(
            f"{kind.verb} runs code, and what that does on other data is not known",
            "write what it does as statements of the migration, which can be timed one by one",
        )
    if kind.concurrent:
        return _build_unknown(
            "CONCURRENTLY waits for the transactions of others, as long as they last",
            "rehearse it without CONCURRENTLY for the work alone; it takes two to three times that",
        )
    if kind.verb in ("TRUNCATE", "VACUUM", "CLUSTER", "REINDEX", "ANALYZE"):
        return _build_unknown(f"no timings of {kind.verb} are known", "time it on a copy of production")
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
        "it read no table of this database end to end: what it will find in production is not known",
        "rehearse on a database whose tables hold rows; what it finds through an index, count in production",
    )


def _build_unknown(reason: str, advice: str) -> StatementClass:
    return StatementClass(None, reason=reason, advice=advice)
