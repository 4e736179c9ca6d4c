"""Reporters, one module each: a report becomes words. Pure: nothing here opens, prints or connects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Literal

from confiture.output.reporters import BUILT_IN

What = Literal[
    "report",
    "status",
    "plan",
    "plugins",
    "order",
    "history",
    "verification",
    "repair",
    "baseline",
    "dump",
    "statistics",
    "rules",
    "calibration",
]

_HOMES: Mapping[str, Mapping[What, str]] = {
    "text": {
        "report": "text.render",
        "status": "listings.render_status",
        "plan": "listings.render_plan",
        "plugins": "listings.render_plugins",
        "order": "listings.render_order",
        "history": "listings.render_history",
        "verification": "listings.render_verification",
        "repair": "listings.render_repair",
        "baseline": "listings.render_baseline",
        "dump": "listings.render_dump",
        "statistics": "statistics_document.render",
        "rules": "rule_listing.render",
        "calibration": "calibration.render",
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
        "dump": "json.render_dump",
        "statistics": "statistics_document.render",
        "rules": "rule_listing.render_json",
        "calibration": "calibration.render_json",
    },
    "html": {"report": "html.render"},
}
LISTINGS = tuple(_HOMES)
"""What everything that is no report of a run can be had as."""
FORMATS = (*_HOMES, *BUILT_IN)
"""What ``--output`` knows without any plugin."""


def reporter(format: str, what: What) -> Callable[..., str]:
    """Return the function that renders ``what`` in one of ``LISTINGS``."""
    if what not in _HOMES[format]:
        return _as_text_in(format, what)
    module, _, function = _HOMES[format][what].partition(".")
    render: Callable[..., str] = getattr(import_module(f"confiture.output.{module}"), function)
    return render


def _as_text_in(format: str, what: What) -> Callable[..., str]:
    """Return a function that puts the text in a page: only a report has more to show there."""
    text = reporter("text", what)
    frame = import_module(f"confiture.output.{format}").render_text
    return lambda value: frame(what, text(value))
