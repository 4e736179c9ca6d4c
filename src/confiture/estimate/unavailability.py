"""For how long production could not read or write a table: from the lock that blocks it to its release."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

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

Access = Literal["reads", "writes"]


@frozen
class PredictedStep:
    """A statement or a hook, and what is known of it."""

    step: StatementReport | HookReport
    prediction: Prediction


def predict_unavailability(
    migration: MigrationReport, steps: Sequence[PredictedStep], unaccounted: Prediction | None = None
) -> tuple[Unavailable, ...]:
    """Return every table that others would wait for, by name; ``steps`` are in the order they ran."""
    found = []
    for relation in _find_blocked(migration, steps):
        reads, writes = (
            _predict_wait(relation, what, migration, steps, unaccounted) for what in ("reads", "writes")
        )
        found.append(Unavailable(relation, reads, writes))
    return tuple(found)


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
    """Return what passes while it is blocked; ``None`` where it is not."""
    takers = [*_find_blocking_steps(relation, access, migration, steps)]
    if not takers:
        return None
    lasting = [number for number, lasts in takers if lasts]
    meanwhile = {number for number, _ in takers} | set(range(min(lasting, default=len(steps)), len(steps)))
    passed = [steps[number].prediction for number in sorted(meanwhile)]
    return sum_predictions([*passed, unaccounted] if unaccounted and lasting else passed)


def _find_blocking_steps(
    relation: str, access: str, migration: MigrationReport, steps: Sequence[PredictedStep]
) -> Iterator[tuple[int, bool]]:
    """Yield the steps that block it, and whether it stays blocked when they are done."""
    own = [(number, lock) for number, step in enumerate(steps) for lock in step.step.locks]
    named = [(number, lock) for number, lock in own if lock.relation == relation and access in lock.blocks]
    if not named and relation in getattr(migration.blocks, access):
        # By a lock on something else: an index, or what it is a partition of; the first that there is.
        named = own[:1]
    for number, lock in named:
        yield number, _outlasts_step(lock, number, steps)


def _outlasts_step(lock: Lock, number: int, steps: Sequence[PredictedStep]) -> bool:
    """Whether it was held beyond its step: without a transaction it is not."""
    if lock.transient or lock.held_ms is None:
        return not lock.transient
    return lock.held_ms >= 0.5 * sum(step.step.duration_ms for step in steps[number + 1 :])
