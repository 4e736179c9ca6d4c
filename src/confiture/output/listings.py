"""What ``status``, ``plan`` and ``plugins`` show, for a person at a terminal."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import click

from confiture.escape import inert, inert_lines
from confiture.models.ledger import (
    Baseline,
    BaselineStep,
    Disagreement,
    Dump,
    Record,
    Repair,
    StatementProgress,
    Unfinished,
    Verification,
)
from confiture.models.plan import MigrationStatus, Plan, PlannedStep, PluginStatus
from confiture.output.format import bad, columns, duration, good, indented, notable, plural, quiet

_STATES = {"applied": good, "pending": notable, "changed": bad, "missing": bad, "unfinished": bad}
_PLUGIN_STATES = {"ready": good, "unused": quiet, "broken": bad}


def render_status(statuses: Sequence[MigrationStatus], *, colour: bool = False) -> str:
    """Return a line a migration, and a line of counts."""
    rows = [
        (
            _STATES[each.state](each.state),
            inert(each.version),
            inert(each.name),
            quiet(to_the_second(each.applied_at or "")),
        )
        for each in statuses
    ]
    counts: Counter[str] = Counter(each.state for each in statuses)
    summary = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    return joined([*columns(rows), "", summary] if rows else ["no migrations"], colour)


def to_the_second(time: str) -> str:
    """Return a time without its fraction."""
    return re.sub(r"(\d)T(\d\d:\d\d:\d\d)(\.\d+)?", r"\1 \2", inert(time))


def render_plan(plan: Plan, *, colour: bool = False) -> str:
    """Return the SQL of every pending migration in order, and the hooks round it."""
    if not plan.steps:
        return joined([good("nothing to do")], colour)
    lines: list[str] = []
    for step in plan.steps:
        lines += [_step_title(step), *indented(_step_body(step), 4), ""]
    return joined([*lines, *_hooks(plan.hooks), f"{plural(len(plan.steps), 'migration')} to apply"], colour)


def _step_title(step: PlannedStep) -> str:
    how = "" if step.transactional else notable("  no-transaction: statement by statement")
    title = click.style(inert(f"{step.version} {step.name}".rstrip()), bold=True)
    return f"{title}  {quiet(inert(step.file))}{how}"


def _step_body(step: PlannedStep) -> list[str]:
    if step.kind == "python":
        return [quiet("Python: what it does is known when it runs; rehearse it: confiture dry-run")]
    return [line for _, sql in step.statements for line in _statement(sql)]


def _statement(sql: str) -> list[str]:
    lines = inert_lines(sql.rstrip())
    return [*lines[:-1], f"{lines[-1]};"]


def _hooks(hooks: Mapping[str, Sequence[str]]) -> list[str]:
    called = render_order_lines({phase: names for phase, names in hooks.items() if names})
    return ["hooks of each migration, in order", *indented(called, 4), ""] if called else []


def render_order_lines(order: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line a phase, its hooks in the order in which they are called."""
    rows = [
        (inert(phase), ", ".join(map(inert, names)) or quiet("nothing")) for phase, names in order.items()
    ]
    return columns(rows) if rows else []


def render_order(order: Mapping[str, Sequence[str]], *, colour: bool = False) -> str:
    """Return the real order of the hooks, phase by phase."""
    return joined(render_order_lines(order) or ["no hooks"], colour)


def render_plugins(plugins: Sequence[PluginStatus], *, colour: bool = False) -> str:
    """Return a line a plugin, and beneath a broken one what is wrong with it."""
    if not plugins:
        return joined(["no plugins installed"], colour)
    titles = columns([_plugin(each) for each in plugins])
    lines: list[str] = []
    for title, plugin in zip(titles, plugins, strict=True):
        faults = [line for fault in plugin.faults for line in inert_lines(fault)]
        lines += [title, *indented(faults, 4)]
    return joined(lines, colour)


def _plugin(plugin: PluginStatus) -> tuple[str, ...]:
    return (
        _PLUGIN_STATES[plugin.state](plugin.state),
        click.style(inert(plugin.name), bold=True),
        quiet(inert(f"{plugin.distribution} {plugin.version}")),
        ", ".join(map(inert, plugin.phases)),
    )


def joined(lines: Sequence[str], colour: bool) -> str:
    """Return the lines as one text, in colour where asked for."""
    text = "\n".join(lines) + "\n"
    return text if colour else click.unstyle(text)


_VERIFIED_STATES = {
    "done": good("done"),
    "begun": notable("begun"),
    "pending": quiet("to do"),
    "changed": bad("changed"),
}
_BASELINE = {
    "recorded": good("✓ recorded"),
    "would-record": notable("· would be recorded"),
    "applied": quiet("· applied already"),
}


