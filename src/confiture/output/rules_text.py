"""Render the rules: a list of all, or the explanation of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click
from attrs import asdict

from confiture.escape import escape_code_lines, escape_control
from confiture.models.report import RuleExplanation
from confiture.output.format import align_columns, indent_lines, style_bad, style_notable, style_quiet
from confiture.output.recipe_text import format_recipe

_SEVERITY_STYLES: dict[str, Callable[[str], str]] = {
    "error": style_bad,
    "warning": style_notable,
    "info": escape_control,
    "off": style_quiet,
}
_BASIS_LABELS = {"S": "text", "D": "rehearsal", "S+D": "text, rehearsal", "C": "schema"}


def render(rules: Sequence[RuleExplanation], *, colour: bool = False) -> str:
    """Return one line per rule; a single rule is explained."""
    lines = _render_rule(rules[0]) if len(rules) == 1 else _render_list(rules)
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    return text if colour else click.unstyle(text)


def render_json(rules: Sequence[RuleExplanation]) -> str:
    """Return the rules as JSON."""
    return json.dumps({"schema_version": 1, "rules": list(map(_build_rule, rules))}, indent=2) + "\n"


def _build_rule(rule: RuleExplanation) -> dict[str, Any]:
    keys = ("name", "directives", "sql")
    built = {**asdict(rule), "files": [{key: getattr(file, key) for key in keys} for file in rule.files]}
    # Left out if empty: only rules about schemas have it.
    return built if rule.needs else {key: value for key, value in built.items() if key != "needs"}


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
    for title, text in (
        ("there is", rule.schema),
        ("dangerous", rule.example),
        ("instead", format_recipe(rule.recipe, rule.files)),
    ):
        if text:
            lines += ["", f"{title}:", *indent_lines(escape_code_lines(text), 4)]
    if rule.needs:
        keys = " and ".join(escape_control(key) for key in rule.needs)
        lines += ["", f"off without {keys} in [tool.confiture.schema]"]
    if rule.way:
        lines += ["", f"instead: {escape_control(rule.way)}"]
    if rule.differs:
        lines += [style_quiet(f"differs in the end: {escape_control(rule.differs)}")]
    return lines
