"""Render how the targets of a fleet differ: the majority, and those that deviate from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from confiture.escape import escape_control
from confiture.models.fleet_shape import FleetDrift, ShapeGroup
from confiture.output.format import (
    align_columns,
    format_count,
    join_names,
    style_bad,
    style_good,
    style_notable,
    style_quiet,
)
from confiture.output.listings import join_lines

_SHOWN_DIGITS = 12
_MOST_GROUPS = 20
_MOST_OBJECTS = 5


def render(drift: FleetDrift, *, colour: bool = False) -> str:
    """Return a line for each group of targets that are alike, and a summary."""
    return join_lines([*list_groups(drift), "", _summarize(drift)], colour)


def list_groups(drift: FleetDrift) -> list[str]:
    """Return the groups: most targets first, then those that differ from them, and in what."""
    aspects = {"schema": drift.schemas, "extensions": drift.extensions, "server": drift.servers}
    rows = [row for aspect, groups in aspects.items() for row in _build_rows(aspect, groups)]
    unread = [
        (style_bad("not read"), escape_control(target.name), "", escape_control(target.fault or ""))
        for target in drift.unread[:_MOST_GROUPS]
    ]
    more = len(drift.unread) - _MOST_GROUPS
    lines = align_columns([*rows, *unread]) if rows or unread else []
    return [*lines, *([style_quiet(f"and {more} more that cannot be read")] if more > 0 else [])]


def _build_rows(aspect: str, groups: Sequence[ShapeGroup]) -> Iterator[tuple[str, ...]]:
    for number, group in enumerate(groups[:_MOST_GROUPS]):
        value = group.value[:_SHOWN_DIGITS] if aspect == "schema" else group.value
        count = format_count(len(group.targets), "target")
        if number:
            names = join_names(group.targets)
            differences = f": {join_names(group.differences, _MOST_OBJECTS)}" if group.differences else ""
            yield style_notable(aspect), escape_control(value), count, f"{names}{differences}"
        else:
            yield aspect, escape_control(value), count, style_quiet("most" if len(groups) > 1 else "all")
    if rest := groups[_MOST_GROUPS:]:
        targets = sum(len(group.targets) for group in rest)
        yield style_notable(aspect), f"{len(rest)} others", format_count(targets, "target"), ""


def _summarize(drift: FleetDrift) -> str:
    total, unread = format_count(drift.count, "target"), len(drift.unread)
    tail = f", {unread} could not be read" if unread else ""
    if drift.deviants:
        verb = "differs" if len(drift.deviants) == 1 else "differ"
        return style_bad(f"{total}: {len(drift.deviants)} {verb} from most{tail}")
    return (style_bad if unread else style_good)(f"{total}: none differs{tail}")


def render_json(drift: FleetDrift) -> str:
    """Return the same as JSON, with every name."""
    return json.dumps({"schema_version": 1, **build_document(drift)}, indent=2) + "\n"


def build_document(drift: FleetDrift) -> dict[str, Any]:
    """Return the groups as JSON has them; the first of each is that of most targets."""
    return {
        "targets": drift.count,
        "deviants": sorted(drift.deviants),
        "schemas": _build_groups("fingerprint", drift.schemas),
        "extensions": _build_groups("extensions", drift.extensions),
        "servers": _build_groups("server", drift.servers),
        "unread": [{"name": target.name, "reason": target.fault} for target in drift.unread],
    }


def _build_groups(key: str, groups: Sequence[ShapeGroup]) -> list[dict[str, Any]]:
    return [
        {
            key: group.value,
            "targets": group.targets,
            **({"differences": group.differences} if key == "fingerprint" else {}),
        }
        for group in groups
    ]
