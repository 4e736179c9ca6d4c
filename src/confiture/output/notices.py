"""Collect a report's notices: findings, failures, and effects that could not be observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Literal

from attrs import field, frozen

from confiture.escape import escape_code_lines, escape_control, escape_lines
from confiture.models.report import Fault, Finding, MigrationReport, NotSeen, Report
from confiture.output.recipe_text import format_recipe
from confiture.output.reporters import RenderContext

Severity = Literal["error", "warning", "info"]
_RANKS = {"error": 0, "warning": 1, "info": 2}


@frozen
class Notice:
    """One message of a report; its texts are escaped, so they contain no terminal or CI commands.

    Attributes:
        kind: ``unseen``: something could not be rehearsed or observed.
        rule: The rule of a finding; else ``migration-failed``, ``hook-failed``, ``refused``, ``stopped``,
            ``server-warning``, ``not-rehearsed`` or ``not-seen``.
        message: The problem, on one or more lines.
        migration: Version and name; empty if the notice concerns no single migration.
        file: Relative to the repository; ``None`` if there is no file.
        line: 1-based; ``None`` if unknown.
        column: 1-based, in characters; ``None`` if unknown.
        recipe: The SQL to use instead: the files, each with its name.
        basis: ``measured`` or ``static``, for a finding.
        fingerprint: Identifies the notice; the same in every report format and after its line moves.
    """

    kind: Literal["finding", "failure", "warning", "unseen"]
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
        """``file:line:column``, without the parts that are unknown."""
        parts = (self.file, self.line, self.column if self.line else None)
        return ":".join(str(part) for part in parts if part is not None) if self.file else ""


def collect_notices(report: Report, context: RenderContext) -> tuple[Notice, ...]:
    """Return all notices, the worst first and the ignored last."""
    notices = sorted(_list_notices(report, context), key=_rank_notice)
    times: Counter[str] = Counter()
    return tuple(notice if notice.fingerprint else _add_fingerprint(notice, times) for notice in notices)


def _rank_notice(notice: Notice) -> tuple[bool, int, bool, str, int]:
    rank = _RANKS[notice.severity]
    return (notice.ignored, rank, notice.kind != "failure", notice.file or "", notice.line or 0)


def _list_notices(report: Report, context: RenderContext) -> Iterator[Notice]:
    names = {migration.version: format_label(migration) for migration in report.migrations}
    if report.error:
        rule = "refused" if report.outcome == "refused" else "stopped"
        yield _build_failure(report.error, rule, None, context)
    for migration in report.migrations:
        if migration.error:
            rule = "hook-failed" if migration.error.hook else "migration-failed"
            yield _build_failure(migration.error, rule, migration, context)
        yield from _build_server_warnings(migration, context)
        yield from _build_not_rehearsed(migration, context)
        yield from (_build_not_seen(unseen, migration, context) for unseen in migration.not_seen)
    for finding in report.findings:
        yield _build_finding(
            finding, names.get(finding.migration, escape_control(finding.migration)), context
        )


def format_label(migration: MigrationReport) -> str:
    """Return the version and name of a migration, separated by a space."""
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
        recipe="\n".join(escape_code_lines(format_recipe(finding.recipe, finding.files))).strip() or None,
        basis=finding.basis,
        ignored=finding.ignored,
        fingerprint=escape_control(finding.fingerprint),
    )


def _build_failure(
    fault: Fault, rule: str, migration: MigrationReport | None, context: RenderContext
) -> Notice:
    # The reason of a migration that failed is what it may have left.
    left = migration.reason if migration and migration.outcome == "failed" else None
    fields = {"detail": fault.detail, "hint": fault.hint, "left": left, "SQLSTATE": fault.sqlstate}
    lines = [
        _escape_lines(fault.message),
        *(f"{name}: {_escape_lines(text)}" for name, text in fields.items() if text),
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


def _build_server_warnings(migration: MigrationReport, context: RenderContext) -> Iterator[Notice]:
    for statement in migration.statements:
        for message in statement.notices:
            if message.is_warning:
                yield Notice(
                    "warning",
                    "server-warning",
                    "warning",
                    f"the server warned: {_escape_lines(message.message)}",
                    format_label(migration),
                    _format_file(migration.file, context),
                    statement.line,
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
        message = f"not rehearsed: {_escape_lines(reason)}"
        yield Notice(
            "unseen",
            "not-rehearsed",
            "warning",
            message,
            format_label(migration),
            _format_file(migration.file, context),
            line,
        )


def _build_not_seen(unseen: NotSeen, migration: MigrationReport, context: RenderContext) -> Notice:
    of = f" of {escape_control(unseen.relation)}" if unseen.relation else ""
    message = f"not seen: {escape_control(unseen.what)}{of}: {_escape_lines(unseen.reason)}"
    file = _format_file(migration.file, context)
    return Notice(
        "unseen",
        "not-seen",
        "info",
        message,
        format_label(migration),
        file,
        relation=_escape_optional(unseen.relation),
    )


def _add_fingerprint(notice: Notice, times: Counter[str]) -> Notice:
    from attrs import evolve

    # The line is left out, so that the fingerprint stays the same if a statement moves within its file.
    facts = "\0".join((notice.rule, notice.file or "", notice.migration, notice.message))
    times[facts] += 1
    text = f"{facts}\0{times[facts]}".encode("utf-8", "backslashreplace")
    return evolve(notice, fingerprint=sha256(text).hexdigest()[:32])


def _format_file(file: str | None, context: RenderContext) -> str | None:
    # An object of a schema that no migration creates has an empty name.
    return _escape_optional(context.path(file)) if file else None


def _escape_optional(text: str | None) -> str | None:
    return None if text is None else escape_control(text)


def _escape_lines(text: str) -> str:
    return "\n".join(escape_lines(text)).strip()
