"""What is said of production: an interval in words and as a bar, a bound, or that it is not known."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from confiture.escape import inert
from confiture.models.report import Estimate, MigrationReport, Report
from confiture.output.format import duration

_BAR = 40


@frozen
class Blocked:
    """A table that production could not read or write.

    Attributes:
        relation: Its name.
        what: ``reads and writes``, ``reads`` or ``writes``.
        estimate: For how long.
        migration: By which.
    """

    relation: str
    what: str
    estimate: Estimate
    migration: MigrationReport


def words(estimate: Estimate) -> str:
    """Return an estimate on one line."""
    return f"in production: {lasting(estimate)}"


def lasting(estimate: Estimate) -> str:
    """Return how long, with the interval first; or why that is not known."""
    if not estimate.known or estimate.interval90_ms is None:
        said = [inert(each) for each in (estimate.reason, estimate.advice) if each]
        return f"not known{': ' if said else ''}{'; '.join(said)}"
    low, high = map(duration, estimate.interval90_ms)
    if estimate.p50_ms is None:
        return f"at most {high}{_waiting(estimate)}"
    parts = [f"{low} to {high} (nine times in ten), about {duration(estimate.p50_ms)}"]
    if estimate.confidence_percent is not None:
        parts.append(f"within 15 % of that: {estimate.confidence_percent:.0f} %")
    if estimate.scales_with:
        parts.append(f"grows with {inert(estimate.scales_with)}")
    return "; ".join(parts) + _waiting(estimate)


def _waiting(estimate: Estimate) -> str:
    if not estimate.lock_wait_ms:
        return ""
    return f"; beside waiting for locks, roughly {duration(estimate.lock_wait_ms)} at most"


def bar(estimate: Estimate) -> str | None:
    """Return the intervals as a bar from zero on; ``None`` where there is none."""
    if estimate.p50_ms is None or estimate.interval90_ms is None:
        return None
    most, half = estimate.interval90_ms, estimate.interval50_ms or estimate.interval90_ms
    scale = (_BAR - 1) / (most[1] or 1.0)
    cells = [" "] * _BAR
    for (low, high), mark in ((most, "─"), (half, "━")):
        for cell in range(round(low * scale), round(high * scale) + 1):
            cells[cell] = mark
    cells[round(estimate.p50_ms * scale)] = "┃"
    return f"0 {''.join(cells)} {duration(most[1])}"


def in_production(migration: MigrationReport) -> Iterator[str]:
    """Yield what is said of a migration: how long it takes, and which tables it makes wait."""
    if migration.estimate is None:
        return
    yield words(migration.estimate)
    if drawn := bar(migration.estimate):
        yield drawn
    for each in blocked_in_production(migration):
        yield f"in production {each.what} of {inert(each.relation)} blocked: {_how_long(each, migration)}"


def _how_long(blocked: Blocked, migration: MigrationReport) -> str:
    return (
        "as long as the whole"
        if blocked.estimate == migration.estimate
        else lasting(blocked.estimate).removesuffix(_waiting(blocked.estimate))
    )


def blocked_in_production(migration: MigrationReport) -> tuple[Blocked, ...]:
    """Return each table that would be blocked, reads and writes together where they are for the same time."""
    found: list[Blocked] = []
    for each in migration.unavailable:
        if each.reads is not None and each.reads == each.writes:
            found.append(Blocked(each.relation, "reads and writes", each.reads, migration))
            continue
        for what, estimate in (("reads", each.reads), ("writes", each.writes)):
            if estimate is not None:
                found.append(Blocked(each.relation, what, estimate, migration))
    return tuple(found)


def longest_in_production(report: Report) -> Blocked | None:
    """Return what would be blocked longest; what is not known counts as longer than anything."""
    found = [each for migration in report.migrations for each in blocked_in_production(migration)]
    return max(found, key=lambda each: _order(each.estimate), default=None)


def _order(estimate: Estimate) -> float:
    if not estimate.known or estimate.interval90_ms is None:
        return float("inf")
    return estimate.interval90_ms[1]


def headline(report: Report) -> str | None:
    """Return the sentence that matters most; ``None`` where production was not asked for."""
    if report.mode != "dry-run" or all(each.estimate is None for each in report.migrations):
        return None
    longest = longest_in_production(report)
    if longest is None:
        return "in production nobody's reads or writes would be blocked, as far as was seen"
    who = inert(f"{longest.migration.version} {longest.migration.name}".rstrip())
    if not longest.estimate.known:
        return (
            f"how long production would be blocked is not known: {longest.what} of "
            f"{inert(longest.relation)}, by {who}: {inert(longest.estimate.reason)}"
        )
    return (
        f"longest in production: {longest.what} of {inert(longest.relation)} blocked "
        f"{lasting(longest.estimate)}, by {who}"
    )
