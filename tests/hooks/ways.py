"""The ways in which a hook is reached: six of the twelve, so that every pair of properties meets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import pytest
from attrs import frozen


@frozen
class Way:
    """One way in which a hook is reached.

    Attributes:
        mode: ``run``, ``dry-run`` or ``down``.
        kind: Of the migration: ``sql`` or ``python``.
        transactional: Whether that runs in a transaction.
    """

    mode: str
    kind: str
    transactional: bool = True

    @property
    def own(self) -> bool:
        """Whether the hook is in the migration's own list; if not, it is a plugin's."""
        return self.kind == "python"

    @property
    def keeps(self) -> bool:
        return self.mode != "dry-run"

    def __str__(self) -> str:
        return f"{self.mode}-{self.kind}{'' if self.transactional else '-no-transaction'}"


# Two halves, and every mode is in each: three modes and two kinds have six pairs, so fewer cannot do.
_HALVES = (
    (Way("run", "sql"), Way("dry-run", "python"), Way("down", "sql", transactional=False)),
    (
        Way("run", "python", transactional=False),
        Way("dry-run", "sql", transactional=False),
        Way("down", "python"),
    ),
)
WAYS = tuple(way for half in _HALVES for way in half)


def spread_over_ways(argument: str, values: Sequence[Any], ids: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Parametrize a test that uses ``scene``: each value meets every mode, and the values share all ways."""
    names = ids or [getattr(value, "__name__", str(value)) for value in values]
    pairs = [
        pytest.param(way, value, id=f"{way}-{name}")
        for half, value, name in zip(cycle(_HALVES), values, names, strict=False)
        for way in half
    ]
    return pytest.mark.parametrize(("scene", argument), pairs, indirect=["scene"])
