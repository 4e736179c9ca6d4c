"""Render the migrations of a run, a rehearsal or a down for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from attrs import evolve

from confiture.escape import escape_control, escape_lines
from confiture.models.report import (
    Fault,
    HookReport,
    Lock,
    MigrationReport,
    Mode,
    NotSeen,
    PluginUse,
    Report,
    Residue,
    StatementReport,
)
from confiture.output.effects import (
    Step,
    describe_blocking,
    describe_effects,
    describe_spread,
    find_longest_block,
    is_quiet,
    list_long_blocks,
)
from confiture.output.estimates import build_headline, describe_production, format_estimate_line
from confiture.output.findings import render_findings, render_verdict
from confiture.output.fold_migrations import FoldedMigrations, describe_folded, fold_migrations
from confiture.output.format import (
    MIN_COLUMNS,
    align_columns,
    format_count,
    format_duration,
    format_place,
    indent_lines,
    measure_width,
    pad,
    render_source_line,
    shorten_sql,
    style_bad,
    style_good,
    style_notable,
    style_quiet,
    wrap_line,
)
from confiture.output.summary import DONE_OUTCOMES, leaves_out_many, render_summary

_MARKS = {
    "applied": style_good("✓ applied"),
    "reverted": style_good("✓ reverted"),
    "rehearsed": style_good("✓ rehearsed"),
    "not_rehearsed": style_notable("~ not rehearsed"),
    "failed": style_bad("✗ failed"),
    "pending": style_quiet("· not reached"),
}
_INDENT = 4
_LONG_BLOCK_LABEL = "long block: "
_MAX_RESIDUES = 10
# Of a long plan, so much that it fills one screen.
_MAX_SHOWN, _MAX_DETAILS = 10, 2


def render_run(report: Report, max_width: int | None = None, *, verbose: bool = False) -> list[str]:
    """Return the report as lines: each migration, the findings, and the result."""
    return [
        *_render_head(report),
        *_render_migrations(report, max_width, verbose=verbose),
        *render_findings(report),
        *_render_tail(report, max_width),
    ]


def _render_head(report: Report) -> list[str]:
    if not report.migrations or not report.server_version:
        return []
    server = f"PostgreSQL {escape_control(report.server_version)}"
    if report.rehearsed_on and report.rehearsed_on != report.server_version:
        server += f", rehearsed on {escape_control(report.rehearsed_on)}"
    return [style_quiet(f"{server}, {_format_plugins(report.plugins)}"), ""]


def _format_plugins(plugins: Sequence[PluginUse]) -> str:
    if not plugins:
        return "no plugins"
    names = ", ".join(f"{escape_control(plugin.name)} {escape_control(plugin.version)}" for plugin in plugins)
    return f"{'plugin' if len(plugins) == 1 else 'plugins'} {names}"


def _render_migrations(report: Report, max_width: int | None, *, verbose: bool) -> list[str]:
    parts = FoldedMigrations(report.migrations) if verbose else fold_migrations(report.migrations, _MAX_SHOWN)
    titles = align_columns([_build_title(migration) for migration in parts.shown]) if parts.shown else []
    width = max_width and max_width - _INDENT
    lines: list[str] = []
    unseen = _list_unseen_everywhere(report)
    for title, migration in zip(titles, parts.shown, strict=True):
        own = evolve(migration, not_seen=tuple(gap for gap in migration.not_seen if gap not in unseen))
        details = _render_details(own, report.mode, width, verbose=verbose)
        if parts.folded and migration.outcome != "failed":
            details = details[:_MAX_DETAILS]
        lines += [title, *indent_lines(details, _INDENT)]
    if parts.folded:
        lines += wrap_line(style_quiet(f"{describe_folded(parts.folded)} (-v shows all)"), max_width, 2)
    lines += [line for gap in unseen for line in wrap_line(_describe_unseen(gap), max_width, 2)]
    return [*lines, ""] if lines else []


def _build_title(migration: MigrationReport) -> tuple[str, ...]:
    took = format_duration(migration.duration_ms)
    return (
        _MARKS[migration.outcome],
        escape_control(migration.version),
        click.style(escape_control(migration.name), bold=migration.outcome in DONE_OUTCOMES or None),
        " " * (9 - len(took)) + took,
        style_quiet(_describe_work(migration)),
    )


def _describe_work(migration: MigrationReport) -> str:
    parts = [format_count(len(migration.statements), "statement")] if migration.statements else []
    if migration.rows_affected:
        parts.append(format_count(migration.rows_affected, "row"))
    return ", ".join(parts)


def _render_details(
    migration: MigrationReport, mode: Mode, max_width: int | None, *, verbose: bool
) -> list[str]:
    # The time in production comes first: it is the number that people plan with.
    lines = [part for line in describe_production(migration) for part in wrap_line(line, max_width, 0)]
    lines += _render_long_blocks(migration, max_width)
    if mode == "dry-run":
        lines += render_table(migration, max_width)
    lines += _render_hooks(migration, max_width)
    lines += describe_spread(migration.spread)
    lines += _render_blocking(migration, mode, max_width)
    if migration.reason and migration.outcome != "pending":
        lines.append(f"reason: {escape_control(migration.reason)}")
    lines += map(_describe_unseen, migration.not_seen)
    lines += _render_server_messages(migration, verbose=verbose)
    lines += [f"{style_notable('warning:')} {escape_control(warning)}" for warning in migration.warnings]
    lines += [
        f"after the commit, not called now: {escape_control(callback)}" for callback in migration.on_commit
    ]
    return lines + (render_error(migration.error, migration.source_line) if migration.error else [])


def _render_long_blocks(migration: MigrationReport, max_width: int | None) -> list[str]:
    lines: list[str] = []
    for block in list_long_blocks(migration):
        first, *more = wrap_line(f"{_LONG_BLOCK_LABEL}{block.description}", max_width, 0)
        lines += [
            style_bad(_LONG_BLOCK_LABEL.rstrip()) + first.removeprefix(_LONG_BLOCK_LABEL.rstrip()),
            *more,
        ]
    return lines


def _render_hooks(migration: MigrationReport, max_width: int | None) -> list[str]:
    notable = [hook for hook in migration.hooks if _is_notable(hook)]
    lines: list[str] = []
    for title, hook in zip(
        align_columns([_build_hook_row(hook) for hook in notable]) if notable else [],
        notable,
        strict=True,
    ):
        lines += [
            title,
            *(line for effect in describe_effects(hook) for line in wrap_line(effect, max_width, 2)),
        ]
    return lines + _render_quiet_hooks([hook for hook in migration.hooks if not _is_notable(hook)])


def _is_notable(hook: HookReport) -> bool:
    """Return True if a hook gets its own line; most hooks do nothing in most migrations."""
    return hook.outcome == "undone" or bool(hook.rows_affected or hook.stats or hook.locks)


def _render_quiet_hooks(hooks: list[HookReport]) -> list[str]:
    if not hooks:
        return []
    names = (f"{escape_control(hook.plugin or hook.hook)} {escape_control(hook.phase)}" for hook in hooks)
    return [style_quiet(f"also ran: {', '.join(dict.fromkeys(names))}")]


def _build_hook_row(hook: HookReport) -> tuple[str, ...]:
    outcome = style_good("kept") if hook.outcome == "kept" else style_bad("undone")
    return (
        style_quiet(escape_control(hook.phase).lower()),
        style_quiet(escape_control(hook.plugin or "migration")),
        escape_control(hook.hook),
        format_count(hook.rows_affected, "row"),
        format_duration(hook.duration_ms),
        outcome,
        style_quiet(
            ", ".join(f"{escape_control(key)}={escape_control(value)}" for key, value in hook.stats.items())
        ),
    )


def _render_blocking(migration: MigrationReport, mode: Mode, max_width: int | None) -> list[str]:
    """Return the blocks of the migration that no statement or hook has listed already."""
    steps: list[Step] = [*(migration.statements if mode == "dry-run" else ()), *migration.hooks]
    listed = {lock.relation for step in steps for lock in step.locks}
    locks = [lock for lock in migration.locks if lock.blocks and lock.relation not in listed]
    known = listed | {lock.relation for lock in locks}
    lines = [*describe_blocking(locks), *_render_blocked_without_lock(migration, known)]
    return [part for line in lines for part in wrap_line(line, max_width, 0)]


def _render_blocked_without_lock(migration: MigrationReport, known: set[str]) -> list[str]:
    """Return the blocked relations that are not locked: a lock on an index or a parent blocks them."""
    of = {"reads": migration.blocks.reads, "writes": migration.blocks.writes}
    rest = dict.fromkeys(
        relation for relations in of.values() for relation in relations if relation not in known
    )
    return describe_blocking(
        Lock(name, "table", "", tuple(what for what, relations in of.items() if name in relations))
        for name in rest
    )


def _list_unseen_everywhere(report: Report) -> tuple[NotSeen, ...]:
    """Return what was seen of no migration, which is said once: a copy without rows is one for all."""
    gaps = [migration.not_seen for migration in report.migrations if migration.outcome in DONE_OUTCOMES]
    return tuple(gap for gap in gaps[0] if all(gap in of for of in gaps)) if len(gaps) > 1 else ()


def _describe_unseen(unseen: NotSeen) -> str:
    of = f" of {escape_control(unseen.relation)}" if unseen.relation else ""
    return f"{style_notable('not seen:')} {escape_control(unseen.what)}{of}: {escape_control(unseen.reason)}"


def _render_server_messages(migration: MigrationReport, *, verbose: bool) -> list[str]:
    """Return the server's warnings, and with ``verbose`` its notices, each with the statement's line."""
    lines: list[str] = []
    for statement in migration.statements:
        for message in statement.notices:
            if message.is_warning or verbose:
                word, style = escape_control(message.severity).lower(), style_notable
                label = f"{word}:" if statement.line is None else f"{word} of line {statement.line}:"
                first, *more = escape_lines(message.message)
                lines += [
                    f"{(style if message.is_warning else style_quiet)(label)} {first}",
                    *indent_lines(more, 2),
                ]
    return lines


def render_error(error: Fault, source_line: str | None = None) -> list[str]:
    """Return an error: message, place, source line with a caret, and the server's details."""
    message, *rest = escape_lines(error.message)
    lines = [f"{style_bad('error:')} {message}", *indent_lines(rest, 7)]
    if error.file:
        lines.append(f"  at {format_place(error.file, error.line, error.column)}")
    if source_line is not None:
        lines += indent_lines(render_source_line(source_line, error.line, error.column), 2)
    for label, text in (("detail", error.detail), ("hint", error.hint)):
        if text:
            first, *more = escape_lines(text)
            lines += [f"{label}: {first}", *indent_lines(more, len(label) + 2)]
    return lines + ([f"SQLSTATE {escape_control(error.sqlstate)}"] if error.sqlstate else [])


