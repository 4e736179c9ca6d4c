"""Sort migrations that name what they require."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Any


def sort_by_requirements(requires: Mapping[str, Sequence[str]], keys: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names, each after all that it requires; where that leaves it open, by their keys.

    Names that require themselves, over others, are left out.
    """
    waiting = {name: set(required) for name, required in requires.items()}
    dependents: dict[str, list[str]] = {}
    for name, required in waiting.items():
        for before in required:
            dependents.setdefault(before, []).append(name)
    ready: list[tuple[Any, str]] = []
    for name, required in waiting.items():
        if not required:
            heappush(ready, (keys[name], name))
    found: list[str] = []
    while ready:
        before = heappop(ready)[1]
        found.append(before)
        for name in dependents.get(before, ()):
            waiting[name].discard(before)
            if not waiting[name]:
                heappush(ready, (keys[name], name))
    return tuple(found)
