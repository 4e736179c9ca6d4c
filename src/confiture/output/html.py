"""Render a report as one page for a browser or a printer, which loads nothing and runs no scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from attrs import frozen

from confiture.escape import escape_code_lines
from confiture.models.report import (
    Estimate,
    Finding,
    MigrationReport,
    Report,
    StatementReport,
)
from confiture.output.effects import (
    describe_effects,
    describe_spread,
    find_longest_block,
    format_blocked,
    format_held_time,
    is_quiet,
    list_long_blocks,
)
from confiture.output.estimates import build_headline, format_estimate, list_blocked_tables
from confiture.output.fold_migrations import describe_folded, fold_migrations
from confiture.output.format import (
    format_count,
    format_duration,
    format_place,
    format_size,
    keep_units_together,
    render_source_line,
    shorten_sql,
)
from confiture.output.recipe_text import format_recipe
from confiture.output.summary import DONE_OUTCOMES, render_summary
from confiture.output.timeline import Timeline, build_timeline

if TYPE_CHECKING:
    from jinja2 import Environment

_MAX_OPEN_LANES = 12
_MAX_UNFOLDED = 20
_SEVERITIES = ("error", "warning", "info")
MARKS = {
    "applied": "✓ applied",
    "reverted": "✓ reverted",
    "rehearsed": "✓ rehearsed",
    "not_rehearsed": "~ not rehearsed",
    "failed": "✗ failed",
    "pending": "· not reached",
}


@frozen
class MigrationSection:
    """One migration on the page.

    Attributes:
        anchor: The id that links point to.
        notable: The numbered statements that are always shown.
        quiet: The numbered statements that are folded.
    """

    anchor: str
    migration: MigrationReport
    timeline: Timeline | None
    notable: tuple[tuple[int, StatementReport], ...]
    quiet: tuple[tuple[int, StatementReport], ...]

    @property
    def longest(self) -> str:
        """The longest block as a phrase; empty if there is none."""
        block = find_longest_block(Report("dry-run", "ok", 0, migrations=(self.migration,)))
        return block.description if block else ""


def render(report: Report) -> str:
    """Return the report as a page."""
    parts = fold_migrations(report.migrations)
    numbers = {id(migration): number for number, migration in enumerate(report.migrations, 1)}
    return (
        load_templates()
        .get_template("report.html.j2")
        .render(
            report=report,
            title=_build_title(report),
            summary=render_summary(report),
            good=not report.exit_code,
            longest=find_longest_block(report),
            production=build_headline(report),
            verdict=report.verdict if report.migrations or report.findings else None,
            sections=[_build_section(numbers[id(migration)], migration) for migration in parts.shown],
            folded=[_build_section(numbers[id(migration)], migration) for migration in parts.folded],
            folded_summary=describe_folded(parts.folded),
            findings=_sort_findings(report.findings),
        )
    )


def _build_title(report: Report) -> str:
    """Return the first words of the page: the summary, or why a rehearsal that succeeded fails the gate."""
    if report.outcome != "ok" or not report.exit_code:
        return render_summary(report)
    failing = Counter(finding.severity for finding in report.findings if not finding.ignored)
    counts = [format_count(failing[name], name) for name in ("error", "warning") if failing[name]]
    return f"the gate failed: {' and '.join(counts)}" if counts else f"failed: exit code {report.exit_code}"


def render_text(title: str, text: str) -> str:
    """Return a page that shows the text of another reporter."""
    return load_templates().get_template("text.html.j2").render(title=title, text=text)


def _build_section(number: int, migration: MigrationReport) -> MigrationSection:
    numbered = list(enumerate(migration.statements, 1))
    notable = [pair for pair in numbered if len(numbered) <= _MAX_UNFOLDED or not is_quiet(pair[1])]
    quiet = [pair for pair in numbered if pair not in notable] if len(notable) < len(numbered) else []
    return MigrationSection(f"m{number}", migration, build_timeline(migration), tuple(notable), tuple(quiet))


def _sort_findings(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.ignored, _SEVERITIES.index(finding.severity)))


@cache
def load_templates() -> Environment:
    """Return the templates of all pages; they escape every value."""
    # Imported here: jinja2 is slow to import, and only this format needs it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("confiture.output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_escape_value,
    )
    templates.filters.update(
        duration=format_duration,
        size=format_size,
        plural=format_count,
        shortened=shorten_sql,
        effects=describe_effects,
        spread=describe_spread,
        glued=keep_units_together,
        long_blocks=list_long_blocks,
        source=_render_source,
        scale=_compute_scale,
        lasting=format_estimate,
        recipe=_format_recipe,
        blocked_in_production=list_blocked_tables,
    )
    templates.globals.update(
        place=format_place,
        blocked=format_blocked,
        how_long=format_held_time,
        marks=MARKS,
        done=DONE_OUTCOMES,
        lanes_shown=_MAX_OPEN_LANES,
        changed=lambda before, after: f"{before} → {after}",
    )
    return templates


def _escape_value(value: Any) -> Any:
    """Escape control characters in every value that a template prints; ``None`` becomes empty."""
    if value is None:
        return ""
    # Markup was built from values that were escaped here before; escaping it again would show the tags.
    return value if hasattr(value, "__html__") else "\n".join(escape_code_lines(value))


def _format_recipe(finding: Finding) -> str:
    return format_recipe(finding.recipe, finding.files)


def _render_source(migration: MigrationReport) -> str:
    """Return the faulty source line with a caret below the column."""
    error, line = migration.error, migration.source_line
    return "\n".join(render_source_line(line, error.line, error.column)) if error and line is not None else ""


def _compute_scale(estimate: Estimate) -> dict[str, Any] | None:
    """Return the positions of an estimate and its intervals, in percent of the widest."""
    if not estimate.known or estimate.p50_ms is None:
        return None
    half, most = estimate.interval50_ms, estimate.interval90_ms
    # 8 % of space after the last mark, so that it is not cut off at the edge.
    end = 1.08 * max(estimate.p50_ms, *(half or (0,)), *(most or (0,))) or 1.0
    return {
        "p50": _compute_percent(estimate.p50_ms, end),
        "half": [_compute_percent(value, end) for value in half] if half else None,
        "most": [_compute_percent(value, end) for value in most] if most else None,
    }


def _compute_percent(value: float, end: float) -> float:
    return round(100 * value / end, 2)
