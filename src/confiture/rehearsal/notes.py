"""Write the notes of a rehearsal in a transaction: whom it blocked, and how it differs from a run."""

from __future__ import annotations

from collections.abc import Sequence

from confiture.models.report import MigrationReport
from confiture.sql.statement_kind import reads_transaction_time


def collect_notes(migrations: Sequence[MigrationReport]) -> tuple[str, ...]:
    """Return the notes for the report."""
    return tuple(
        filter(
            None,
            (
                _describe_blocking(migrations),
                _describe_shared_now(migrations),
                _describe_hidden_hook_locks(migrations),
            ),
        )
    )


def _describe_blocking(migrations: Sequence[MigrationReport]) -> str | None:
    """Say how long the rehearsal blocked the relation that it blocked longest."""
    # All migrations share one transaction, so a lock is held until the end of the plan, not of its migration.
    longest: dict[str, float] = {}
    later_ms = 0.0
    for migration in reversed(migrations):
        for lock in migration.locks:
            if lock.blocks and lock.held_ms is not None:
                held_ms = lock.held_ms if lock.transient else lock.held_ms + later_ms
                longest[lock.relation] = max(held_ms, longest.get(lock.relation, 0.0))
        later_ms += migration.duration_ms or 0.0
    if not longest:
        return None
    relation = max(longest, key=lambda name: longest[name])
    others = f", and {len(longest) - 1} more for less" if len(longest) > 1 else ""
    return f"this rehearsal itself blocked {relation} for up to {longest[relation]:.0f} ms{others}"


def _describe_hidden_hook_locks(migrations: Sequence[MigrationReport]) -> str | None:
    later = [migration for migration in migrations if migration.outcome == "rehearsed"][1:]
    if not any(migration.hooks for migration in later):
        return None
    return (
        "a hook's LOCK does not show if an earlier migration of the plan already holds the same lock; "
        "--in clone shows it"
    )


def _describe_shared_now(migrations: Sequence[MigrationReport]) -> str | None:
    rehearsed = [migration for migration in migrations if migration.outcome == "rehearsed"]
    if len(rehearsed) < 2 or not any(
        reads_transaction_time(statement.sql) for migration in rehearsed for statement in migration.statements
    ):
        return None
    return "now() was the same for all migrations, because they were rehearsed in one transaction"
