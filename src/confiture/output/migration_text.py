"""What became of the migrations of a run, a rehearsal or a down, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import click

from confiture.escape import inert, inert_lines
from confiture.models.report import (
    Fault,
    HookReport,
    Lock,
    MigrationReport,
    Mode,
    PluginUse,
    Report,
    Residue,
    StatementReport,
)
from confiture.output.effects import Step, blocking, effects, is_quiet, long_blocks, longest_block, spread
from confiture.output.estimates import headline, in_production, words
from confiture.output.findings import lines_of, verdict_lines
from confiture.output.format import (
    NARROWEST,
    bad,
    columns,
    duration,
    good,
    indented,
    notable,
    padded,
    place,
    plural,
    pointed,
    quiet,
    shortened,
    width,
    wrapped,
)
from confiture.output.summary import DONE, summary

_MARKS = {
    "applied": good("✓ applied"),
    "reverted": good("✓ reverted"),
    "rehearsed": good("✓ rehearsed"),
    "not_rehearsed": notable("~ not rehearsed"),
    "failed": bad("✗ failed"),
    "pending": quiet("· not reached"),
}
_INDENT = 4
_LONG = "long block: "
_RESIDUES = 10


def lines_of_run(report: Report, room: int | None = None) -> list[str]:
    """Return the report as lines to read: each migration, the findings, and what became of it all."""
    return [*_head(report), *_migrations(report, room), *lines_of(report), *_tail(report, room)]


def _head(report: Report) -> list[str]:
    if not report.migrations or not report.server_version:
        return []
    server = f"PostgreSQL {inert(report.server_version)}"
    if report.rehearsed_on and report.rehearsed_on != report.server_version:
        server += f", rehearsed on {inert(report.rehearsed_on)}"
    return [quiet(f"{server}, {_plugins(report.plugins)}"), ""]


def _plugins(plugins: Sequence[PluginUse]) -> str:
    if not plugins:
        return "no plugins"
    names = ", ".join(f"{inert(each.name)} {inert(each.version)}" for each in plugins)
    return f"{'plugin' if len(plugins) == 1 else 'plugins'} {names}"


def _migrations(report: Report, room: int | None) -> list[str]:
    titles = columns([_title(each) for each in report.migrations]) if report.migrations else []
    lines: list[str] = []
    for title, migration in zip(titles, report.migrations, strict=True):
        lines += [title, *indented(_beneath(migration, report.mode, room and room - _INDENT), _INDENT)]
    return [*lines, ""] if lines else []


def _title(migration: MigrationReport) -> tuple[str, ...]:
    took = duration(migration.duration_ms)
    return (
        _MARKS[migration.outcome],
        inert(migration.version),
        click.style(inert(migration.name), bold=migration.outcome in DONE or None),
        " " * (9 - len(took)) + took,
        quiet(_work(migration)),
    )


def _work(migration: MigrationReport) -> str:
    parts = [plural(len(migration.statements), "statement")] if migration.statements else []
    if migration.rows_affected:
        parts.append(plural(migration.rows_affected, "row"))
    return ", ".join(parts)


def _beneath(migration: MigrationReport, mode: Mode, room: int | None) -> list[str]:
    lines = _long_blocks(migration, room)
    if mode == "dry-run":
        lines += table(migration, room)
    lines += _hooks(migration, room)
    lines += spread(migration.spread)
    lines += _blocking(migration, mode, room)
    if migration.reason and migration.outcome != "pending":
        lines.append(f"reason: {inert(migration.reason)}")
    lines += _not_seen(migration)
    lines += [f"{notable('warning:')} {inert(warning)}" for warning in migration.warnings]
    lines += [f"after the commit, not called now: {inert(each)}" for each in migration.on_commit]
    lines += [line for each in in_production(migration) for line in wrapped(each, room, 0)]
    return lines + (error_lines(migration.error, migration.source_line) if migration.error else [])


def _long_blocks(migration: MigrationReport, room: int | None) -> list[str]:
    lines: list[str] = []
    for block in long_blocks(migration):
        first, *more = wrapped(f"{_LONG}{block.words}", room, 0)
        lines += [bad(_LONG.rstrip()) + first.removeprefix(_LONG.rstrip()), *more]
    return lines


def _hooks(migration: MigrationReport, room: int | None) -> list[str]:
    telling = [each for each in migration.hooks if _tells(each)]
    lines: list[str] = []
    for title, hook in zip(
        columns([_hook(each) for each in telling]) if telling else [], telling, strict=True
    ):
        lines += [title, *(line for each in effects(hook) for line in wrapped(each, room, 2))]
    return lines + _also_ran([each for each in migration.hooks if not _tells(each)])


def _tells(hook: HookReport) -> bool:
    """Whether a hook has more to tell than that it ran: most have nothing to do in most migrations."""
    return hook.outcome == "undone" or bool(hook.rows_affected or hook.stats or hook.locks)


def _also_ran(hooks: list[HookReport]) -> list[str]:
    if not hooks:
        return []
    each = (f"{inert(hook.plugin or hook.hook)} {inert(hook.phase)}" for hook in hooks)
    return [quiet(f"also ran: {', '.join(dict.fromkeys(each))}")]


def _hook(hook: HookReport) -> tuple[str, ...]:
    outcome = good("kept") if hook.outcome == "kept" else bad("undone")
    return (
        quiet(inert(hook.phase).lower()),
        quiet(inert(hook.plugin or "migration")),
        inert(hook.hook),
        plural(hook.rows_affected, "row"),
        duration(hook.duration_ms),
        outcome,
        quiet(", ".join(f"{inert(key)}={inert(value)}" for key, value in hook.stats.items())),
    )


def _blocking(migration: MigrationReport, mode: Mode, room: int | None) -> list[str]:
    """Return what the migration blocks, without what its statements and hooks have told already."""
    steps: list[Step] = [*(migration.statements if mode == "dry-run" else ()), *migration.hooks]
    told = {lock.relation for step in steps for lock in step.locks}
    locks = [each for each in migration.locks if each.blocks and each.relation not in told]
    known = told | {each.relation for each in locks}
    lines = [*blocking(locks), *_only_blocked(migration, known)]
    return [line for each in lines for line in wrapped(each, room, 0)]


def _only_blocked(migration: MigrationReport, known: set[str]) -> list[str]:
    """Return the relations that are blocked without a lock of their own in the list."""
    of = {"reads": migration.blocks.reads, "writes": migration.blocks.writes}
    rest = dict.fromkeys(each for relations in of.values() for each in relations if each not in known)
    return blocking(
        Lock(each, "table", "", tuple(what for what, relations in of.items() if each in relations))
        for each in rest
    )


def _not_seen(migration: MigrationReport) -> list[str]:
    return [
        f"{notable('not seen:')} {inert(each.what)}"
        f"{f' of {inert(each.relation)}' if each.relation else ''}: {inert(each.reason)}"
        for each in migration.not_seen
    ]


def error_lines(error: Fault, source_line: str | None = None) -> list[str]:
    """Return an error: the message, where it is, the line with a caret, and what the server adds."""
    message, *rest = inert_lines(error.message)
    lines = [f"{bad('error:')} {message}", *indented(rest, 7)]
    if error.file:
        lines.append(f"  at {place(error.file, error.line, error.column)}")
    if source_line is not None:
        lines += indented(pointed(source_line, error.line, error.column), 2)
    for label, text in (("detail", error.detail), ("hint", error.hint)):
        if text:
            first, *more = inert_lines(text)
            lines += [f"{label}: {first}", *indented(more, len(label) + 2)]
    return lines + ([f"SQLSTATE {inert(error.sqlstate)}"] if error.sqlstate else [])


def _tail(report: Report, room: int | None) -> list[str]:
    fault = error_lines(report.fault) if report.fault else []
    notes = [inert(note) for note in report.notes]
    end = good(summary(report)) if report.outcome == "ok" else bad(summary(report))
    ways = [*_longest(report, room), *_unknown(report), *verdict_lines(report, room)]
    return [*_residue(report.residue), *notes, *fault, end, *ways]


def _residue(residue: Sequence[Residue]) -> list[str]:
    """Return in a line each what the rollback could not undo."""
    lines = [
        f"{notable('left behind:')} {inert(each.what)} of {inert(each.relation)}:"
        f" {inert(each.before)} → {inert(each.after)}"
        for each in residue[:_RESIDUES]
    ]
    rest = len(residue) - _RESIDUES
    return [*lines, f"and {rest:,} more left behind"] if rest > 0 else lines


def _longest(report: Report, room: int | None) -> list[str]:
    """Return what would be waited for longest, where there is more than one migration to look through."""
    block = longest_block(report) if report.mode == "dry-run" and len(report.migrations) > 1 else None
    if block is None:
        return []
    who = inert(f"{block.migration.version} {block.migration.name}".rstrip())
    label, style = (_LONG, bad) if block.meanwhile else ("longest block: ", notable)
    lines = wrapped(f"{label}{block.words}, by {who}", room, 0)
    return [style(line) for line in lines]


def _unknown(report: Report) -> list[str]:
    if (said := headline(report)) is not None:
        return [notable(said)]
    if report.mode == "dry-run" and any(
        each.outcome == "rehearsed" and each.estimate is None for each in report.migrations
    ):
        return [quiet("How long production would take is not known.")]
    return []


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
        lines += [title, *_statement_details(each, migration.reason, room)]
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


def _statement_details(statement: StatementReport, reason: str | None, room: int | None) -> list[str]:
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
