"""The statements of a rehearsal, for a person at a terminal: the quiet ones in one line."""

from __future__ import annotations

from collections.abc import Sequence

from confiture.models.report import MigrationReport, StatementReport
from confiture.output.effects import effects, is_quiet
from confiture.output.estimates import words
from confiture.output.words import (
    NARROWEST,
    columns,
    duration,
    inert,
    notable,
    padded,
    plural,
    quiet,
    shortened,
    width,
    wrapped,
)

_MOST = 20
_SQL_COLUMNS = 48


def table(migration: MigrationReport, room: int | None) -> list[str]:
    """Return a line a statement that somebody would notice, and beneath it what it does.

    Args:
        migration: Whose statements.
        room: How many columns there are, ``None`` where nobody counts them.
    """
    loud = [each for each in migration.statements if not is_quiet(each)]
    shown, rest = loud[:_MOST], loud[_MOST:]
    lines: list[str] = []
    for title, each in zip(_titles(shown, room), shown, strict=True):
        lines += [title, *_beneath(each, migration.reason, room)]
    if rest:
        lines.append(f"and {plural(len(rest), 'statement')} like these: --output html=FILE shows all")
    return lines + _hushed([each for each in migration.statements if is_quiet(each)], bool(loud))


def _titles(statements: Sequence[StatementReport], room: int | None) -> list[str]:
    if not statements:
        return []
    facts = [_facts(each) for each in statements]
    beside = sum(max(width(fact[column]) for fact in facts) + 2 for column in range(3))
    sql = max(NARROWEST, min(_SQL_COLUMNS, _SQL_COLUMNS if room is None else room - beside))
    return columns(
        [
            (where, shortened(each.sql, sql), took, rows)
            for each, (where, took, rows) in zip(statements, facts, strict=True)
        ]
    )


def _facts(statement: StatementReport) -> tuple[str, str, str]:
    took = duration(statement.duration_ms)
    where = f"line {statement.line}" if statement.line else ""
    rows = "" if statement.rows is None else plural(statement.rows, "row")
    return quiet(where), padded("", 8 - len(took)) + took, rows


def _beneath(statement: StatementReport, reason: str | None, room: int | None) -> list[str]:
    said = effects(statement) + ([words(statement.estimate)] if statement.estimate else [])
    lines = [line for each in said for line in wrapped(each, room, 2)]
    if statement.not_rehearsed and statement.not_rehearsed != reason:
        lines.append(f"  {notable('not rehearsed:')} {inert(statement.not_rehearsed)}")
    return lines


def _hushed(statements: Sequence[StatementReport], beside_others: bool) -> list[str]:
    """Return one line for those that nobody would notice; where all are, the title has said so."""
    if not statements or not beside_others:
        return []
    took = duration(sum(each.duration_ms for each in statements))
    return [quiet(f"and {plural(len(statements), 'quiet statement')}, {took}")]
