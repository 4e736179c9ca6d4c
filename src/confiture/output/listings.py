"""Render every listing (status, plan, plugins, history…) for a terminal."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import click

from confiture.escape import escape_code_lines, escape_control, escape_lines
from confiture.models.ledger import (
    Baseline,
    BaselineStep,
    Disagreement,
    Dump,
    Repair,
    StatementProgress,
    UnfinishedMigration,
    Verification,
)
from confiture.models.plan import MigrationStatus, Plan, PlannedStep, PluginStatus
from confiture.output.format import (
    align_columns,
    format_count,
    indent_lines,
    style_bad,
    style_good,
    style_notable,
    style_quiet,
)

_STATE_STYLES = {
    "applied": style_good,
    "pending": style_notable,
    "changed": style_bad,
    "missing": style_bad,
    "unfinished": style_bad,
}
_PLUGIN_STATE_STYLES = {"ready": style_good, "unused": style_quiet, "broken": style_bad}


def render_status(statuses: Sequence[MigrationStatus], *, colour: bool = False) -> str:
    """Return one line per migration, and a line of counts."""
    rows = [
        (
            _STATE_STYLES[status.state](status.state),
            escape_control(status.version),
            escape_control(status.name),
            style_quiet(format_timestamp(status.applied_at or "")),
        )
        for status in statuses
    ]
    counts: Counter[str] = Counter(status.state for status in statuses)
    summary = ", ".join(f"{counts[state]} {state}" for state in _STATE_STYLES if counts[state])
    return join_lines([*align_columns(rows), "", summary] if rows else ["no migrations"], colour)


def format_timestamp(time: str) -> str:
    """Return an ISO 8601 time without ``T`` and without fractions of a second."""
    return re.sub(r"(\d)T(\d\d:\d\d:\d\d)(\.\d+)?", r"\1 \2", escape_control(time))


def render_plan(plan: Plan, *, colour: bool = False, verbose: bool = False) -> str:
    """Return the pending migrations, in order, and their hooks; with ``verbose``, their SQL too."""
    if not plan.steps:
        return join_lines([style_good("nothing to do")], colour)
    lines: list[str] = []
    for step in plan.steps:
        body = [*indent_lines(_render_step_body(step), 4), ""] if verbose else []
        lines += [_render_step_title(step, with_count=not verbose), *body]
    way = "" if verbose else "; -v shows the SQL"
    end = f"{format_count(len(plan.steps), 'migration')} to apply{way}"
    return join_lines([*lines, *([] if verbose else [""]), *_render_hooks(plan.hooks), end], colour)


def _render_step_title(step: PlannedStep, *, with_count: bool) -> str:
    how = "" if step.transactional else style_notable("  no-transaction: statement by statement")
    title = click.style(escape_control(f"{step.version} {step.name}".rstrip()), bold=True)
    count = (
        f"  {format_count(len(step.statements), 'statement')}" if with_count and step.kind == "sql" else ""
    )
    return f"{title}  {style_quiet(escape_control(step.file))}{count}{how}"


def _render_step_body(step: PlannedStep) -> list[str]:
    if step.kind == "python":
        return [style_quiet("Python: no preview; rehearse it to see its SQL: confiture dry-run")]
    return [line for _, sql in step.statements for line in _render_statement(sql)]


def _render_statement(sql: str) -> list[str]:
    lines = escape_code_lines(sql.rstrip())
    return [*lines[:-1], f"{lines[-1]};"]


def _render_hooks(hooks: Mapping[str, Sequence[str]]) -> list[str]:
    called = render_order_lines({phase: names for phase, names in hooks.items() if names})
    return ["hooks of each migration, in order", *indent_lines(called, 4), ""] if called else []


def render_order_lines(order: Mapping[str, Sequence[str]]) -> list[str]:
    """Return one line per phase, with its hooks in call order."""
    rows = [
        (escape_control(phase), ", ".join(map(escape_control, names)) or style_quiet("nothing"))
        for phase, names in order.items()
    ]
    return align_columns(rows) if rows else []


def render_order(order: Mapping[str, Sequence[str]], *, colour: bool = False) -> str:
    """Return the hooks of each phase in call order."""
    return join_lines(render_order_lines(order) or ["no hooks"], colour)


def render_plugins(plugins: Sequence[PluginStatus], *, colour: bool = False) -> str:
    """Return one line per plugin; the faults of a broken plugin follow its line."""
    if not plugins:
        return join_lines(["no plugins installed"], colour)
    titles = align_columns([_build_plugin_row(status) for status in plugins])
    lines: list[str] = []
    for title, plugin in zip(titles, plugins, strict=True):
        faults = [line for fault in plugin.faults for line in escape_lines(fault)]
        lines += [title, *indent_lines(faults, 4)]
    return join_lines(lines, colour)


def _build_plugin_row(plugin: PluginStatus) -> tuple[str, ...]:
    return (
        _PLUGIN_STATE_STYLES[plugin.state](plugin.state),
        click.style(escape_control(plugin.name), bold=True),
        style_quiet(escape_control(f"{plugin.distribution} {plugin.version}")),
        ", ".join(map(escape_control, plugin.phases)),
    )


def join_lines(lines: Sequence[str], colour: bool) -> str:
    """Join the lines, in colour if requested."""
    text = "\n".join(lines) + "\n"
    return text if colour else click.unstyle(text)


_STATEMENT_STATE_LABELS = {
    "done": style_good("done"),
    "begun": style_notable("begun"),
    "pending": style_quiet("to do"),
    "changed": style_bad("changed"),
}
_BASELINE_LABELS = {
    "recorded": style_good("✓ recorded"),
    "would-record": style_notable("· would be recorded"),
    "applied": style_quiet("· applied already"),
}


def render_verification(verification: Verification, *, colour: bool = False) -> str:
    """Return each disagreement with its next step, or that there is none."""
    if not verification.disagreements:
        compared = format_count(verification.applied, "applied migration")
        compared += f" and {format_count(verification.plugins, 'plugin')}" if verification.plugins else ""
        return join_lines([style_good(f"ledger and files agree: {compared} compared")], colour)
    lines = [
        line for disagreement in verification.disagreements for line in _render_disagreement(disagreement)
    ]
    count = format_count(len(verification.disagreements), "disagreement")
    return join_lines([*lines, "", style_bad(count)], colour)


def _render_disagreement(disagreement: Disagreement) -> list[str]:
    return [
        f"{style_bad('✗')} {escape_control(disagreement.message)}",
        *indent_lines([style_quiet(escape_control(disagreement.hint))], 4),
    ]


def render_repair(repair: Repair, *, colour: bool = False) -> str:
    """Return the progress of each unfinished migration with its next commands, or what was repaired."""
    if repair.done:
        return join_lines([style_good(escape_control(change)) for change in repair.done], colour)
    lines = [line for unfinished in repair.unfinished for line in _render_unfinished(unfinished)]
    lines += [line for disagreement in repair.disagreements for line in _render_disagreement(disagreement)]
    return join_lines(lines or [style_good("nothing to repair")], colour)


def _render_unfinished(unfinished: UnfinishedMigration) -> list[str]:
    label = f"{unfinished.version} {unfinished.name}".rstrip()
    what = "is unfinished" if unfinished.direction == "forward" else "has an unfinished down"
    body = (
        align_columns([_build_statement_row(statement) for statement in unfinished.statements])
        if unfinished.statements
        else []
    )
    body += [
        f"hook {escape_control(hook.hook)} ({escape_control(hook.phase)}) came to "
        f"{escape_control(json.dumps(hook.progress))}"
        for hook in unfinished.hooks
    ]
    body += [
        f"{style_bad('invalid index left:')} {escape_control(invalid.index)}"
        for invalid in unfinished.invalid_indexes
    ]
    body += [f"{style_notable('note:')} {escape_control(note)}" for note in unfinished.notes]
    file = style_quiet(escape_control(unfinished.file or ""))
    title = f"{click.style(escape_control(label), bold=True)} {what}  {file}".rstrip()
    commands = [click.style(escape_control(command), bold=True) for command in unfinished.commands]
    heading = "next, one of:" if unfinished.alternatives else "next:"
    return [title, *indent_lines(body, 4), "", heading, *indent_lines(commands, 4), ""]


def _build_statement_row(statement: StatementProgress) -> tuple[str, ...]:
    first = escape_lines(statement.sql.strip())[0] if statement.sql else "no longer in the file"
    return (
        _STATEMENT_STATE_LABELS[statement.state],
        "" if statement.line is None else f"line {statement.line}",
        first if len(first) <= 70 else f"{first[:69]}…",
        style_quiet(format_timestamp(statement.at or "")),
    )


def render_baseline(baseline: Baseline, *, colour: bool = False) -> str:
    """Return a line a migration, and how many are recorded."""
    lines = align_columns([_build_baseline_row(migration) for migration in baseline.migrations])
    new = sum(migration.outcome != "applied" for migration in baseline.migrations)
    word = "would be recorded" if baseline.dry_run else "recorded"
    summary = f"{format_count(new, 'migration')} {word} as applied, none was run" if new else "nothing to do"
    return join_lines([*lines, "", style_good(summary)], colour)


def _build_baseline_row(step: BaselineStep) -> tuple[str, ...]:
    return _BASELINE_LABELS[step.outcome], escape_control(step.version), escape_control(step.name)


def render_dump(dump: Dump, *, colour: bool = False) -> str:
    """Return the dump's file name; nothing if the schema went to stdout."""
    if dump.file == "-":
        return ""
    return join_lines(
        [
            style_good(f"wrote {escape_control(dump.file)}")
            if dump.changed
            else f"{escape_control(dump.file)} is unchanged"
        ],
        colour,
    )
