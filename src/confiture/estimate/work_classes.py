"""Which class of work a rehearsed statement is, by what it was seen to do and by its kind."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from confiture.models.report import StatementReport
from confiture.sql.statement_kind import StatementKind, statement_kind

Work = Literal["catalog", "scan", "rewrite", "index", "dml", "matview"]

_EVENTS = {"INSERT": ("insert",), "COPY": ("insert",), "UPDATE": ("update",), "DELETE": ("delete",)}


@frozen
class Classed:
    """What a statement is.

    Attributes:
        work: Its class, ``None`` where it has none that timings are known of.
        relations: Those that it reads, rewrites or builds an index of.
        events: The triggers of which events it fires.
        why_not: Why it has no class.
        advice: The step on, where it has none.
    """

    work: Work | None
    relations: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    why_not: str = ""
    advice: str = ""


def classed(statement: StatementReport) -> Classed:
    """Return the class of a statement that was rehearsed."""
    kind = statement_kind(statement.sql)
    return _without_class(statement, kind) or _with_class(statement, kind)


def _with_class(statement: StatementReport, kind: StatementKind) -> Classed:
    builds = tuple(build.table for build in statement.index_builds)
    read = tuple(dict.fromkeys((*statement.rewrites, *builds, *statement.scans)))
    if kind.changes_rows or kind.verb == "COPY":
        return _dml(statement, kind)
    if kind.fills_relation:
        return Classed("matview", statement.scans) if statement.scans else _finds_little()
    if statement.rewrites:
        return Classed("rewrite", statement.rewrites)
    if builds:
        return Classed("index", builds)
    return Classed("scan", statement.scans) if statement.scans else Classed("catalog", read)


def _without_class(statement: StatementReport, kind: StatementKind) -> Classed | None:
    if statement.not_rehearsed:
        return _none(f"it could not be rehearsed: {statement.not_rehearsed}", "apply what it waits for first")
    if not kind.changes_rows and kind.verb in ("DO", "CALL", "SELECT", "EXECUTE", "VALUES"):
        return _none(
            f"{kind.verb} runs code, and what that does on other data is not known",
            "write what it does as statements of the migration, which can be timed one by one",
        )
    if kind.concurrent:
        return _none(
            "CONCURRENTLY waits for the transactions of others, as long as they last",
            "rehearse it without CONCURRENTLY for the work alone; it takes two to three times that",
        )
    if kind.verb in ("TRUNCATE", "VACUUM", "CLUSTER", "REINDEX", "ANALYZE"):
        return _none(f"no timings of {kind.verb} are known", "time it on a copy of production")
    return None


def _dml(statement: StatementReport, kind: StatementKind) -> Classed:
    events = _EVENTS.get(kind.verb, ("insert", "update", "delete"))
    if statement.scans:
        return Classed("dml", statement.scans, events)
    if kind.verb in ("INSERT", "COPY") and not kind.reads_rows:
        return Classed("dml", (), events)
    return _finds_little()


def _finds_little() -> Classed:
    return _none(
        "it read no table of this database end to end: what it will find in production is not known",
        "rehearse on a database whose tables hold rows; what it finds through an index, count in production",
    )


def _none(why_not: str, advice: str) -> Classed:
    return Classed(None, why_not=why_not, advice=advice)