def _render_tail(report: Report, max_width: int | None) -> list[str]:
    fault = render_error(report.error) if report.error else []
    notes = [escape_control(note) for note in report.notes]
    end = _style_summary(report)(render_summary(report))
    ways = [
        *_render_longest_block(report, max_width),
        *_render_production_line(report),
        *render_verdict(report, max_width),
    ]
    return [*_render_residue(report.residue), *notes, *fault, end, *ways]


def _render_value(value: object) -> str:
    return "none" if value is None else escape_control(value)


def _style_summary(report: Report) -> Callable[[str], str]:
    if report.outcome != "ok":
        return style_bad
    return style_notable if leaves_out_many(report) else style_good


def _render_residue(residue: Sequence[Residue]) -> list[str]:
    """Return one line per change that the rollback could not undo."""
    lines = [
        f"{style_notable('left behind:')} {escape_control(residue_item.what)} of "
        f"{escape_control(residue_item.relation)}:"
        f" {_render_value(residue_item.before)} → {_render_value(residue_item.after)}"
        for residue_item in residue[:_MAX_RESIDUES]
    ]
    rest = len(residue) - _MAX_RESIDUES
    return [*lines, f"and {rest:,} more left behind"] if rest > 0 else lines


def _render_longest_block(report: Report, max_width: int | None) -> list[str]:
    """Return the longest block of all migrations; nothing for one migration, which shows it itself."""
    block = find_longest_block(report) if report.mode == "dry-run" and len(report.migrations) > 1 else None
    if block is None:
        return []
    who = escape_control(f"{block.migration.version} {block.migration.name}".rstrip())
    label, style = (_LONG_BLOCK_LABEL, style_bad) if block.long_work else ("longest block: ", style_notable)
    lines = wrap_line(f"{label}{block.description}, by {who}", max_width, 0)
    return [style(line) for line in lines]


