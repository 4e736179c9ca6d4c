"""JUnit XML: a test case per migration and per finding, failed or skipped by severity."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from attrs import field, frozen

from confiture.models.report import MigrationReport, Report
from confiture.output.notices import Notice, collect_notices, format_label
from confiture.output.reporters import RenderContext, Reporter

# The characters that XML 1.0 does not allow, even escaped.
_INVALID_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@frozen
class _TestCase:
    """One test case.

    Attributes:
        tag: ``failure``, ``error`` or ``skipped``; empty if it passed.
    """

    name: str
    group: str
    tag: str = ""
    kind: str = ""
    message: str = ""
    text: str = field(default="")
    duration_ms: float = 0.0


def render(report: Report, context: RenderContext) -> str:
    """Return one suite with a test case per migration and per notice."""
    cases = [*_build_cases(report, context)]
    counts = Counter(case.tag for case in cases)
    suites = Element("testsuites")
    facts = {"tests": len(cases), "failures": counts["failure"], "errors": counts["error"]}
    suite = SubElement(
        suites,
        "testsuite",
        {
            "name": f"confiture {report.mode}",
            **{name: str(number) for name, number in facts.items()},
            "skipped": str(counts["skipped"]),
            "time": _format_seconds(sum(case.duration_ms for case in cases)),
        },
    )
    for case in cases:
        _add_case(suite, case)
    indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(suites, encoding="unicode")}\n'


def _build_cases(report: Report, context: RenderContext) -> Iterator[_TestCase]:
    notices = collect_notices(report, context)
    failed = {notice.migration: notice for notice in notices if notice.kind == "failure"}
    for migration in report.migrations:
        yield _build_migration_case(migration, failed.get(format_label(migration)), context)
    named = {format_label(migration) for migration in report.migrations}
    rest = [notice for notice in notices if not (notice.kind == "failure" and notice.migration in named)]
    names = Counter(map(_name_notice, rest))
    for notice in rest:
        name = _name_notice(notice)
        # Names must differ. A number would change when another statement is written above.
        yield _build_notice_case(notice, f"{name} #{notice.fingerprint[:8]}" if names[name] > 1 else name)
    if report.exit_code and not any(notice.severity == "error" and not notice.ignored for notice in notices):
        # The gate can fail although no notice is an error (fail_on), which a green report would hide.
        yield _TestCase("gate", "confiture", "failure", "gate", f"the exit code is {report.exit_code}")


def _build_migration_case(
    migration: MigrationReport, failure: Notice | None, context: RenderContext
) -> _TestCase:
    name, took_ms = format_label(migration), migration.duration_ms or 0.0
    group = context.path(migration.file) or "confiture"
    if failure:
        return _build_failed_case(name, failure, "error", took_ms)
    if migration.outcome in ("not_rehearsed", "pending"):
        reason = migration.reason or migration.outcome.replace("_", " ")
        return _TestCase(name, group, "skipped", migration.outcome, reason)
    return _TestCase(name, group, duration_ms=took_ms)


def _name_notice(notice: Notice) -> str:
    """Return the name of a case, without the line: a case keeps its history when lines move."""
    return " ".join(part for part in (notice.rule, notice.file, notice.relation) if part)


def _build_notice_case(notice: Notice, name: str) -> _TestCase:
    if notice.ignored or notice.severity != "error":
        why = "ignored" if notice.ignored else notice.severity
        message = f"{why}: {notice.message}"
        return _TestCase(
            name, notice.file or "confiture", "skipped", notice.rule, message, _render_body(notice)
        )
    return _build_failed_case(name, notice, "failure" if notice.kind == "finding" else "error", 0.0)


def _build_failed_case(name: str, notice: Notice, tag: str, took_ms: float) -> _TestCase:
    return _TestCase(
        name, notice.file or "confiture", tag, notice.rule, notice.message, _render_body(notice), took_ms
    )


def _render_body(notice: Notice) -> str:
    recipe = f"write instead:\n{notice.recipe}" if notice.recipe else ""
    lines = (notice.place, notice.message, recipe, f"fingerprint: {notice.fingerprint}")
    return "\n".join(line for line in lines if line)


def _add_case(suite: Element, case: _TestCase) -> None:
    facts = {"name": case.name, "classname": case.group, "time": _format_seconds(case.duration_ms)}
    element = SubElement(suite, "testcase", {name: _escape_xml(text) for name, text in facts.items()})
    if case.tag:
        result = SubElement(
            element, case.tag, {"type": _escape_xml(case.kind), "message": _escape_xml(case.message)}
        )
        result.text = _escape_xml(case.text) or None


def _format_seconds(ms: float) -> str:
    return f"{ms / 1000:.3f}"


def _escape_xml(text: str) -> str:
    return _INVALID_XML.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


REPORTER = Reporter("junit", render)
