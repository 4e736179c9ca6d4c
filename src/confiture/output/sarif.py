"""SARIF 2.1.0: for code scanning, and whatever else reads findings of every tool in one form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from confiture import __version__
from confiture.models.report import Report
from confiture.output.notices import Notice, collect_notices
from confiture.output.reporters import RenderContext, Reporter

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def render(report: Report, context: RenderContext) -> str:
    """Return one SARIF run: notices with a file are results, the others notifications."""
    told = collect_notices(report, context)
    # Code scanning refuses a document with a result that is in no file.
    results = [notice for notice in told if notice.file and notice.kind != "unseen"]
    rules = sorted({result.rule for result in results})
    run = {
        "tool": {"driver": {"name": "confiture", "version": __version__, "rules": _build_rules(rules)}},
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": f"confiture/{report.mode}/"},
        "invocations": [_build_invocation(report, [notice for notice in told if notice not in results])],
        "results": [_build_result(result, rules) for result in results],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _build_rules(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": name, "shortDescription": {"text": name.replace("-", " ")}} for name in names]


def _build_invocation(report: Report, rest: Sequence[Notice]) -> dict[str, Any]:
    return {
        "executionSuccessful": report.outcome == "ok",
        "exitCode": report.exit_code,
        "toolExecutionNotifications": [
            {
                "descriptor": {"id": notice.rule},
                "level": _LEVELS[notice.severity],
                "message": {"text": f"{notice.migration} {notice.message}".strip()},
                **_build_location(notice),
            }
            for notice in rest
        ],
    }


def _build_result(notice: Notice, rules: Sequence[str]) -> dict[str, Any]:
    known = {
        "migration": notice.migration,
        "relation": notice.relation,
        "basis": notice.basis,
        "recipe": notice.recipe,
    }
    result: dict[str, Any] = {
        "ruleId": notice.rule,
        "ruleIndex": rules.index(notice.rule),
        "level": _LEVELS[notice.severity],
        "message": {"text": _render_text(notice)},
        **_build_location(notice),
        # The second is the name by which GitHub follows an alert from commit to commit.
        "partialFingerprints": {
            "confiture/v1": notice.fingerprint,
            "primaryLocationLineHash": f"{notice.fingerprint}:1",
        },
        "properties": {name: value for name, value in known.items() if value},
    }
    return {**result, "suppressions": [{"kind": "inSource"}]} if notice.ignored else result


def _render_text(notice: Notice) -> str:
    return f"{notice.message}\n\nWrite instead:\n{notice.recipe}" if notice.recipe else notice.message


def _build_location(notice: Notice) -> dict[str, Any]:
    if not notice.file:
        return {}
    region = {"startLine": notice.line or 1}
    if notice.line and notice.column:
        region["startColumn"] = notice.column
    return {
        "locations": [
            {"physicalLocation": {"artifactLocation": _build_artifact(notice.file), "region": region}}
        ]
    }


def _build_artifact(file: str) -> dict[str, str]:
    path = quote(file.encode("utf-8", "backslashreplace"), safe="/")
    # A relative reference may not begin like a scheme or a host: quote() leaves neither `:` nor `//`.
    return {"uri": f"file://{path}"} if file.startswith("/") else {"uri": path, "uriBaseId": "%SRCROOT%"}


REPORTER = Reporter("sarif", render)
