"""Collect a report's notices: findings, failures, and effects that could not be observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Literal

from attrs import field, frozen

from confiture.escape import escape_control, escape_lines
from confiture.models.report import Fault, Finding, MigrationReport, NotSeen, Report
from confiture.output.reporters import RenderContext

Severity = Literal["error", "warning", "info"]
_RANKS = {"error": 0, "warning": 1, "info": 2}


@frozen
class Notice:
    """One message of a report; its texts hold no terminal or CI commands.

    Attributes:
        kind: ``unseen``: something could not be rehearsed or observed.
        rule: Of a finding; else ``migration-failed``, ``hook-failed``, ``refused``, ``stopped``,
            ``not-rehearsed`` or ``not-seen``.
        message: The problem, on one or more lines.
        migration: Version and name; empty for what concerns them all.
        file: Relative to the repository; ``None`` if it concerns no file.
        line: 1-based; ``None`` if not known.
        column: The same, in characters.
        recipe: SQL to write instead.
        basis: ``measured`` or ``static``, of a finding.
        fingerprint: Equal in every report format as long as the notice is the same.
    """

    kind: Literal["finding", "failure", "unseen"]
    rule: str
    severity: Severity
    message: str
    migration: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    relation: str | None = None
    recipe: str | None = None
    basis: str | None = None
    ignored: bool = False
    fingerprint: str = field(default="")

    @property
    def place(self) -> str:
        """``file:line:column``, as far as each is known."""
        known = (self.file, self.line, self.column if self.line else None)
        return ":".join(str(each) for each in known if each is not None) if self.file else ""


def collect_notices(report: Report, context: RenderContext) -> tuple[Notice, ...]:
    """Return all notices, the worst first and the ignored last."""
    told = sorted(_list_notices(report, context), key=_rank_notice)
    times: Counter[str] = Counter()
    return tuple(notice if notice.fingerprint else _add_fingerprint(notice, times) for notice in told)


def _rank_notice(notice: Notice) -> tuple[bool, int, bool, str, int]:
    rank = _RANKS[notice.severity]
    return (notice.ignored, rank, notice.kind != "failure", notice.file or "", notice.line or 0)


def _list_notices(report: Report, context: RenderContext) -> Iterator[Notice]:
    names = {each.version: format_label(each) for each in report.migrations}
    if report.fault:
        rule = "refused" if report.outcome == "refused" else "stopped"
        yield _build_failure(report.fault, rule, None, context)
    for migration in report.migrations:
        if migration.error:
            rule = "hook-failed" if migration.error.hook else "migration-failed"
            yield _build_failure(migration.error, rule, migration, context)
        yield from _build_not_rehearsed(migration, context)
        yield from (_build_not_seen(unseen, migration, context) for unseen in migration.not_seen)
    for finding in report.findings:
        yield _build_finding(
            finding, names.get(finding.migration, escape_control(finding.migration)), context
        )


def format_label(migration: MigrationReport) -> str:
    """Return version and name, as a person calls a migration."""
    return escape_control(f"{migration.version} {migration.name}".rstrip())


def _build_finding(finding: Finding, migration: str, context: RenderContext) -> Notice:
    return Notice(
        "finding",
        escape_control(finding.rule),
        finding.severity,
        _escape_lines(finding.message),
        migration,
        _format_file(finding.file, context),
        finding.line,
        relation=_escape_optional(finding.relation),
        recipe=_escape_lines(finding.recipe) if finding.recipe else None,
        basis=finding.basis,
        ignored=finding.ignored,
        fingerprint=escape_control(finding.fingerprint),
    )


def _build_failure(
    fault: Fault, rule: str, migration: MigrationReport | None, context: RenderContext
) -> Notice:
    more = {"detail": fault.detail, "hint": fault.hint, "SQLSTATE": fault.sqlstate}
    lines = [
        _escape_lines(fault.message),
        *(f"{name}: {_escape_lines(text)}" for name, text in more.items() if text),
    ]
    return Notice(
        "failure",
        rule,
        "error",
        "\n".join(lines),
        format_label(migration) if migration else "",
        _format_file(fault.file or (migration.file if migration else None), context),
        fault.line,
        fault.column,
    )


def _build_not_rehearsed(migration: MigrationReport, context: RenderContext) -> Iterator[Notice]:
    left_out = [
        (statement.line, statement.not_rehearsed)
        for statement in migration.statements
        if statement.not_rehearsed
    ]
    if migration.outcome == "not_rehearsed" and not left_out:
        left_out = [(None, migration.reason or "not rehearsed")]
    for line, reason in left_out:
        said = f"not rehearsed: {_escape_lines(reason)}"
        yield Notice(
            "unseen",
            "not-rehearsed",
            "warning",
            said,
            format_label(migration),
            _format_file(migration.file, context),
            line,
        )


def _build_not_seen(unseen: NotSeen, migration: MigrationReport, context: RenderContext) -> Notice:
    of = f" of {escape_control(unseen.relation)}" if unseen.relation else ""
    said = f"not seen: {escape_control(unseen.what)}{of}: {_escape_lines(unseen.reason)}"
    file = _format_file(migration.file, context)
    return Notice(
        "unseen",
        "not-seen",
        "info",
        said,
        format_label(migration),
        file,
        relation=_escape_optional(unseen.relation),
    )


def _add_fingerprint(notice: Notice, times: Counter[str]) -> Notice:
    from attrs import evolve

    # Not the line: what moves within its file is still the same.
    facts = "\0".join((notice.rule, notice.file or "", notice.migration, notice.message))
    times[facts] += 1
    text = f"{facts}\0{times[facts]}".encode("utf-8", "backslashreplace")
    return evolve(notice, fingerprint=sha256(text).hexdigest()[:32])


def _format_file(file: str | None, context: RenderContext) -> str | None:
    return _escape_optional(context.path(file))


def _escape_optional(text: str | None) -> str | None:
    return None if text is None else escape_control(text)


def _escape_lines(text: str) -> str:
    return "\n".join(escape_lines(text)).strip()
