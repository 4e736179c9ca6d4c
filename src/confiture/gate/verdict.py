"""The gate's verdict in a sentence, and the next step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from confiture.gate.policy import Policy
from confiture.models.report import Finding, Verdict

_MOST = 3


def verdict(
    findings: Collection[Finding], failing: Sequence[Finding], policy: Policy, *, only_report: bool = False
) -> Verdict:
    """Return what the gate says, and what its reader does now."""
    if failing:
        says = "the gate would say no" if only_report else "the gate says no"
        return Verdict(False, f"{says}: {_counted(failing)}: {_places(failing)}", _next_step(failing))
    if policy.fail_on == "never":
        return Verdict(True, 'the gate fails on nothing: fail_on = "never"')
    rest = [each for each in findings if not each.ignored and each.severity != "info"]
    beside = f", with {_counted(rest)}" if rest else ""
    return Verdict(True, f"the gate lets it pass{beside}")


def _counted(findings: Collection[Finding]) -> str:
    counts = Counter(each.severity for each in findings)
    said = [
        f"{counts[name]} {name}{'s' * (counts[name] != 1)}" for name in ("error", "warning") if counts[name]
    ]
    return " and ".join(said)


def _places(failing: Sequence[Finding]) -> str:
    said = list(dict.fromkeys(f"{each.rule} at {_place(each)}" for each in failing))
    rest = len(said) - _MOST
    return ", ".join(said[:_MOST]) + (f" and {rest} more" if rest > 0 else "")


def _place(finding: Finding) -> str:
    where = finding.file or finding.migration
    return where if finding.line is None else f"{where}:{finding.line}"


def _next_step(failing: Sequence[Finding]) -> str:
    limits = [each for each in failing if each.rule.startswith("limit-")]
    others = [each for each in failing if each not in limits]
    steps = []
    if any(each.recipe for each in others):
        steps.append('write what stands under "instead"')
    if others:
        steps.append(
            f'say above the statement why it may pass: -- confiture: ignore {others[0].rule} reason="…"'
        )
    if limits:
        steps.append("do less at a time, or raise the limit in [tool.confiture.gate]")
    return "; or ".join(steps)
