"""Make the findings of a verification, and the report that has them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve

from confiture.models.report import Finding, Report, RuleText, Verdict
from confiture.plugins.kit import TableReader, format_count
from confiture_anonymize.copy_plan import TablePlan
from confiture_anonymize.profile import Profile

_PAGE = "https://www.postgresql.org/docs/current/"
CHECKS: Mapping[str, tuple[str, str]] = {
    "original-value": (
        "The copy holds an original value of a masked column.",
        "Values are compared by keyed hash: a row with its own original, or any text with one that is long"
        " enough not to be there by chance.",
    ),
    "rows": ("A table has rows too many or too few.", "The source has another number of rows."),
    "nulls": ("A column has values too many or too few.", "The profile makes another number of them NULL."),
    "values": (
        "A column that is kept does not have the values of the source.",
        "Rows are compared by primary key where there is one.",
    ),
    "mask": (
        "A column is not masked as the profile says.",
        "Masking the source once more gives other values than the copy has.",
    ),
    "second-run": (
        "A mask gives another result on each run.",
        "A sample was masked twice. The copy cannot be made again, and joins over it may be broken.",
    ),
    "distinct": (
        "Different values became one.",
        "The strategy promises that different values stay different.",
    ),
    "unique": (
        "A unique index of the source is missing in the copy, or not valid.",
        "Values that are unique in the source may be there twice.",
    ),
    "foreign-key": ("Rows refer to nothing.", "A foreign key of the copy is not whole."),
    "skipped": ("A skipped table has rows.", "The profile leaves the rows of this table out."),
    "k-anonymity": (
        "Quasi-identifiers single out rows.",
        "Fewer than k rows have the same values in the columns that the profile declares.",
    ),
}
"""What a check finds, and what that means; the rule of a finding is ``anonymize-`` and the check."""


def make_finding(check: str, where: str, message: str) -> Finding:
    """Return what a check found in a table or a column, without any value."""
    rule = f"anonymize-{check}"
    return Finding(
        rule=rule,
        severity="error",
        migration="",
        file="",
        line=None,
        relation=where,
        message=f"{where} {message}",
        recipe=None,
        basis="measured",
        ignored=False,
        # Without the message: the number of rows changes while the fault stays.
        fingerprint=hashlib.sha256(f"{rule}\0{where}".encode()).hexdigest()[:32],
    )


def build_report(findings: Iterable[Finding], plans: Sequence[TablePlan], profile: Profile) -> Report:
    """Return the report of a verification; each finding is at the rule that classifies its column."""
    places = _find_places(plans)
    placed = [
        evolve(finding, file=file, line=line)
        for finding in findings
        for file, line in [_locate(places.get(finding.relation or "", profile.reader))]
    ]
    found = {finding.rule for finding in placed}
    texts = (RuleText(f"anonymize-{check}", *texts, _PAGE) for check, texts in CHECKS.items())
    verdict = Verdict(
        False,
        "do not use this copy",
        "correct the profile or what changed the copy, then --drop and copy again",
    )
    return Report(
        mode="dry-run",
        outcome="ok",
        exit_code=int(bool(placed)),
        findings=tuple(placed),
        rules=tuple(text for text in texts if text.rule in found),
        verdict=verdict if placed else None,
        judged=f"{format_count(len(plans), 'table')} verified",
    )


def _find_places(plans: Sequence[TablePlan]) -> dict[str, TableReader]:
    return {
        f"{plan.table.label}.{column.column.name}": column.rule.options
        for plan in plans
        for column in plan.columns
        if column.rule is not None
    }


def _locate(reader: TableReader) -> tuple[str, int | None]:
    if reader.locate is None:
        return "", None
    file, _, line = reader.locate(reader.path).partition(":")
    return file, int(line) if line else None
