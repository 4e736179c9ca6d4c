"""The rules: a list of all, or one explained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import click
from attrs import asdict

from confiture.escape import escape_control, escape_lines
from confiture.models.report import RuleExplanation
from confiture.output.format import align_columns, indent_lines, style_bad, style_notable, style_quiet

_SEVERITY_STYLES: dict[str, Callable[[str], str]] = {
    "error": style_bad,
    "warning": style_notable,
    "info": escape_control,
    "off": style_quiet,
}
_BASIS_LABELS = {"S": "text", "D": "rehearsal", "S+D": "text, rehearsal"}


def render(rules: Sequence[RuleExplanation], *, colour: bool = False) -> str:
    """Return a line a rule; one rule alone is explained."""
    lines = _render_rule(rules[0]) if len(rules) == 1 else _render_list(rules)
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    return text if colour else click.unstyle(text)


def render_json(rules: Sequence[RuleExplanation]) -> str:
    """Return the rules as JSON."""
    return json.dumps({"schema_version": 1, "rules": [asdict(rule) for rule in rules]}, indent=2) + "\n"


def _render_list(rules: Sequence[RuleExplanation]) -> list[str]:
    rows = [
        (
            escape_control(rule.rule),
            _format_severity(rule),
            style_quiet(_BASIS_LABELS.get(rule.by, escape_control(rule.by))),
            escape_control(rule.summary),
        )
        for rule in rules
    ]
    return align_columns(rows)


def _format_severity(rule: RuleExplanation) -> str:
    return _SEVERITY_STYLES.get(rule.severity, escape_control)(escape_control(rule.severity))


def _render_rule(rule: RuleExplanation) -> list[str]:
    lines = [
        "  ".join(
            (
                click.style(escape_control(rule.rule), bold=True),
                _format_severity(rule),
                style_quiet(f"by {_BASIS_LABELS.get(rule.by)}"),
            )
        ),
        escape_control(rule.summary),
        "",
        f"PostgreSQL {escape_control(rule.does)}.",
        f"Why it hurts: {escape_control(rule.hurts)}.",
    ]
    for title, text in (("there is", rule.schema), ("dangerous", rule.example), ("instead", rule.recipe)):
        if text:
            lines += ["", f"{title}:", *indent_lines(escape_lines(text), 4)]
    if rule.way:
        lines += ["", f"instead: {escape_control(rule.way)}"]
    if rule.differs:
        lines += [style_quiet(f"differs in the end: {escape_control(rule.differs)}")]
    return lines
