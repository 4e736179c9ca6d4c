"""Draw a card for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confiture.escape import escape_control
from confiture.models.report import HookReport
from confiture.units import format_count, format_duration
from confiture.wizard.card import Card

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {"low": "green", "medium": "yellow", "high": "bold red"}


def draw_card(card: Card, place: int, count: int) -> RenderableType:
    """Return a card as a panel, which rich fits to the terminal's width."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for risk in card.risks:
        level = Text(risk.level, style=_COLOURS[risk.level])
        facts.add_row(risk.aspect, Text.assemble(level, "  ", escape_control(risk.reason)))
    facts.add_row("time", escape_control(card.time))
    for hook in card.hooks:
        facts.add_row("hook", _describe_hook(hook))
    undo = card.undo.way + (f"; that loses {card.undo.loses}" if card.undo.loses else "")
    facts.add_row("undo", escape_control(undo))
    facts.add_row("advice", Text(escape_control(card.strategy.advice), style="bold"))
    for session in card.strategy.sessions:
        facts.add_row("", escape_control(session))
    for file in card.strategy.files:
        facts.add_row("", escape_control(f"{file.name}{''.join(f'  {line}' for line in file.directives)}"))
    for line in (card.strategy.checked, *card.strategy.differences):
        if line:
            facts.add_row("", escape_control(line))
    label = f"{card.migration.version} {card.migration.name}".rstrip()
    title = f"{place} of {count}: {escape_control(label)}"
    return Panel(
        Group(Text(escape_control(card.does)), Text(""), facts),
        title=Text(title),
        title_align="left",
        border_style=_COLOURS[card.level],
    )


def _describe_hook(hook: HookReport) -> str:
    owner = hook.plugin or "the migration"
    rows, took = format_count(hook.rows_affected, "row"), format_duration(hook.duration_ms)
    return escape_control(f"{hook.phase} {owner} {hook.hook}: {rows}, {took}")
