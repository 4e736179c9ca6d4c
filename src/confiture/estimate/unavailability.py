"""Estimate for how long a table cannot be read or written: from the statement that locks it to the release.

PostgreSQL releases locks at the end of a transaction, so a table stays blocked during all later steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from confiture.estimate.statement_estimate import Prediction, sum_predictions
from confiture.models.report import (
    Estimate,
    HookReport,
    Lock,
    MigrationReport,
    StatementReport,
    Unavailable,
)


@frozen
class PredictedStep:
    """A statement or a hook with its prediction."""

    step: StatementReport | HookReport
    prediction: Prediction


def predict_unavailability(
    migration: MigrationReport, steps: Sequence[PredictedStep], unaccounted: Prediction | None = None
) -> tuple[Unavailable, ...]:
    """Return the time for which each blocked table is unavailable, by name.

    Args:
        migration: The report of the migration.
        steps: Its statements and hooks in the order they ran.
        unaccounted: The prediction of the time outside of the steps; it counts for each table that stays
            blocked until the end.
    """
    unavailable = []
    for relation in _find_blocked(migration, steps):
        reads, writes = (
            _predict_wait(relation, access, migration, steps, unaccounted) for access in ("reads", "writes")
        )
        unavailable.append(Unavailable(relation, reads, writes))
    return tuple(unavailable)


def _find_blocked(migration: MigrationReport, steps: Sequence[PredictedStep]) -> list[str]:
    locks = {lock.relation for step in steps for lock in step.step.locks if lock.blocks}
    return sorted(locks | {*migration.blocks.reads} | {*migration.blocks.writes})


def _predict_wait(
    relation: str,
    access: str,
    migration: MigrationReport,
    steps: Sequence[PredictedStep],
    unaccounted: Prediction | None,
) -> Estimate | None:
    """Return how long reads or writes of a relation are blocked; ``None`` if they are not."""
    blocking = [*_find_blocking_steps(relation, access, migration, steps)]
    if not blocking:
        return None
    outlasting = [number for number, outlasts in blocking if outlasts]
    later = range(min(outlasting, default=len(steps)), len(steps))
    blocked = {number for number, _ in blocking} | set(later)
    predictions = [steps[number].prediction for number in sorted(blocked)]
    return sum_predictions([*predictions, unaccounted] if unaccounted and outlasting else predictions)


def _find_blocking_steps(
    relation: str, access: str, migration: MigrationReport, steps: Sequence[PredictedStep]
) -> Iterator[tuple[int, bool]]:
    """Yield the number of each step that blocks a relation, and True if the lock outlasts the step."""
    locks = [(number, lock) for number, step in enumerate(steps) for lock in step.step.locks]
    blocking = [
        (number, lock) for number, lock in locks if lock.relation == relation and access in lock.blocks
    ]
    if not blocking and relation in getattr(migration.blocks, access):
        # It is blocked by a lock on something else: one of its indexes, or its partitioned table. If it
        # is not known which, take the first lock, which gives the longest time.
        builds = [build for step in steps for build in getattr(step.step, "index_builds", ())]
        indexes = {build.index for build in builds if build.table == relation}
        blocking = [(number, lock) for number, lock in locks if lock.relation in indexes] or locks[:1]
    for number, lock in blocking:
        yield number, _outlasts_step(lock, number, steps)


def _outlasts_step(lock: Lock, number: int, steps: Sequence[PredictedStep]) -> bool:
    """Return True if a lock was held beyond its step; without a transaction it is not.

    A lock that was held for at least half of the later steps' time counts as held to the end.
    """
    if lock.transient or lock.held_ms is None:
        return not lock.transient
    return lock.held_ms >= 0.5 * sum(step.step.duration_ms for step in steps[number + 1 :])