def _render_production_line(report: Report) -> list[str]:
    if (headline := build_headline(report)) is not None:
        return [style_notable(headline)]
    if report.mode == "dry-run" and any(
        migration.outcome == "rehearsed" and migration.estimate is None for migration in report.migrations
    ):
        return [style_quiet("Time in production: unknown.")]
    return []


_MAX_STATEMENTS = 20
_SQL_COLUMNS = 48


def render_table(migration: MigrationReport, max_width: int | None) -> list[str]:
    """Return one line per statement that is not quiet, followed by its effects.

    Args:
        migration: The migration whose statements are shown.
        max_width: Columns to wrap at, ``None`` not to wrap.
    """
    loud = [statement for statement in migration.statements if not is_quiet(statement)]
    shown, rest = loud[:_MAX_STATEMENTS], loud[_MAX_STATEMENTS:]
    lines: list[str] = []
    for title, report in zip(_build_titles(shown, max_width), shown, strict=True):
        lines += [title, *_render_statement_details(report, migration.reason, max_width)]
    if rest:
        lines.append(f"and {format_count(len(rest), 'more statement')}: --output html=FILE shows all")
    return lines + _render_quiet_statements(
        [statement for statement in migration.statements if is_quiet(statement)], bool(loud)
    )


def _build_titles(statements: Sequence[StatementReport], max_width: int | None) -> list[str]:
    if not statements:
        return []
    facts = [_build_facts(statement) for statement in statements]
    # The other columns are measured first: SQL gets the rest of the line, as it can be cut anywhere.
    others = sum(max(measure_width(fact[column]) for fact in facts) + 2 for column in range(3))
    width = max(MIN_COLUMNS, min(_SQL_COLUMNS, _SQL_COLUMNS if max_width is None else max_width - others))
    return align_columns(
        [
            (where, shorten_sql(statement.sql, width), took, rows)
            for statement, (where, took, rows) in zip(statements, facts, strict=True)
        ]
    )


def _build_facts(statement: StatementReport) -> tuple[str, str, str]:
    took = format_duration(statement.duration_ms)
    where = f"line {statement.line}" if statement.line else ""
    rows = "" if statement.rows is None else format_count(statement.rows, "row")
    return style_quiet(where), pad("", 8 - len(took)) + took, rows


def _render_statement_details(
    statement: StatementReport, reason: str | None, max_width: int | None
) -> list[str]:
    effects = describe_effects(statement) + (
        [format_estimate_line(statement.estimate)] if statement.estimate else []
    )
    lines = [line for effect in effects for line in wrap_line(effect, max_width, 2)]
    if statement.not_rehearsed and statement.not_rehearsed != reason:
        lines.append(f"  {style_notable('not rehearsed:')} {escape_control(statement.not_rehearsed)}")
    return lines


def _render_quiet_statements(statements: Sequence[StatementReport], after_others: bool) -> list[str]:
    """Return one line for the quiet statements; none if all are quiet, as the title counts them."""
    if not statements or not after_others:
        return []
    took = format_duration(sum(statement.duration_ms for statement in statements))
    return [style_quiet(f"and {format_count(len(statements), 'quiet statement')}, {took}")]
