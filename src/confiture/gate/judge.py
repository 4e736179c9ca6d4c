"""Judge a report by a policy: which findings count, and whether they fail the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from attrs import evolve

from confiture.config.gate_policy import FailOn, GatePolicy
from confiture.gate.scope import EVERYTHING, Scope
from confiture.models.report import Finding, MigrationReport, Report, Verdict
from confiture.units import format_count

NO_FILES: Mapping[str, str] = MappingProxyType({})
_FAILING_SEVERITIES: Mapping[FailOn, tuple[str, ...]] = MappingProxyType(
    {"error": ("error",), "warning": ("error", "warning"), "never": ()}
)


def judge_report(
    report: Report,
    policy: GatePolicy,
    *,
    scope: Scope = EVERYTHING,
    accepted: Collection[str] = (),
    files: Mapping[str, str] = NO_FILES,
    only_report: bool = False,
    table: str = "[gate] in confiture.toml",
) -> Report:
    """Add the exceeded limits, the ignored findings, the verdict and the exit code to a report.

    A report that already failed keeps its exit code: the failure matters more than the gate.

    Args:
        report: The result of a rehearsal or of lint.
        policy: The severities and limits that fail the gate.
        scope: The migrations to check.
        accepted: The fingerprints of accepted findings.
        files: The file of each version, spelled as in findings.
        only_report: True if the verdict must not change the exit code.
        table: Where the policy is written, for the next step.
    """
    # A failed rehearsal measured only the part that ran, so its totals cannot be held against limits.
    over = (
        _find_exceeded(_select_migrations(report, scope, files), policy, files)
        if _was_rehearsed(report)
        else ()
    )
    findings = tuple(_mark_ignored(finding, scope, accepted) for finding in (*report.findings, *over))
    marked = evolve(report, findings=findings, notes=(*report.notes, *_describe_scope(scope)))
    if report.outcome != "ok" or report.exit_code:
        return marked
    failing = select_failures(findings, policy.fail_on)
    return evolve(
        marked,
        exit_code=1 if failing and not only_report else 0,
        verdict=build_verdict(
            findings,
            failing,
            policy,
            only_report=only_report,
            table=table,
            suppressions={text.rule: text.suppression for text in report.rules if text.suppression},
            unrehearsed=_has_unrehearsed(report),
        ),
    )


def select_failures(findings: Collection[Finding], fail_on: FailOn) -> tuple[Finding, ...]:
    """Return the findings that fail a gate."""
    return tuple(
        finding
        for finding in findings
        if finding.severity in _FAILING_SEVERITIES[fail_on] and not finding.ignored
    )


def _find_exceeded(
    migrations: Sequence[MigrationReport], policy: GatePolicy, files: Mapping[str, str]
) -> tuple[Finding, ...]:
    from confiture.gate.limits import find_exceeded

    return find_exceeded(migrations, policy, files)


def _was_rehearsed(report: Report) -> bool:
    return report.outcome == "ok" and report.server_version is not None


def _has_unrehearsed(report: Report) -> bool:
    return any(
        migration.outcome == "not_rehearsed"
        or any(statement.not_rehearsed for statement in migration.statements)
        for migration in report.migrations
    )


def _select_migrations(report: Report, scope: Scope, files: Mapping[str, str]) -> tuple[MigrationReport, ...]:
    return tuple(
        migration
        for migration in report.migrations
        if scope.includes(migration.version, files.get(migration.version, migration.file))
    )


def _mark_ignored(finding: Finding, scope: Scope, accepted: Collection[str]) -> Finding:
    # A limit is never accepted: however far it is exceeded, the fingerprint is the same.
    is_accepted = finding.fingerprint in accepted and not finding.rule.startswith("limit-")
    counts = not is_accepted and scope.includes(finding.migration, finding.file)
    return finding if counts else evolve(finding, ignored=True)


def _describe_scope(scope: Scope) -> tuple[str, ...]:
    return (f"checked only migrations {scope.description}",) if scope.description else ()


_MAX_PLACES = 3


def build_verdict(
    findings: Collection[Finding],
    failing: Sequence[Finding],
    policy: GatePolicy,
    *,
    only_report: bool = False,
    table: str = "[gate] in confiture.toml",
    suppressions: Mapping[str, str] = NO_FILES,
    unrehearsed: bool = False,
) -> Verdict:
    """Return the gate's verdict and the user's next step."""
    if failing:
        result = "would fail" if only_report else "failed"
        return Verdict(
            False,
            f"gate: {result} ({_count_by_severity(failing)}): {_list_places(failing)}",
            _suggest_next_step(failing, table, suppressions, unrehearsed=unrehearsed),
        )
    if policy.fail_on == "never":
        return Verdict(True, 'gate: passed (fail_on = "never")')
    rest = [finding for finding in findings if not finding.ignored and finding.severity != "info"]
    counts = f" ({_count_by_severity(rest)})" if rest else ""
    return Verdict(True, f"gate: passed{counts}")


def _count_by_severity(findings: Collection[Finding]) -> str:
    counts = Counter(finding.severity for finding in findings)
    parts = [format_count(counts[name], name) for name in ("error", "warning") if counts[name]]
    return " and ".join(parts)


def _list_places(failing: Sequence[Finding]) -> str:
    places = list(dict.fromkeys(f"{finding.rule} at {_format_place(finding)}" for finding in failing))
    rest = len(places) - _MAX_PLACES
    return ", ".join(places[:_MAX_PLACES]) + (f" and {rest} more" if rest > 0 else "")


def _format_place(finding: Finding) -> str:
    where = finding.file or finding.migration or finding.relation or ""
    return where if finding.line is None else f"{where}:{finding.line}"


def _suggest_next_step(
    failing: Sequence[Finding], table: str, suppressions: Mapping[str, str], *, unrehearsed: bool
) -> str:
    limits = [finding for finding in failing if finding.rule.startswith("limit-")]
    others = [finding for finding in failing if finding not in limits]
    steps = []
    if any(other.recipe for other in others):
        steps.append('use the SQL under "instead"')
    if others:
        rule = others[0].rule
        above = f'suppress the finding above the statement: -- confiture: ignore {rule} reason="…"'
        steps.append(suppressions.get(rule, above))
    if unrehearsed and any(finding.basis == "static" for finding in limits):
        steps.append("rehearse in a copy, which can measure it: --in clone, or --in embedded")
    if limits:
        steps.append(f"split the migration, or raise the limit: {table}")
    return "; or ".join(steps)
