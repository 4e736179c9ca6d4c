"""Render the result of ``adopt`` for a terminal."""

from __future__ import annotations

from confiture.escape import escape_control
from confiture.models.ledger import AdoptionResult, AdoptionStep
from confiture.output.format import align_columns, format_count, style_good, style_notable, style_quiet
from confiture.output.listings import join_lines

_LABELS = {
    "recorded": style_good("✓ recorded"),
    "would-record": style_notable("· would be recorded"),
    "applied": style_quiet("· applied already"),
    "pending": style_notable("· pending"),
    "forgotten": style_notable("✓ forgotten"),
    "would-forget": style_notable("· would be forgotten"),
}


def render(adoption: AdoptionResult, *, colour: bool = False) -> str:
    """Return a line a migration, how many are recorded, and the line for the configuration."""
    rows = align_columns([_build_row(step) for step in adoption.migrations]) if adoption.migrations else []
    return join_lines(
        [_render_title(adoption), "", *rows, "", *adoption.notes, *_render_summary(adoption)], colour
    )


def _build_row(step: AdoptionStep) -> tuple[str, ...]:
    return _LABELS[step.outcome], escape_control(step.version), escape_control(step.name)


def _render_title(adoption: AdoptionResult) -> str:
    shown = f", as {escape_control(adoption.evidence)} shows" if adoption.evidence else ""
    kept = (
        f"ledger {escape_control(adoption.tool_table)}"
        if adoption.tool_table
        else "this database has no ledger of it"
    )
    return f"migrations of {adoption.title}{shown}; {kept}"


def _render_summary(adoption: AdoptionResult) -> list[str]:
    outcomes = [step.outcome for step in adoption.migrations]
    new = len([outcome for outcome in outcomes if outcome in ("recorded", "would-record")])
    word = "would be recorded" if adoption.dry_run else "recorded"
    lines = [style_good(f"{format_count(new, 'migration')} {word} as applied, none was run")]
    if undone := len([outcome for outcome in outcomes if outcome in ("forgotten", "would-forget")]):
        word = "would be forgotten" if adoption.dry_run else "forgotten"
        lines.append(
            f"{format_count(undone, 'migration')} {word}: {adoption.title} has undone what is pending now"
        )
    if waiting := outcomes.count("pending"):
        lines.append(f"{waiting} pending: confiture dry-run")
    if adoption.mirror:
        lines.append(f"every run also records in {escape_control(adoption.tool_table or '')} what it applies")
    return [*lines, f'for CI and new databases, write into the configuration: source = "{adoption.source}"']
