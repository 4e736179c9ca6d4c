"""Render findings for a terminal: the place, the problem, and the SQL to use instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from confiture.escape import escape_code_lines, escape_control
from confiture.models.report import Finding, Report
from confiture.output.format import (
    format_count,
    format_place,
    indent_lines,
    style_bad,
    style_good,
    style_notable,
    style_quiet,
    wrap_line,
)
from confiture.output.recipe_text import format_recipe

_SEVERITY_STYLES: dict[str, Callable[[str], str]] = {
    "error": style_bad,
    "warning": style_notable,
    "info": escape_control,
}


def is_lint_report(report: Report) -> bool:
    """Return True if the report comes from lint, which uses no server."""
    return report.mode == "dry-run" and report.outcome == "ok" and report.server_version is None


def render_findings(report: Report) -> list[str]:
    """Return the findings one below the other; the ignored ones share one line."""
    lines: list[str] = []
    for finding in report.findings:
        if not finding.ignored:
            lines += [*_render_finding(finding), ""]
    ignored = [finding for finding in report.findings if finding.ignored]
    if ignored:
        rules = ", ".join(dict.fromkeys(escape_control(finding.rule) for finding in ignored))
        lines += [style_quiet(f"{format_count(len(ignored), 'finding')} ignored: {rules}"), ""]
    return lines


def render_lint_report(report: Report, max_width: int | None = None) -> list[str]:
    """Return lint's findings, their counts and the gate's verdict."""
    return [
        *render_findings(report),
        *map(escape_control, report.notes),
        render_counts(report),
        *render_verdict(report, max_width),
    ]


def render_verdict(report: Report, max_width: int | None = None) -> list[str]:
    """Return the verdict and the next step; nothing if there was nothing to check."""
    verdict = report.verdict
    if verdict is None or not (report.migrations or report.findings):
        return []
    style = style_good if verdict.passed else style_bad
    lines = [style(line) for line in wrap_line(escape_control(verdict.sentence), max_width, 0)]
    return lines + (
        wrap_line(f"next: {escape_control(verdict.next_step)}", max_width, 0) if verdict.next_step else []
    )


def _render_finding(finding: Finding) -> list[str]:
    severity = _SEVERITY_STYLES[finding.severity](f"{finding.severity}:")
    # An object of a schema that no migration creates has no file.
    where = format_place(finding.file or finding.relation, finding.line, None)
    measured = style_quiet(" (measured)") if finding.basis == "measured" else ""
    lines = [
        f"{where}: {severity} {escape_control(finding.message)}  "
        f"{style_quiet(f'[{escape_control(finding.rule)}]')}{measured}"
    ]
    if recipe := format_recipe(finding.recipe, finding.files):
        lines += [style_quiet("  instead:"), *indent_lines(escape_code_lines(recipe), 4)]
    return lines


def render_counts(report: Report) -> str:
    """Return the number of files and of findings by severity, on one line."""
    counted = Counter(finding.severity for finding in report.findings if not finding.ignored)
    files = report.judged or f"{format_count(len(report.migrations), 'file')} read"
    if not counted:
        return style_good(f"{files}, nothing found")
    counts = [format_count(counted[name], name) for name in ("error", "warning") if counted[name]]
    counts += [f"{counted['info']} info"] if counted["info"] else []
    return (style_bad if counted["error"] else style_notable)(f"{files}: {', '.join(counts)}")
