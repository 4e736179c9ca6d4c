"""Predict a rewrite of a table that has other indexes in production, by its parts."""

from __future__ import annotations

from collections.abc import Iterable


def estimate_rewrite_ms(
    rewrite_ms: float,
    built_here_ms: Iterable[float],
    pages_ratio: float,
    built_there_ms: Iterable[float],
) -> float:
    """Return what a rewrite takes in production, in milliseconds.

    What the rewrite took without building its indexes grows with the pages; what each of production's
    indexes takes to build, at production's size, comes on top.
    """
    own_ms = max(rewrite_ms - sum(built_here_ms), 0.0)
    return own_ms * pages_ratio + sum(built_there_ms)
