"""Render fingerprints, drift and the differences of two versions for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from confiture.escape import escape_code_lines, escape_control
from confiture.models.schema import Drift, ObjectDifference, ObjectVersion, SchemaVersion, VersionDiff
from confiture.output.format import format_count, style_bad, style_good, style_quiet
from confiture.output.listings import join_lines

_BASES = {"recorded": "the runs recorded", "migrations": "the applied migrations make"}


def render_schema_version(version: SchemaVersion, *, colour: bool = False) -> str:
    """Return the fingerprint, alone on the first line so that a script can use it, and then the objects."""
    lines = [version.fingerprint, *(line for item in version.objects for line in _list_versions(item))]
    return join_lines([escape_control(line) for line in lines], colour)


def _list_versions(item: ObjectVersion) -> Iterator[str]:
    yield f"{item.identity}  {item.version or 'no version'}"
    for change in item.changes:
        by = f"by {change.by}" if change.by else None
        words = "  ".join(filter(None, (change.at, change.kind, by)))
        yield f"    {words}" + (f": {change.description}" if change.description else "")


def render_drift(drift: Drift, *, colour: bool = False) -> str:
    """Return a unified diff for each object that drifted, or that there is none."""
    basis = _BASES[drift.against]
    if drift.unread:
        basis += f", because the schema was not read after {escape_control(drift.unread)}"
    if not drift.differences:
        compared = format_count(drift.compared, "object")
        return join_lines([style_good(f"no drift: {compared} compared with what {basis}")], colour)
    summary = f"{_count(drift.differences)}; compared with what {basis}"
    return join_lines([*_render_diffs(drift.differences), style_bad(summary)], colour)


def render_version_diff(diff: VersionDiff, *, colour: bool = False) -> str:
    """Return a unified diff for each object that is not the same in both versions."""
    versions = f"between {diff.before} and {diff.after}"
    if not diff.differences:
        return join_lines([f"the schema does not differ {escape_control(versions)}"], colour)
    summary = escape_control(f"{_count(diff.differences)} {versions}")
    return join_lines([*_render_diffs(diff.differences), summary], colour)


def _count(differences: Sequence[ObjectDifference]) -> str:
    counts = Counter(difference.change for difference in differences)
    parts = ", ".join(
        f"{counts[change]} {change}" for change in ("added", "removed", "changed") if counts[change]
    )
    verb = "differs" if len(differences) == 1 else "differ"
    return f"{format_count(len(differences), 'object')} {verb} ({parts})"


def _render_diffs(differences: Sequence[ObjectDifference]) -> list[str]:
    return [
        line
        for difference in differences
        for line in (*map(_style_line, escape_code_lines(difference.diff)), "")
    ]


def _style_line(line: str) -> str:
    if line.startswith(("---", "+++", "@@")):
        return style_quiet(line)
    return style_good(line) if line.startswith("+") else style_bad(line) if line.startswith("-") else line
