"""The report of a run, a rehearsal or a down, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import click

from confiture.models.report import Fault, HookReport, MigrationReport, PluginUse, Report
from confiture.output.words import (
    bad,
    columns,
    duration,
    good,
    indented,
    inert,
    inert_lines,
    notable,
    place,
    plural,
    pointed,
    quiet,
)

_MARKS = {
    "applied": good("✓ applied"),
    "reverted": good("✓ reverted"),
    "rehearsed": good("✓ rehearsed"),
    "not_rehearsed": notable("~ not rehearsed"),
    "failed": bad("✗ failed"),
    "pending": quiet("· not reached"),
}
_INTERRUPTED = (130, 143)
_DONE = ("applied", "reverted", "rehearsed")


def render(report: Report, *, colour: bool = False) -> str:
    """Return the report as lines to read, in colour where asked for."""
    lines = [*_head(report), *_migrations(report), *_tail(report)]
    text = "\n".join(lines) + "\n"
    return text if colour else click.unstyle(text)


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


def _migrations(report: Report) -> list[str]:
    titles = columns([_title(each) for each in report.migrations]) if report.migrations else []
    lines: list[str] = []
    for title, migration in zip(titles, report.migrations, strict=True):
        lines += [title, *indented(_beneath(migration), 4)]
    return [*lines, ""] if lines else []


def _title(migration: MigrationReport) -> tuple[str, ...]:
    took = duration(migration.duration_ms)
    return (
        _MARKS[migration.outcome],
        inert(migration.version),
        click.style(inert(migration.name), bold=migration.outcome in _DONE or None),
        " " * (9 - len(took)) + took,
        quiet(_work(migration)),
    )


def _work(migration: MigrationReport) -> str:
    parts = [plural(len(migration.statements), "statement")] if migration.statements else []
    if migration.rows_affected:
        parts.append(plural(migration.rows_affected, "row"))
    return ", ".join(parts)


def _beneath(migration: MigrationReport) -> list[str]:
    telling = [each for each in migration.hooks if _tells(each)]
    lines = columns([_hook(each) for each in telling]) if telling else []
    lines += _also_ran([each for each in migration.hooks if not _tells(each)])
    lines += _blocking(migration)
    if migration.reason and migration.outcome != "pending":
        lines.append(f"reason: {inert(migration.reason)}")
    lines += _left_out(migration)
    lines += [f"{notable('warning:')} {inert(warning)}" for warning in migration.warnings]
    lines += [f"after the commit, not called now: {inert(each)}" for each in migration.on_commit]
    lines += _estimate(migration)
    return lines + (error_lines(migration.error, migration.source_line) if migration.error else [])


def _tells(hook: HookReport) -> bool:
    """Whether a hook has more to tell than that it ran: most have nothing to do in most migrations."""
    return hook.outcome == "undone" or bool(hook.rows_affected or hook.stats)


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


def _blocking(migration: MigrationReport) -> list[str]:
    reads, writes = _blocked(migration, "reads"), _blocked(migration, "writes")
    words = {
        "reads and writes": [each for each in reads if each in writes],
        "reads": [each for each in reads if each not in writes],
        "writes": [each for each in writes if each not in reads],
    }
    return [f"blocks {what} of {', '.join(map(inert, of))}" for what, of in words.items() if of]


def _blocked(migration: MigrationReport, what: str) -> list[str]:
    union = migration.blocks.reads if what == "reads" else migration.blocks.writes
    seen = [lock.relation for lock in migration.locks if what in lock.blocks]
    return list(dict.fromkeys([*union, *seen]))


def _left_out(migration: MigrationReport) -> list[str]:
    return [
        f"{notable('not rehearsed:')} line {each.line}: {inert(each.not_rehearsed)}"
        if each.line
        else f"{notable('not rehearsed:')} {inert(each.not_rehearsed)}"
        for each in migration.statements
        if each.not_rehearsed and each.not_rehearsed != migration.reason
    ]


def _estimate(migration: MigrationReport) -> list[str]:
    estimate = migration.estimate
    if estimate is None:
        return []
    if estimate.known and estimate.p50_ms is not None:
        return [f"in production: about {duration(estimate.p50_ms)}"]
    said = [inert(each) for each in (estimate.reason, estimate.advice) if each]
    return [f"in production: not known{': ' if said else ''}{'; '.join(said)}"]


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


def _tail(report: Report) -> list[str]:
    fault = error_lines(report.fault) if report.fault else []
    notes = [inert(note) for note in report.notes]
    return [*notes, *fault, _summary(report), *_unknown(report)]


def _unknown(report: Report) -> list[str]:
    if report.mode == "dry-run" and any(
        each.outcome == "rehearsed" and each.estimate is None for each in report.migrations
    ):
        return [quiet("How long production would take is not known.")]
    return []


def _summary(report: Report) -> str:
    if report.outcome != "ok":
        return _failed(report)
    if not report.migrations:
        return good("nothing to do")
    done = [each for each in report.migrations if each.outcome in _DONE]
    word = {"run": "applied", "dry-run": "rehearsed", "down": "reverted"}[report.mode]
    if report.mode == "run" and (again := [each for each in done if each.outcome == "reverted"]):
        return good(f"{plural(len(again), 'migration')} reverted and applied again")
    took = duration(sum(each.duration_ms or 0 for each in report.migrations))
    line = f"{plural(len(done), 'migration')} {word} in {took}"
    left_out = len(report.migrations) - len(done)
    if report.mode == "dry-run":
        line += f", {left_out} not rehearsed; nothing kept" if left_out else ", nothing kept"
    return good(line)


def _failed(report: Report) -> str:
    if report.outcome == "refused":
        return bad("refused: nothing was begun")
    if report.mode == "dry-run":
        return bad("the rehearsal failed, nothing kept")
    before = [
        inert(f"{each.version} {each.name}".rstrip()) for each in report.migrations if each.outcome in _DONE
    ]
    redoing = any(each.outcome == "reverted" for each in report.migrations)
    word = "reverted" if report.mode == "down" or redoing else "applied"
    undone = "stopped" if _half_done(report) else "rolled back"
    if report.exit_code in _INTERRUPTED:
        undone = f"interrupted, {undone}"
    return bad(f"{undone}; {word} before: {', '.join(before)}" if before else f"{undone}; nothing was {word}")


def _half_done(report: Report) -> bool:
    """Return whether a failed migration may have left something: the engine says so in its reason."""
    return any(each.outcome == "failed" and each.reason for each in report.migrations)
