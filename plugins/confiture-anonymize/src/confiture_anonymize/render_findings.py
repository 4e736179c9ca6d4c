"""Render what verification found, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from attrs import asdict

from confiture_anonymize.verify_copy import Finding


def render_text(findings: Sequence[Finding], tables: int) -> str:
    """Return one line per finding and a last line that sums up."""
    if not findings:
        return f"verified {tables} tables: no finding"
    lines = [f"{finding.where}: {finding.message}  [{finding.check}]" for finding in findings]
    return "\n".join((*lines, f"{len(findings)} findings in {tables} tables: do not use this copy"))


def render_json(findings: Sequence[Finding], tables: int) -> str:
    """Return the same as JSON."""
    return json.dumps({"tables": tables, "findings": [asdict(finding) for finding in findings]}, indent=2)
