"""Render exported statistics; the text format is the same JSON document."""

from __future__ import annotations

import json

from confiture.estimate.statistics import Statistics, to_json


def render(statistics: Statistics, *, colour: bool = False) -> str:  # noqa: ARG001 - a file to be kept
    """Return the JSON document of an export."""
    return json.dumps(to_json(statistics), indent=1, ensure_ascii=False) + "\n"
