"""What ``status``, ``plan`` and ``plugins`` show, for a person at a terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import click

from confiture.models.plan import Plan, PlannedStep
from confiture.models.status import MigrationStatus, PluginStatus
from confiture.output.words import bad, columns, good, indented, inert, inert_lines, notable, plural, quiet

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
