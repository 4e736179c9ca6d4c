"""Reporters, one module each: functions from a report to text. None of them opens, prints or connects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Literal

from confiture.output.reporters import BUILTIN_FORMATS

OutputKind = Literal[
    "report",
    "status",
    "plan",
    "plugins",
    "order",
    "history",
    "verification",
    "repair",
    "baseline",
    "adoption",
    "fleet",
    "fleet_drift",
    "fleet_rehearsal",
    "dashboard",
    "dump",
    "statistics",
    "rules",
    "calibration",
    "schema_version",
    "drift",
    "version_diff",
]

# Names, not functions: a command imports only the one renderer that it needs.
_RENDERERS: Mapping[str, Mapping[OutputKind, str]] = {
    "text": {
        "report": "text.render",
        "status": "listings.render_status",
        "plan": "listings.render_plan",
        "plugins": "listings.render_plugins",
        "order": "listings.render_order",
        "history": "history_text.render_history",
        "verification": "listings.render_verification",
        "repair": "listings.render_repair",
        "baseline": "listings.render_baseline",
        "adoption": "adoption_text.render",
        "fleet": "fleet_text.render",
        "fleet_drift": "fleet_drift.render",
        "fleet_rehearsal": "fleet_rehearsal_text.render",
        "dashboard": "dashboard_page.render_text",
        "dump": "listings.render_dump",
        "statistics": "statistics_document.render",
        "rules": "rules_text.render",
        "calibration": "calibration.render",
        "schema_version": "schema_text.render_schema_version",
        "drift": "schema_text.render_drift",
        "version_diff": "schema_text.render_version_diff",
    },
    "json": {
        "report": "json.render",
        "status": "json.render_status",
        "plan": "json.render_plan",
        "plugins": "json.render_plugins",
        "order": "json.render_order",
        "history": "json.render_history",
        "verification": "json.render_verification",
        "repair": "json.render_repair",
        "baseline": "json.render_baseline",
        "adoption": "json.render_adoption",
        "fleet": "fleet_text.render_json",
        "fleet_drift": "fleet_drift.render_json",
        "fleet_rehearsal": "fleet_rehearsal_text.render_json",
        "dashboard": "dashboard_page.render_json",
        "dump": "json.render_dump",
        "statistics": "statistics_document.render",
        "rules": "rules_text.render_json",
        "calibration": "calibration.render_json",
        "schema_version": "json.render_schema_version",
        "drift": "json.render_drift",
        "version_diff": "json.render_version_diff",
    },
    "html": {"report": "html.render", "dashboard": "dashboard_page.render", "fleet": "fleet_map.render"},
}
# The results of these commands can be turned into a report, for the reporters of runs.
_REPORTS: Mapping[OutputKind, str] = {
    "fleet": "fleet_report.build_report",
    "fleet_rehearsal": "fleet_rehearsal_text.build_report",
}
LISTING_FORMATS = tuple(_RENDERERS)
"""The formats of listings: every document that is not a run's report."""
FORMATS = (*_RENDERERS, *BUILTIN_FORMATS)
"""The formats that ``--output`` accepts without a plugin."""


def make_report(kind: OutputKind, value: Any) -> Any:
    """Return the value as a report for reporters; the value itself if it is one."""
    if kind not in _REPORTS:
        return value
    module, _, function = _REPORTS[kind].partition(".")
    return getattr(import_module(f"confiture.output.{module}"), function)(value)


def load_renderer(format: str, kind: OutputKind) -> Callable[..., str]:
    """Return the function that renders ``kind`` in one of ``LISTING_FORMATS``."""
    if kind not in _RENDERERS[format]:
        return _wrap_text_renderer(format, kind)
    module, _, function = _RENDERERS[format][kind].partition(".")
    render: Callable[..., str] = getattr(import_module(f"confiture.output.{module}"), function)
    return render


def _wrap_text_renderer(format: str, kind: OutputKind) -> Callable[..., str]:
    """Return a function that puts the text into a page; only a report has a page template."""
    text = load_renderer("text", kind)
    frame = import_module(f"confiture.output.{format}").render_text
    return lambda value: frame(kind, text(value))
