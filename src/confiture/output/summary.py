"""Summarize a report in one sentence."""

from __future__ import annotations

from confiture.escape import escape_control
from confiture.models.report import Report
from confiture.output.format import format_count, format_duration

# 128 + the signal: SIGINT, SIGTERM.
_INTERRUPT_EXIT_CODES = (130, 143)
_ONE_IN = 10
_MOST_LABELS = 10
DONE_OUTCOMES = ("applied", "reverted", "rehearsed")


def render_summary(report: Report) -> str:
    """Return what was done; after a failure, how it ended and what was applied before."""
    if report.outcome != "ok":
        return _render_failure(report)
    if not report.migrations:
        return report.judged or "nothing to do"
    done = [migration for migration in report.migrations if migration.outcome in DONE_OUTCOMES]
    word = {"run": "applied", "dry-run": "rehearsed", "down": "reverted"}[report.mode]
    # `redo` reports a run in which the migration appears twice: reverted, then applied.
    if report.mode == "run" and (
        again := [migration for migration in done if migration.outcome == "reverted"]
    ):
        return f"{format_count(len(again), 'migration')} reverted and applied again"
    measured_ms = sum(migration.duration_ms or 0 for migration in report.migrations)
    took = format_duration(measured_ms if report.elapsed_ms is None else report.elapsed_ms)
    line = f"{format_count(len(done), 'migration')} {word} in {took}"
    left_out = len(report.migrations) - len(done)
    if leaves_out_many(report):
        way = ": rehearse them in a clone, --in clone" if report.in_transaction else ""
        return (
            f"{left_out} of {len(report.migrations)} migrations were not rehearsed{way}; {line}, nothing kept"
        )
    if report.mode == "dry-run":
        line += f", {left_out} not rehearsed; nothing kept" if left_out else ", nothing kept"
    return line


def leaves_out_many(report: Report) -> bool:
    """Return True if so much was not rehearsed that it is the first thing to say: over one in ten."""
    left_out = sum(migration.outcome == "not_rehearsed" for migration in report.migrations)
    return left_out > 1 and left_out * _ONE_IN > len(report.migrations)


def _render_failure(report: Report) -> str:
    if report.outcome == "refused":
        return "refused: nothing was begun"
    if report.mode == "dry-run":
        return "the rehearsal failed, nothing kept"
    before = [
        escape_control(f"{migration.version} {migration.name}".rstrip())
        for migration in report.migrations
        if migration.outcome in DONE_OUTCOMES
    ]
    redoing = any(migration.outcome == "reverted" for migration in report.migrations)
    word = "reverted" if report.mode == "down" or redoing else "applied"
    remains = _describe_remains(report)
    undone = "stopped" if remains else "rolled back"
    # If no migration failed, the run was stopped after a commit, and nothing is rolled back.
    failed = any(migration.outcome == "failed" for migration in report.migrations)
    if report.exit_code in _INTERRUPT_EXIT_CODES:
        undone = f"interrupted, {undone}" if failed else "interrupted"
    elif not failed:
        undone = "stopped"
    parts = [undone]
    if before:
        parts.append(f"{word} before: {_list_labels(before)}")
    elif not remains:
        parts.append(f"nothing was {word}")
    return "; ".join([*parts, *remains])


def _list_labels(labels: list[str]) -> str:
    if len(labels) <= _MOST_LABELS:
        return ", ".join(labels)
    return f"{len(labels)} migrations, the last of them {labels[-1]}"


def _describe_remains(report: Report) -> list[str]:
    """Return what failed migrations may have left: only then the engine sets their reason."""
    return [
        f"of {escape_control(f'{migration.version} {migration.name}'.rstrip())}, "
        f"{escape_control(migration.reason)}"
        for migration in report.migrations
        if migration.outcome == "failed" and migration.reason
    ]
