"""The rules: a list of all, or one explained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import click
from attrs import asdict

from confiture.escape import inert, inert_lines
from confiture.models.report import Explained
from confiture.output.format import bad, columns, indented, notable, quiet

_SEVERITIES: dict[str, Callable[[str], str]] = {"error": bad, "warning": notable, "info": inert, "off": quiet}
_BY = {"S": "text", "D": "rehearsal", "S+D": "text, rehearsal"}


def render(rules: Sequence[Explained], *, colour: bool = False) -> str:
    """Return a line a rule; one rule alone is explained."""
    lines = _one(rules[0]) if len(rules) == 1 else _list(rules)
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    return text if colour else click.unstyle(text)


def render_json(rules: Sequence[Explained]) -> str:
    """Return the rules as JSON."""
    return json.dumps({"schema_version": 1, "rules": [asdict(each) for each in rules]}, indent=2) + "\n"


def _list(rules: Sequence[Explained]) -> list[str]:
    rows = [
        (inert(each.rule), _severity(each), quiet(_BY.get(each.by, inert(each.by))), inert(each.summary))
        for each in rules
    ]
    return columns(rows)


def _severity(rule: Explained) -> str:
    return _SEVERITIES.get(rule.severity, inert)(inert(rule.severity))


def _one(rule: Explained) -> list[str]:
    lines = [
        "  ".join(
            (click.style(inert(rule.rule), bold=True), _severity(rule), quiet(f"by {_BY.get(rule.by)}"))
        ),
        inert(rule.summary),
        "",
        f"PostgreSQL {inert(rule.does)}.",
        f"Why it hurts: {inert(rule.hurts)}.",
    ]
    for title, text in (("there is", rule.schema), ("dangerous", rule.example), ("instead", rule.recipe)):
        if text:
            lines += ["", f"{title}:", *indented(inert_lines(text), 4)]
    if rule.way:
        lines += ["", f"instead: {inert(rule.way)}"]
    if rule.differs:
        lines += [quiet(f"differs in the end: {inert(rule.differs)}")]
    return lines
