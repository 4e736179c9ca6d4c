"""Say on stderr how far a fleet run is."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from confiture.cli.error_messages import say
from confiture.escape import escape_control

if TYPE_CHECKING:
    from confiture.fleet.coordinator import Coordinator


_MOST_CAUSES = 3


class FleetProgress:
    """Says how far a run is, at most once a second, and that it waits between two waves."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.last = self.began = time.monotonic()

    def __call__(self, coordinator: Coordinator) -> None:
        """Say it, if a second has passed."""
        if self.quiet or (time.monotonic() - self.last < 1.0 and not coordinator.soaking):
            return
        self.last = time.monotonic()
        say([describe_progress(coordinator, time.monotonic() - self.began)])


def describe_progress(coordinator: Coordinator, elapsed_s: float) -> str:
    """Return how far a run is, how fast, how long the rest takes at this rate, and why targets failed."""
    from confiture.units import format_duration

    ended = coordinator.ended_before + coordinator.ended
    last = coordinator.wave + 1 + coordinator.waves_left
    line = f"wave {coordinator.wave + 1} of {last}: {ended} of {coordinator.total} ended,"
    line = f"{line} {coordinator.failures} failed, {len(coordinator.in_flight)} running"
    causes = _describe_causes(coordinator.causes)
    if coordinator.draining:
        return f"{line}; waiting for these, and then no further{causes}"
    soak_ms = 1000 * coordinator.policy.soak_s
    if coordinator.soaking:
        return f"{line}; the next wave begins in {format_duration(soak_ms)}{causes}"
    rate = coordinator.ended / elapsed_s if elapsed_s else 0.0
    if not rate:
        return f"{line}{causes}"
    left_ms = (coordinator.total - ended) / rate * 1000 + coordinator.waves_left * soak_ms
    return f"{line}; {rate:.3g}/s, {format_duration(left_ms).strip()} left{causes}"


def _describe_causes(causes: Counter[str]) -> str:
    shown = [f"{count} failed: {cause}" for cause, count in causes.most_common(_MOST_CAUSES)]
    more = len(causes) - len(shown)
    return "".join(f"; {escape_control(cause)}" for cause in shown) + (
        f"; {more} more causes" if more > 0 else ""
    )
