"""Render the history of a database for a terminal: a line an event, newest last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import click

from confiture.escape import escape_control
from confiture.models.event import Event, EventLock, History
from confiture.models.ledger import HistoryRecord, HookRecord, PluginRecord
from confiture.output.format import (
    align_columns,
    format_count,
    format_duration,
    indent_lines,
    style_bad,
    style_good,
    style_notable,
    style_quiet,
)
from confiture.output.history_items import Item, get_time, merge_items
from confiture.output.listings import format_timestamp, join_lines

_SHOWN_DIGITS = 12
_KINDS = {
    "APPLIED": style_good("applied"),
    "REVERTED": style_notable("reverted"),
    "FAILED": style_bad("failed"),
}


def render_history(history: History, *, colour: bool = False) -> str:
    """Return one line per event, newest last, followed by its details.

    A migration that was applied before events were recorded, or was never run, has a line too.
    """
    items = merge_items(history.events, history.migrations)
    if not items:
        return join_lines(["no migration has been applied yet"], colour)
    titles = align_columns([_build_row(item) for item in items])
    lines = [
        line
        for title, item in zip(titles, items, strict=True)
        for line in (title, *indent_lines(map(style_quiet, _describe(item)), 4))
    ]
    return join_lines([*lines, "", _summarize(history)], colour)


def _build_row(item: Item) -> tuple[str, ...]:
    kind, by, baseline = (
        (item.kind, item.by, False)
        if isinstance(item, Event)
        else ("APPLIED", item.applied_by, item.baseline)
    )
    took = format_duration(item.duration_ms)
    how = "baseline, not run" if baseline else "" if item.transactional else "no-transaction"
    return (
        style_quiet(format_timestamp(get_time(item))),
        _KINDS[kind],
        escape_control(item.version),
        click.style(escape_control(item.name), bold=True),
        f"by {escape_control(by)}",
        " " * (9 - len(took)) + took,
        style_quiet(how),
    )


def _describe(item: Item) -> list[str]:
    facts = _describe_participants(item.plugins, item.hooks)
    if isinstance(item, HistoryRecord):
        return facts
    if item.error:
        facts.insert(0, f"error: {escape_control(item.error.message)}")
    if item.locks:
        facts.append("locks: " + ", ".join(map(_describe_lock, item.locks)))
    revision = f"commit {escape_control(item.git_revision[:_SHOWN_DIGITS])}" if item.git_revision else ""
    schema = describe_schema_step(item.schema_before, item.schema_after)
    return [*facts, ", ".join(filter(None, (revision, schema)))]


def _describe_lock(lock: EventLock) -> str:
    held = "" if lock.held_ms is None else f" for {format_duration(lock.held_ms)}"
    return f"{escape_control(lock.relation)} {lock.mode}{held}"


def describe_schema_step(before: str | None, after: str | None) -> str:
    """Return the fingerprints before and after a migration, shortened."""
    if after is None:
        return "schema not read"
    if before == after:
        return f"schema {after[:_SHOWN_DIGITS]}, unchanged"
    return f"schema {before[:_SHOWN_DIGITS] if before else 'not read'} -> {after[:_SHOWN_DIGITS]}"


def _describe_participants(plugins: Sequence[PluginRecord], hooks: Iterable[HookRecord]) -> list[str]:
    used = ", ".join(escape_control(f"{plugin.name} {plugin.version}") for plugin in plugins)
    ran = ", ".join(escape_control(f"{hook.phase} {hook.hook}") for hook in hooks)
    return [f"{what}: {text}" for what, text in (("plugins", used), ("hooks", ran)) if text]


def _summarize(history: History) -> str:
    counts: Counter[str] = Counter(event.kind for event in history.events)
    more = "".join(
        f", {format_count(counts[kind], noun)}"
        for kind, noun in (("REVERTED", "reversal"), ("FAILED", "failure"))
        if counts[kind]
    )
    return f"{format_count(len(history.migrations), 'migration')} applied{more}"
