"""Decide which migrations of a long plan a report shows, and which it folds into one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import frozen

from confiture.models.report import MigrationReport
from confiture.output.effects import list_long_blocks
from confiture.output.format import format_count, format_duration
from confiture.output.summary import DONE_OUTCOMES

_MAX_UNFOLDED = 20
_RANKS = {"failed": 0, "not_rehearsed": 2}
_LONG_BLOCK_RANK, _OTHER_RANK = 1, 3


@frozen
class FoldedMigrations:
    """The migrations of a report, in two parts.

    Attributes:
        shown: Those that a reader looks at one by one, in order.
        folded: The others, in order.
    """

    shown: tuple[MigrationReport, ...]
    folded: tuple[MigrationReport, ...] = ()


def fold_migrations(migrations: Sequence[MigrationReport], most: int | None = None) -> FoldedMigrations:
    """Fold the quiet migrations of a long plan; a short plan is shown whole.

    Args:
        migrations: The migrations of a report.
        most: How many may be shown; the most important ones are. ``None`` for all that are not quiet.
    """
    if len(migrations) <= _MAX_UNFOLDED:
        return FoldedMigrations(tuple(migrations))
    notable = [number for number, migration in enumerate(migrations) if not is_quiet_migration(migration)]
    kept = set(sorted(notable, key=lambda number: _rank(migrations[number]))[:most])
    return FoldedMigrations(
        tuple(migration for number, migration in enumerate(migrations) if number in kept),
        tuple(migration for number, migration in enumerate(migrations) if number not in kept),
    )


def is_quiet_migration(migration: MigrationReport) -> bool:
    """Return True if nobody needs to look at a migration: it did its work and blocked nothing for long."""
    if migration.outcome == "pending":
        return True
    return migration.outcome in DONE_OUTCOMES and not (
        migration.long_blocks
        or migration.warnings
        or migration.on_commit
        or any(hook.outcome == "undone" for hook in migration.hooks)
        or any(message.is_warning for statement in migration.statements for message in statement.notices)
    )


def describe_folded(migrations: Sequence[MigrationReport]) -> str:
    """Return what the folded migrations did, in one line."""
    counts = Counter(_OUTCOMES.get(migration.outcome, migration.outcome) for migration in migrations)
    took = format_duration(sum(migration.duration_ms or 0 for migration in migrations))
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    loud = _count_loud(migrations)
    return f"{format_count(len(migrations), 'more migration')} in {took}: {outcomes}{loud or ', all quiet'}"


_OUTCOMES = {"pending": "not reached", "not_rehearsed": "not rehearsed"}


def _count_loud(migrations: Iterable[MigrationReport]) -> str:
    counts = {
        "with a long block": sum(bool(migration.long_blocks) for migration in migrations),
        "with warnings": sum(bool(migration.warnings) for migration in migrations),
    }
    return "".join(f", {number} {what}" for what, number in counts.items() if number)


def _rank(migration: MigrationReport) -> tuple[int, float]:
    """Return a key that puts the most important migration first."""
    longest_ms = max((block.held_ms or 0 for block in list_long_blocks(migration)), default=0.0)
    rank = _RANKS.get(migration.outcome, _LONG_BLOCK_RANK if migration.long_blocks else _OTHER_RANK)
    return rank, -longest_ms
