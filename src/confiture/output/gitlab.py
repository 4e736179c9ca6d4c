"""GitLab: the Code Quality report that a merge request shows next to its changes."""

from __future__ import annotations

import json
from typing import Any

from confiture.models.report import Report
from confiture.output.notices import Notice, collect_notices
from confiture.output.reporters import RenderContext, Reporter

_SEVERITIES = {"error": "critical", "warning": "major", "info": "info"}


def render(report: Report, context: RenderContext) -> str:
    """Return one entry for each notice that is not ignored."""
    entries = [_build_entry(notice) for notice in collect_notices(report, context) if not notice.ignored]
    return json.dumps(entries, indent=2) + "\n"


def _build_entry(notice: Notice) -> dict[str, Any]:
    # Code Climate's format, which GitLab's is a subset of, has the remedy under `content`.
    remedy = {"content": {"body": f"Write instead:\n\n```sql\n{notice.recipe}\n```"}} if notice.recipe else {}
    return {
        **remedy,
        "description": notice.message if notice.file else f"{notice.migration} {notice.message}".strip(),
        "check_name": notice.rule,
        "fingerprint": notice.fingerprint,
        "severity": _SEVERITIES[notice.severity],
        # GitLab drops an entry without a path or a line.
        "location": {"path": notice.file or ".", "lines": {"begin": notice.line or 1}},
    }


REPORTER = Reporter("gitlab", render)
