"""The observer of a phase's hooks: in a run it does nothing, in a rehearsal it is the tracer."""

from __future__ import annotations

import time
from typing import Any, Protocol

Results = list[list[tuple[Any, ...]]]


class HookObserver(Protocol):
    """Watches hooks through the guard's own messages, so that tracing a hook costs no round trip."""

    @property
    def snapshot_sql(self) -> str:
        """SQL that takes a snapshot, for the guard to append to its message; may be empty."""

    def read_clock_ms(self) -> float:
        """Return the observer's clock, in milliseconds, without the time that observing took."""

    def take_snapshots(self, results: Results, count: int = 1) -> Results:
        """Keep the last ``count`` snapshots of these results and return the rest, which are the guard's."""

    def end_hook(self, since_ms: float) -> None:
        """Note what the hook that began at ``since_ms`` did, from the snapshots kept since the last hook."""


class NoHookObserver:
    """Observes nothing: for a run, or for a phase outside any migration."""

    snapshot_sql = ""

    def read_clock_ms(self) -> float:
        """Return the clock, in milliseconds."""
        return time.perf_counter() * 1000

    def take_snapshots(self, results: Results, count: int = 1) -> Results:  # noqa: ARG002 - the protocol's
        """Return all results: none of them is a snapshot."""
        return results

    def end_hook(self, since_ms: float) -> None:
        """Do nothing."""
