"""Choose the targets that a fleet's rehearsal is about: by their size, and one of each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from confiture.models.fleet_shape import TargetShape

MOST_SAMPLED = 12
"""A rehearsal locks what it changes until it is rolled back: a fleet of any size pays for so many."""

Kind = tuple[tuple[str, ...] | None, str | None]


@frozen
class SampleChoice:
    """One target of the sample.

    Attributes:
        shape: The target.
        why: Why it was chosen.
    """

    shape: TargetShape
    why: str


def get_kind(shape: TargetShape) -> Kind:
    """Return what makes two targets alike: the pending migrations, and the schema that they meet."""
    return shape.pending, shape.fingerprint


def group_by_kind(shapes: Sequence[TargetShape]) -> list[list[TargetShape]]:
    """Return the targets with something to do by their kind, the most frequent kind first."""
    kinds: dict[Kind, list[TargetShape]] = {}
    for shape in shapes:
        if shape.pending:
            kinds.setdefault(get_kind(shape), []).append(shape)
    return sorted(kinds.values(), key=len, reverse=True)


def choose_sample(shapes: Sequence[TargetShape]) -> tuple[tuple[SampleChoice, ...], int]:
    """Return the sample, and how many kinds are not in it.

    The smallest, the median and the largest target are always in it, then the largest of each kind that has
    none yet, the most frequent kind first, until there are ``MOST_SAMPLED``.
    """
    kinds = group_by_kind(shapes)
    # One target may be both the smallest and the largest.
    chosen = {choice.shape.name: choice for choice in reversed([*_choose_by_size(shapes)])}
    sample = list(reversed(chosen.values()))
    covered = {get_kind(choice.shape) for choice in sample}
    others = [kind for kind in kinds if get_kind(kind[0]) not in covered]
    room = MOST_SAMPLED - len(sample)
    sample += [_choose_of_kind(kind, kinds[0]) for kind in others[:room]]
    return tuple(sample), len(others[room:])


def _choose_by_size(shapes: Sequence[TargetShape]) -> Iterator[SampleChoice]:
    ordered = sorted((shape for shape in shapes if shape.pending), key=lambda shape: shape.size_bytes or 0)
    if ordered:
        yield SampleChoice(ordered[0], "smallest")
        yield SampleChoice(ordered[len(ordered) // 2], "median")
        yield SampleChoice(ordered[-1], "largest")


def _choose_of_kind(kind: Sequence[TargetShape], most: Sequence[TargetShape]) -> SampleChoice:
    largest = max(kind, key=lambda shape: shape.size_bytes or 0)
    what = "schema" if largest.pending == most[0].pending else "pending migrations"
    return SampleChoice(largest, f"other {what}")
