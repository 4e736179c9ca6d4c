"""What ``history``, ``verify``, ``repair``, ``baseline`` and ``dump`` show, for a person at a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

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
from confiture.output.listings import joined, to_the_second
from confiture.output.words import (
    bad,
    columns,
    duration,
    good,
    indented,
    inert,
    inert_lines,
    notable,
    plural,
    quiet,
)

_STATES = {
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
    body = columns([_statement(one) for one in each.statements]) if each.statements else []
    body += [
        f"hook {inert(one.hook)} ({inert(one.phase)}) came to {inert(json.dumps(one.progress))}"
        for one in each.hooks
    ]
    body += [f"{bad('invalid index left:')} {inert(one.index)}" for one in each.invalid_indexes]
    body += [f"{notable('note:')} {inert(note)}" for note in each.notes]
    title = f"{click.style(inert(label), bold=True)} {what}  {quiet(inert(each.file or ''))}".rstrip()
    commands = [click.style(inert(one), bold=True) for one in each.commands]
    return [title, *indented(body, 4), "", "next:", *indented(commands, 4), ""]


def _statement(one: StatementProgress) -> tuple[str, ...]:
    first = inert_lines(one.sql.strip())[0] if one.sql else "no longer in the file"
    return (
        _STATES[one.state],
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
