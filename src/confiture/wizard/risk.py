"""Judge what a migration risks, from what its rehearsal measured and what its text says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confiture.models.report import Estimate, Finding, MigrationReport, StatementReport
from confiture.output.effects import list_long_blocks
from confiture.output.estimates import format_estimate
from confiture.output.format import join_names
from confiture.sql.parser import ParseError, parse
from confiture.units import format_count, format_duration
from confiture.wizard.card import Level, Risk

# The running application loses something that it reads or writes, or one of its INSERTs fails.
_BREAKS = frozenset(
    {
        "drop-column",
        "drop-table",
        "drop-schema",
        "drop-database",
        "rename-column",
        "rename-table",
        "rename-schema",
        "rename-enum-value",
        "add-column-not-null-no-default",
        "enable-rls-without-policy",
    }
)
_CHANGES = frozenset(
    {
        "drop-not-null",
        "change-type-rewrite",
        "change-type-index-rebuild",
        "change-type-recheck",
        "create-trigger",
        "drop-trigger",
        "create-rule",
        "replace-view",
        "set-not-null-scan",
    }
)
_REMOVES = frozenset(
    {"drop-column", "drop-table", "drop-schema", "drop-database", "truncate", "truncate-cascade"}
)
_LONG_MS = 60_000.0
_NOTABLE_MS = 5_000.0


def judge_risks(
    migration: MigrationReport, findings: Sequence[Finding], rows: Mapping[str, float]
) -> tuple[Risk, ...]:
    """Return the four risks of a migration, each with its reason; ``rows`` are those of each relation."""
    return (
        _judge_compatibility(findings),
        _judge_data_loss(migration, findings, rows),
        _judge_performance(migration),
        _judge_locking(migration, findings),
    )


def _judge_compatibility(findings: Sequence[Finding]) -> Risk:
    levels: tuple[tuple[Level, frozenset[str]], ...] = (("high", _BREAKS), ("medium", _CHANGES))
    for level, rules in levels:
        if found := [finding for finding in findings if finding.rule in rules]:
            return Risk("compatibility", level, _join_messages(found))
    return Risk("compatibility", "low", "removes and renames nothing that the running application uses")


def _judge_data_loss(
    migration: MigrationReport, findings: Sequence[Finding], rows: Mapping[str, float]
) -> Risk:
    removed = [finding for finding in findings if finding.rule in _REMOVES]
    filled = [finding for finding in removed if _count_rows(finding, rows) != 0]
    if filled:
        reason = "; ".join(_describe_removal(finding, rows) for finding in filled)
        return Risk("data loss", "high", reason)
    deleted = _sum_rows(migration.statements, "delete_stmt")
    if deleted:
        return Risk("data loss", "high", f"deletes {format_count(deleted, 'row')}")
    written = _sum_rows(migration.statements, "update_stmt", "merge_stmt")
    if written:
        return Risk("data loss", "medium", f"overwrites values in {format_count(written, 'row')}")
    if removed:
        return Risk("data loss", "low", f"{_join_messages(removed)}; it holds no rows")
    return Risk("data loss", "low", "removes and overwrites no row")


def _judge_performance(migration: MigrationReport) -> Risk:
    if unseen := find_unseen(migration):
        return Risk("performance", "medium", f"not measured: {unseen}")
    work = _describe_work(migration)
    estimate = migration.estimate
    if estimate is not None and estimate.known and estimate.interval90_ms:
        upper = estimate.interval90_ms[1]
        level: Level = "high" if upper >= _LONG_MS else "medium" if upper >= _NOTABLE_MS else "low"
        return Risk("performance", level, f"{work}; {format_estimate(estimate)} in production")
    took = migration.duration_ms or 0.0
    populated = bool(migration.rewrites) or bool(migration.long_blocks)
    level = "high" if took >= _LONG_MS else "medium" if took >= _NOTABLE_MS or populated else "low"
    return Risk(
        "performance", level, f"{work}; took {format_duration(took).strip()} here, production is not known"
    )


def _judge_locking(migration: MigrationReport, findings: Sequence[Finding]) -> Risk:
    if long := list_long_blocks(migration):
        names = join_names(block.relation for block in long)
        return Risk("locking", "high", f"blocks {names} for as long as the work on it takes")
    if unseen := find_unseen(migration):
        severe = any(finding.severity == "error" for finding in findings)
        return Risk("locking", "high" if severe else "medium", f"not measured: {unseen}")
    blocked = (*migration.blocks.reads, *migration.blocks.writes)
    if blocked:
        what = "reads and writes" if migration.blocks.reads else "writes"
        names = join_names(dict.fromkeys(blocked))
        return Risk("locking", "medium", f"blocks {what} of {names} briefly, once it has the lock")
    return Risk("locking", "low", "blocks nobody's reads or writes")


def find_unseen(migration: MigrationReport) -> str | None:
    """Return why a migration, or a statement of it, was not rehearsed; ``None`` if all of it was."""
    if migration.outcome == "not_rehearsed":
        return migration.reason or "it was not rehearsed"
    return next(
        (statement.not_rehearsed for statement in migration.statements if statement.not_rehearsed), None
    )


def _describe_work(migration: MigrationReport) -> str:
    parts = [
        f"{verb} {join_names(dict.fromkeys(names))}"
        for verb, names in (
            ("rewrites", migration.rewrites),
            ("builds", [build.index for build in migration.index_builds]),
            ("scans", migration.scans),
        )
        if names
    ]
    return ", ".join(parts) or "rewrites, builds and scans nothing"


def _join_messages(findings: Iterable[Finding]) -> str:
    return "; ".join(dict.fromkeys(finding.message for finding in findings))


def _count_rows(finding: Finding, rows: Mapping[str, float]) -> float | None:
    return rows.get(finding.relation or "")


def _describe_removal(finding: Finding, rows: Mapping[str, float]) -> str:
    count = _count_rows(finding, rows)
    if count is None:
        return finding.message
    return f"{finding.message}: about {format_count(round(count), 'row')}"


def _sum_rows(statements: Iterable[StatementReport], *kinds: str) -> int:
    return sum(statement.rows or 0 for statement in statements if _find_kind(statement.sql) in kinds)


def _find_kind(sql: str) -> str:
    try:
        return next((parsed.kind for parsed in parse(sql)), "")
    except ParseError:
        return ""


def format_time(migration: MigrationReport) -> str:
    """Return how long production would take, or what was measured here and why no more is known."""
    estimate: Estimate | None = migration.estimate
    if estimate is not None and estimate.known:
        return f"{format_estimate(estimate)} in production"
    if unseen := find_unseen(migration):
        return f"unknown: {unseen}"
    here = f"{format_duration(migration.duration_ms or 0.0).strip()} here"
    why = estimate.reason if estimate else "no statistics of production: --production FILE or URL"
    return f"{here}; in production unknown: {why}"
