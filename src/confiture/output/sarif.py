"""SARIF 2.1.0, for code scanning and other tools that read this standard format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from confiture import __version__
from confiture.escape import escape_control
from confiture.models.report import Report, RuleText
from confiture.output.notice_texts import find_text
from confiture.output.notices import Notice, collect_notices
from confiture.output.reporters import RenderContext, Reporter

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}


def render(report: Report, context: RenderContext) -> str:
    """Return one SARIF run: notices with a file are results, the others notifications."""
    notices = collect_notices(report, context)
    # GitHub code scanning refuses a document in which a result has no file.
    results = [notice for notice in notices if notice.file and notice.kind != "unseen"]
    rules = sorted({result.rule for result in results})
    rest = [notice for notice in notices if notice not in results]
    driver = {
        "name": "confiture",
        "version": __version__,
        "rules": _build_rules(rules, report),
        "notifications": _build_rules(sorted({notice.rule for notice in rest}), report),
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": f"confiture/{report.mode}/"},
        "invocations": [_build_invocation(report, rest)],
        "results": [_build_result(result, rules) for result in results],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _build_rules(names: Sequence[str], report: Report) -> list[dict[str, Any]]:
    own = {escape_control(text.rule): text for text in report.rules}
    return [_build_rule(name, own.get(name) or find_text(name)) for name in names]


def _build_rule(name: str, text: RuleText | None) -> dict[str, Any]:
    # Somebody built this report in Python, with findings of rules that it does not describe.
    if text is None:
        return {"id": name, "shortDescription": {"text": name.replace("-", " ")}}
    summary, description = escape_control(text.summary), escape_control(text.description)
    above = f'suppress the finding above the statement: -- confiture: ignore {name} reason="…"'
    suppression = escape_control(text.suppression) or above
    help_text = description if find_text(name) else f"{description} Or {suppression}"
    return {
        "id": name,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": f"{summary} {description}"},
        "help": {"text": help_text},
        "helpUri": text.help_uri,
    }


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
        # GitHub uses primaryLocationLineHash to recognize an alert in the next commit.
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
    # A relative reference must not look like a scheme or a host: quote() escapes `:`, and an absolute path
    # gets a scheme.
    return {"uri": f"file://{path}"} if file.startswith("/") else {"uri": path, "uriBaseId": "%SRCROOT%"}


REPORTER = Reporter("sarif", render)
