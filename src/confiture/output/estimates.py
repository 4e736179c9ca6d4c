"""Render production estimates: an interval as text and as a bar, an upper bound, or *unknown*."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from confiture.escape import escape_control
from confiture.models.report import Estimate, MigrationReport, Report
from confiture.output.format import format_duration

_BAR_COLUMNS = 40


@frozen
class BlockedTable:
    """A table that would be blocked in production.

    Attributes:
        relation: Its name.
        access: ``reads and writes``, ``reads`` or ``writes``.
        estimate: How long it would be blocked.
        migration: The migration that would block it.
    """

    relation: str
    access: str
    estimate: Estimate
    migration: MigrationReport


def format_estimate_line(estimate: Estimate) -> str:
    """Return an estimate on one line."""
    return f"in production: {format_estimate(estimate)}"


def format_estimate(estimate: Estimate) -> str:
    """Return the interval and the point estimate; or *unknown* with the reason."""
    if not estimate.known or estimate.interval90_ms is None:
        parts = [escape_control(text) for text in (estimate.reason, estimate.advice) if text]
        return f"unknown{': ' if parts else ''}{'; '.join(parts)}"
    low, high = map(format_duration, estimate.interval90_ms)
    if estimate.p50_ms is None:
        return f"at most {high}{_format_lock_wait(estimate)}"
    parts = [f"{low} to {high} (nine times in ten), about {format_duration(estimate.p50_ms)}"]
    if estimate.confidence_percent is not None:
        parts.append(f"within 15 % of that: {estimate.confidence_percent:.0f} %")
    if estimate.scales_with:
        parts.append(f"grows with {escape_control(estimate.scales_with)}")
    return "; ".join(parts) + _format_lock_wait(estimate)


def _format_lock_wait(estimate: Estimate) -> str:
    if not estimate.lock_wait_ms:
        return ""
    return f"; plus waiting for locks, roughly {format_duration(estimate.lock_wait_ms)} at most"


def draw_bar(estimate: Estimate) -> str | None:
    """Return the intervals as a bar that starts at zero; ``None`` if there are none."""
    if estimate.p50_ms is None or estimate.interval90_ms is None:
        return None
    most, half = estimate.interval90_ms, estimate.interval50_ms or estimate.interval90_ms
    scale = (_BAR_COLUMNS - 1) / (most[1] or 1.0)
    cells = [" "] * _BAR_COLUMNS
    for (low, high), mark in ((most, "─"), (half, "━")):
        for cell in range(round(low * scale), round(high * scale) + 1):
            cells[cell] = mark
    cells[round(estimate.p50_ms * scale)] = "┃"
    return f"0 {''.join(cells)} {format_duration(most[1])}"


def describe_production(migration: MigrationReport) -> Iterator[str]:
    """Yield a migration's estimate: its duration and the tables it blocks."""
    if migration.estimate is None:
        return
    # The table blocked longest comes first: the number that people plan with.
    tables = sorted(
        list_blocked_tables(migration), key=lambda table: _rank_estimate(table.estimate), reverse=True
    )
    yield from map(describe_blocked_table, tables)
    yield format_estimate_line(migration.estimate)
    if drawn := draw_bar(migration.estimate):
        yield drawn


def describe_blocked_table(table: BlockedTable, where: str = " in production") -> str:
    """Return how long a table would be blocked, on one line: ``blocks writes of public.orders for …``."""
    blocks, estimate = f"blocks {table.access} of {escape_control(table.relation)}", table.estimate
    if not estimate.known or estimate.interval90_ms is None:
        parts = [escape_control(text) for text in (estimate.reason, estimate.advice) if text]
        return f"{blocks}{where} for an unknown time: {'; '.join(parts)}"
    low, high = map(format_duration, estimate.interval90_ms)
    if estimate.p50_ms is None:
        return f"{blocks} for at most {high}{where}"
    return f"{blocks} for about {format_duration(estimate.p50_ms)}{where} (90 %: {low} to {high})"


def list_blocked_tables(migration: MigrationReport) -> tuple[BlockedTable, ...]:
    """Return each table that would be blocked; reads and writes with one estimate share an entry."""
    found: list[BlockedTable] = []
    for table in migration.unavailable:
        if table.reads is not None and table.reads == table.writes:
            found.append(BlockedTable(table.relation, "reads and writes", table.reads, migration))
            continue
        for what, estimate in (("reads", table.reads), ("writes", table.writes)):
            if estimate is not None:
                found.append(BlockedTable(table.relation, what, estimate, migration))
    return tuple(found)


def find_longest_blocked(report: Report) -> BlockedTable | None:
    """Return the table blocked longest; an unknown time counts as longest."""
    found = [table for migration in report.migrations for table in list_blocked_tables(migration)]
    return max(found, key=lambda table: _rank_estimate(table.estimate), default=None)


def _rank_estimate(estimate: Estimate) -> float:
    if not estimate.known or estimate.interval90_ms is None:
        return float("inf")
    return estimate.interval90_ms[1]


def build_headline(report: Report) -> str | None:
    """Return the most important estimate as a sentence; ``None`` without estimates."""
    if report.mode != "dry-run" or all(migration.estimate is None for migration in report.migrations):
        return None
    longest = find_longest_blocked(report)
    if longest is None:
        return "no blocked reads or writes expected in production"
    who = escape_control(f"{longest.migration.version} {longest.migration.name}".rstrip())
    return f"in production: {who} {describe_blocked_table(longest, where='')}"
