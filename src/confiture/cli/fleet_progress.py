"""Say on stderr how far a fleet run is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confiture.cli.error_messages import say

if TYPE_CHECKING:
    from confiture.fleet.coordinator import Coordinator


class FleetProgress:
    """Says how far a run is, at most once a second."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.last = self.began = time.monotonic()

    def __call__(self, coordinator: Coordinator) -> None:
        """Say it, if a second has passed."""
        if self.quiet or time.monotonic() - self.last < 1.0:
            return
        self.last = time.monotonic()
        say([describe_progress(coordinator, time.monotonic() - self.began)])


def describe_progress(coordinator: Coordinator, elapsed_s: float) -> str:
    """Return how far a run is, how fast, and how long the rest takes at this rate."""
    from confiture.units import format_duration

    ended = coordinator.ended_before + coordinator.ended
    line = f"{ended} of {coordinator.total} ended, {coordinator.failures} failed"
    line = f"wave {coordinator.wave + 1}: {line}, {len(coordinator.in_flight)} running"
    if coordinator.draining:
        return f"{line}; waiting for these, and then no further"
    rate = coordinator.ended / elapsed_s if elapsed_s else 0.0
    if not rate:
        return line
    left_ms = (coordinator.total - ended) / rate * 1000
    return f"{line}; {rate:.3g}/s, {format_duration(left_ms).strip()} left"
