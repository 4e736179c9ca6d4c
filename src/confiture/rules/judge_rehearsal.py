"""A plan that was rehearsed, as the rules read it: the text of each statement beside what it did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from confiture.config.settings import Settings
from confiture.migrations.prepare import PreparedMigration
from confiture.models.report import Report, StatementReport
from confiture.rules.evaluate import Book, findings
from confiture.rules.lint import reading_of, shown
from confiture.rules.parse_tree import Name
from confiture.rules.parsed_migration import Piece, Reading, together
from confiture.rules.suppressions import refuse_unknown
from confiture.sql.parser import ParseError, parse

if TYPE_CHECKING:
    from psycopg import Connection

    from confiture.api.execution import Judge


def readings_of(
    report: Report,
    works: Sequence[PreparedMigration],
    root: Path,
    *,
    lock_timeout: str | None = None,
    statement_timeout: str | None = None,
) -> tuple[Reading, ...]:
    """Return the migrations of a plan with what the rehearsal saw of them, in order."""
    readings: list[Reading] = []
    made = frozenset[Name]()
    for work, migration in zip(works, report.migrations, strict=False):
        reading = _reading(work, root)
        reading.report = migration if migration.outcome == "rehearsed" else None
        reading.lock_timeout = reading.lock_timeout or lock_timeout
        reading.statement_timeout = reading.statement_timeout or statement_timeout
        reading.made_before = made
        _lay_beside(reading, migration.statements if reading.report else (), python=work.script is None)
        made = reading.made
        readings.append(reading)
    return tuple(readings)


def _reading(work: PreparedMigration, root: Path) -> Reading:
    if work.script is not None:
        return reading_of(work.version, work.name, work.script, root)
    file = shown(work.file, root) if work.file else ""
    return Reading(work.version, work.name, file, transactional=work.transactional)


def _lay_beside(reading: Reading, reports: Sequence[StatementReport], *, python: bool) -> None:
    if python:
        for report in reports:
            _add(reading, report)
    for piece, report in zip(reading.pieces, reports, strict=False) if not python else ():
        piece.report = report


def _add(reading: Reading, report: StatementReport) -> None:
    """Add a statement that a Python migration ran."""
    try:
        found = parse(report.sql)
    except ParseError:
        return
    for each in found[:1]:
        index = len(reading.pieces)
        reading.pieces.append(
            Piece(report.sql, report.line or 1, each.kind, each.node, reading, index, report=report)
        )


def judge_for(settings: Settings, book: Book, *, strict: bool = False) -> Judge:
    """Return what puts the findings into a rehearsal's report, while its connection is still there.

    Raises, when called:
        MigrationFault: A migration ignores a rule that there is not.
    """

    def judge(conn: Connection[Any], report: Report, works: tuple[PreparedMigration, ...]) -> Report:
        from confiture.rules.live_schema import empty_relations, known_by

        readings = readings_of(
            report,
            works,
            settings.root,
            lock_timeout=settings.lock_timeout,
            statement_timeout=settings.statement_timeout,
        )
        if not conn.closed:
            together(readings, lambda: known_by(conn))
        refuse_unknown(readings, book.known)
        empty = () if conn.closed else empty_relations(conn, report)
        return evolve(report, findings=findings(readings, book, empty=empty, strict=strict))

    return judge
