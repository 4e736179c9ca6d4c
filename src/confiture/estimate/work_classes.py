"""Which class of work a rehearsed statement is, by what it was seen to do and by its first words."""

from __future__ import annotations

import re
from typing import Literal

from attrs import frozen

from confiture.models.report import StatementReport

Work = Literal["catalog", "scan", "rewrite", "index", "dml", "matview"]

_COMMENTS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_DML = ("INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "WITH")
_FILLED = re.compile(
    r"(?:REFRESH MATERIALIZED VIEW|CREATE (?:\w+ )*(?:TABLE|MATERIALIZED VIEW)\b.*? AS\b)", re.DOTALL
)
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
    words = _words(statement.sql)
    first = words.partition(" ")[0]
    return _without_class(statement, words, first) or _with_class(statement, words, first)


def _with_class(statement: StatementReport, words: str, first: str) -> Classed:
    builds = tuple(build.table for build in statement.index_builds)
    read = tuple(dict.fromkeys((*statement.rewrites, *builds, *statement.scans)))
    if first in _DML:
        return _dml(statement, words, first)
    if _FILLED.match(words):
        return Classed("matview", statement.scans) if statement.scans else _finds_little()
    if statement.rewrites:
        return Classed("rewrite", statement.rewrites)
    if builds:
        return Classed("index", builds)
    return Classed("scan", statement.scans) if statement.scans else Classed("catalog", read)


def _without_class(statement: StatementReport, words: str, first: str) -> Classed | None:
    if statement.not_rehearsed:
        return _none(f"it could not be rehearsed: {statement.not_rehearsed}", "apply what it waits for first")
    if first in ("DO", "CALL", "SELECT", "EXECUTE", "VALUES"):
        return _none(
            f"{first} runs code, and what that does on other data is not known",
            "write what it does as statements of the migration, which can be timed one by one",
        )
    if re.search(r"\bCONCURRENTLY\b", words):
        return _none(
            "CONCURRENTLY waits for the transactions of others, as long as they last",
            "rehearse it without CONCURRENTLY for the work alone; it takes two to three times that",
        )
    if first in ("TRUNCATE", "VACUUM", "CLUSTER", "REINDEX", "ANALYZE"):
        return _none(f"no timings of {first} are known", "time it on a copy of production")
    return None


def _dml(statement: StatementReport, words: str, first: str) -> Classed:
    events = _EVENTS.get(first, ("insert", "update", "delete"))
    if statement.scans:
        return Classed("dml", statement.scans, events)
    if first in ("INSERT", "COPY") and not re.search(r"\b(?:SELECT|TABLE|ON CONFLICT)\b", words):
        return Classed("dml", (), events)
    return _finds_little()


def _finds_little() -> Classed:
    return _none(
        "it read no table of this database end to end: what it will find in production is not known",
        "rehearse on a database whose tables hold rows; what it finds through an index, count in production",
    )


def _none(why_not: str, advice: str) -> Classed:
    return Classed(None, why_not=why_not, advice=advice)


def _words(sql: str) -> str:
    """Return a statement in capitals without comments, and with nothing in its quotes."""
    return _COMMENTS.sub(" ", _QUOTED.sub("''", _COMMENTS.sub(" ", sql))).strip().upper()
