"""A report as one page for a browser or a printer: nothing is loaded, nothing in it runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from attrs import frozen

from confiture.escape import inert_lines
from confiture.models.report import (
    Estimate,
    Finding,
    MigrationReport,
    Report,
    StatementReport,
)
from confiture.output.effects import blocked, effects, how_long, is_quiet, long_blocks, longest_block, spread
from confiture.output.estimates import blocked_in_production, headline, lasting
from confiture.output.format import duration, glued, place, plural, pointed, shortened, size
from confiture.output.summary import DONE, summary
from confiture.output.timeline import Timeline, timeline

if TYPE_CHECKING:
    from jinja2 import Environment

_LANES = 12
_ALL_SHOWN = 20
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
class Section:
    """One migration on the page.

    Attributes:
        anchor: Where links go.
        notable: The numbered statements that are always shown.
        quiet: Those that are folded away.
    """

    anchor: str
    migration: MigrationReport
    timeline: Timeline | None
    notable: tuple[tuple[int, StatementReport], ...]
    quiet: tuple[tuple[int, StatementReport], ...]

    @property
    def longest(self) -> str:
        """What would be waited for longest, in words."""
        block = longest_block(Report("dry-run", "ok", 0, migrations=(self.migration,)))
        return block.words if block else ""


def render(report: Report) -> str:
    """Return the report as a page."""
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            report=report,
            summary=summary(report),
            good=report.outcome == "ok",
            longest=longest_block(report),
            production=headline(report),
            verdict=report.verdict if report.migrations or report.findings else None,
            sections=[_section(number, each) for number, each in enumerate(report.migrations, 1)],
            findings=_sorted(report.findings),
        )
    )


def render_text(title: str, text: str) -> str:
    """Return what another reporter wrote as a page."""
    return _templates().get_template("text.html.j2").render(title=title, text=text)


def _section(number: int, migration: MigrationReport) -> Section:
    numbered = list(enumerate(migration.statements, 1))
    notable = [each for each in numbered if len(numbered) <= _ALL_SHOWN or not is_quiet(each[1])]
    quiet = [each for each in numbered if each not in notable] if len(notable) < len(numbered) else []
    return Section(f"m{number}", migration, timeline(migration), tuple(notable), tuple(quiet))


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda each: (each.ignored, _SEVERITIES.index(each.severity)))


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("confiture.output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    templates.filters.update(
        duration=duration,
        size=size,
        plural=plural,
        shortened=shortened,
        effects=effects,
        spread=spread,
        glued=glued,
        long_blocks=long_blocks,
        source=_source,
        scale=_scale,
        lasting=lasting,
        blocked_in_production=blocked_in_production,
    )
    templates.globals.update(
        place=place,
        blocked=blocked,
        how_long=how_long,
        marks=MARKS,
        done=DONE,
        lanes_shown=_LANES,
        changed=lambda before, after: f"{before} → {after}",
    )
    return templates


def _shown(value: Any) -> Any:
    """Make every text on the page inert, whatever the template does with it; nothing for ``None``."""
    if value is None:
        return ""
    # What is markup already came through here piece by piece.
    return value if hasattr(value, "__html__") else "\n".join(inert_lines(value))


def _source(migration: MigrationReport) -> str:
    """Return the faulty line with a caret."""
    error, line = migration.error, migration.source_line
    return "\n".join(pointed(line, error.line, error.column)) if error and line is not None else ""


def _scale(estimate: Estimate) -> dict[str, Any] | None:
    """Return where an estimate and its intervals stand, in percent of the widest."""
    if not estimate.known or estimate.p50_ms is None:
        return None
    half, most = estimate.interval50_ms, estimate.interval90_ms
    end = 1.08 * max(estimate.p50_ms, *(half or (0,)), *(most or (0,))) or 1.0
    return {
        "p50": _percent(estimate.p50_ms, end),
        "half": [_percent(each, end) for each in half] if half else None,
        "most": [_percent(each, end) for each in most] if most else None,
    }


def _percent(value: float, end: float) -> float:
    return round(100 * value / end, 2)
