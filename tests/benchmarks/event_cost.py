"""Run migrations, every other one without its event, and print as JSON what the events and the reads cost.

Both sides are migrations of one run in one session, so that a busy machine slows both alike: two runs, one with
events and one without, differ by more than an event costs. Called by ``make bench`` with a URL and a folder.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

from attrs import define, field

from confiture.cli import main
from confiture.engine.runner import MigrationResult, Runner
from confiture.ledger.event_recorder import EventRecorder
from confiture.migrations.prepare import PreparedMigration
from confiture.models.event import NewEvent


@define
class EventCost:
    """Times the migrations of a run, and leaves out the event of every other one.

    Attributes:
        with_ms: The times of the migrations with an event, without reading the schema.
        without_ms: The times of those without.
        reads_ms: The times of reading the schema.
    """

    with_ms: list[float] = field(factory=list)
    without_ms: list[float] = field(factory=list)
    reads_ms: list[float] = field(factory=list)
    _skips: bool = False

    def install(self) -> None:
        """Replace what a run calls by what times it."""
        run, render, read = Runner.run, EventRecorder.render_success_sql, EventRecorder._read_schema

        def run_timed(runner: Runner, work: PreparedMigration) -> MigrationResult:
            read_before, began = sum(self.reads_ms), time.perf_counter()
            result = run(runner, work)
            taken_ms = (time.perf_counter() - began) * 1000 - (sum(self.reads_ms) - read_before)
            (self.without_ms if self._skips else self.with_ms).append(taken_ms)
            self._skips = not self._skips
            return result

        def render_or_skip(recorder: EventRecorder, event: NewEvent) -> str:
            return "" if self._skips else render(recorder, event)

        def read_timed(recorder: EventRecorder, query: str) -> list[tuple[Any, ...]]:
            began = time.perf_counter()
            rows = read(recorder, query)
            self.reads_ms.append((time.perf_counter() - began) * 1000)
            return rows

        Runner.run = run_timed  # type: ignore[method-assign, assignment]
        EventRecorder.render_success_sql = render_or_skip  # type: ignore[method-assign, assignment]
        EventRecorder._read_schema = read_timed  # type: ignore[method-assign, assignment]

    def render(self) -> str:
        """Return the medians, and all times of the reads."""
        return json.dumps(
            {
                "with_ms": statistics.median(self.with_ms),
                "without_ms": statistics.median(self.without_ms),
                "total_ms": sum(self.with_ms) + sum(self.without_ms),
                "reads_ms": self.reads_ms,
            }
        )


if __name__ == "__main__":
    cost = EventCost()
    cost.install()
    code = main(["run", "-q", "--url", sys.argv[1], "--migrations", sys.argv[2]])
    print(cost.render())
    sys.exit(code)