def render_history(history: Sequence[Record], *, colour: bool = False) -> str:
    """Return a line a migration, newest last, and beneath it its plugins and hooks."""
    if not history:
        return joined(["nothing was applied yet"], colour)
    lines: list[str] = []
    for title, record in zip(columns([_applied(each) for each in history]), history, strict=True):
        lines += [title, *indented(_took_part(record), 4)]
    return joined([*lines, "", plural(len(history), "migration")], colour)


def _applied(record: Record) -> tuple[str, ...]:
    took = duration(record.duration_ms)
    how = "baseline, not run" if record.baseline else "" if record.transactional else "no-transaction"
    return (
        quiet(to_the_second(record.applied_at)),
        inert(record.version),
        click.style(inert(record.name), bold=True),
        f"by {inert(record.applied_by)}",
        " " * (9 - len(took)) + took,
        quiet(how),
    )


def _took_part(record: Record) -> list[str]:
    plugins = ", ".join(inert(f"{each.name} {each.version}") for each in record.plugins)
    hooks = ", ".join(inert(f"{each.phase} {each.hook}") for each in record.hooks)
    return [quiet(f"{what}: {text}") for what, text in (("plugins", plugins), ("hooks", hooks)) if text]


def render_verification(found: Verification, *, colour: bool = False) -> str:
    """Return what disagrees, each with the way on, or that nothing does."""
    if not found.disagreements:
        compared = plural(found.applied, "applied migration")
        compared += f" and {plural(found.plugins, 'plugin')}" if found.plugins else ""
        return joined([good(f"ledger and files agree: {compared} compared")], colour)
    lines = [line for each in found.disagreements for line in _disagreement(each)]
    count = plural(len(found.disagreements), "disagreement")
    return joined([*lines, "", bad(count)], colour)


def _disagreement(each: Disagreement) -> list[str]:
    return [f"{bad('✗')} {inert(each.message)}", *indented([quiet(inert(each.hint))], 4)]


def render_repair(repair: Repair, *, colour: bool = False) -> str:
    """Return how far each unfinished migration came and the exact next commands, or what was done."""
    if repair.done:
        return joined([good(inert(each)) for each in repair.done], colour)
    lines = [line for each in repair.unfinished for line in _unfinished(each)]
    lines += [line for each in repair.disagreements for line in _disagreement(each)]
    return joined(lines or [good("nothing to repair")], colour)


def _unfinished(each: Unfinished) -> list[str]:
    label = f"{each.version} {each.name}".rstrip()
    what = "is unfinished" if each.direction == "forward" else "has an unfinished down"
    body = columns([_recorded_statement(one) for one in each.statements]) if each.statements else []
    body += [
        f"hook {inert(one.hook)} ({inert(one.phase)}) came to {inert(json.dumps(one.progress))}"
        for one in each.hooks
    ]
    body += [f"{bad('invalid index left:')} {inert(one.index)}" for one in each.invalid_indexes]
    body += [f"{notable('note:')} {inert(note)}" for note in each.notes]
    title = f"{click.style(inert(label), bold=True)} {what}  {quiet(inert(each.file or ''))}".rstrip()
    commands = [click.style(inert(one), bold=True) for one in each.commands]
    return [title, *indented(body, 4), "", "next:", *indented(commands, 4), ""]


def _recorded_statement(one: StatementProgress) -> tuple[str, ...]:
    first = inert_lines(one.sql.strip())[0] if one.sql else "no longer in the file"
    return (
        _VERIFIED_STATES[one.state],
        "" if one.line is None else f"line {one.line}",
        first if len(first) <= 70 else f"{first[:69]}…",
        quiet(to_the_second(one.at or "")),
    )


def render_baseline(baseline: Baseline, *, colour: bool = False) -> str:
    """Return a line a migration, and how many are recorded."""
    lines = columns([_step(each) for each in baseline.migrations])
    new = sum(each.outcome != "applied" for each in baseline.migrations)
    word = "would be recorded" if baseline.dry_run else "recorded"
    summary = f"{plural(new, 'migration')} {word} as applied, none was run" if new else "nothing to do"
    return joined([*lines, "", good(summary)], colour)


def _step(each: BaselineStep) -> tuple[str, ...]:
    return _BASELINE[each.outcome], inert(each.version), inert(each.name)


def render_dump(dump: Dump, *, colour: bool = False) -> str:
    """Return where the schema was written to; nothing where it went to stdout itself."""
    if dump.file == "-":
        return ""
    return joined(
        [good(f"wrote {inert(dump.file)}") if dump.changed else f"{inert(dump.file)} is as it was"], colour
    )
