"""Findings, for a person at a terminal: where, what, and the SQL to write instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from confiture.models.report import Finding, Report
from confiture.output.words import bad, good, indented, inert, inert_lines, notable, place, plural, quiet

_SEVERITIES: dict[str, Callable[[str], str]] = {"error": bad, "warning": notable, "info": inert}


def only_read(report: Report) -> bool:
    """Whether a report is of files that were read: no server was asked."""
    return report.mode == "dry-run" and report.outcome == "ok" and report.server_version is None


def lines_of(report: Report) -> list[str]:
    """Return the findings one below the other, those that are ignored in one line."""
    lines: list[str] = []
    for each in report.findings:
        if not each.ignored:
            lines += [*_finding(each), ""]
    ignored = [each for each in report.findings if each.ignored]
    if ignored:
        rules = ", ".join(dict.fromkeys(inert(each.rule) for each in ignored))
        lines += [quiet(f"{plural(len(ignored), 'finding')} ignored: {rules}"), ""]
    return lines


def _finding(finding: Finding) -> list[str]:
    severity = _SEVERITIES[finding.severity](f"{finding.severity}:")
    where = place(finding.file, finding.line, None)
    measured = quiet(" (measured)") if finding.basis == "measured" else ""
    lines = [f"{where}: {severity} {inert(finding.message)}  {quiet(f'[{inert(finding.rule)}]')}{measured}"]
    if finding.recipe:
        lines += [quiet("  instead:"), *indented(inert_lines(finding.recipe), 4)]
    return lines


def count(report: Report) -> str:
    """Return how many there are, in one line."""
    counted = Counter(each.severity for each in report.findings if not each.ignored)
    files = plural(len(report.migrations), "file")
    if not counted:
        return good(f"{files} read, nothing found")
    said = ", ".join(plural(counted[name], name) for name in ("error", "warning") if counted[name])
    said = ", ".join(filter(None, (said, f"{counted['info']} info" if counted["info"] else "")))
    return (bad if counted["error"] else notable)(f"{files} read: {said}")
