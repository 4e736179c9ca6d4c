"""Findings, for a person at a terminal: where, what, and the SQL to write instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from confiture.escape import inert, inert_lines
from confiture.models.report import Finding, Report
from confiture.output.format import bad, good, indented, notable, place, plural, quiet, wrapped

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


def lines_of_files(report: Report, room: int | None = None) -> list[str]:
    """Return what was found in files that were only read, how much, and what the gate says."""
    return [*lines_of(report), *map(inert, report.notes), count(report), *verdict_lines(report, room)]


def verdict_lines(report: Report, room: int | None = None) -> list[str]:
    """Return what the gate says, and the next step; nothing where there was nothing to judge."""
    verdict = report.verdict
    if verdict is None or not (report.migrations or report.findings):
        return []
    style = good if verdict.passed else bad
    lines = [style(line) for line in wrapped(inert(verdict.sentence), room, 0)]
    return lines + (wrapped(f"next: {inert(verdict.next_step)}", room, 0) if verdict.next_step else [])


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
