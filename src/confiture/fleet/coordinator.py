"""Lead a fleet through its waves: submit targets, record what became of each, and stop when too many fail."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any

from attrs import define, field

from confiture.fleet.health_check import CheckHealth
from confiture.fleet.policy import Policy
from confiture.fleet.read_targets import identify
from confiture.fleet.store import FleetStore
from confiture.fleet.target import Target
from confiture.fleet.work import TargetTask, migrate_target
from confiture.models.fleet import TargetOutcome

Watch = Callable[["Coordinator"], None]
_PATIENCE_S = 0.2


@define
class Coordinator:
    """Leads one run.

    Attributes:
        store: The record of the run.
        run: The run's number.
        policy: How it is led.
        executor: Does the work.
        make_task: Returns the task of a target.
        total: How many targets the run has.
        failed_before: How many of them had failed before this process began.
        watch: Called after each change, to show progress.
        check_health: Called between waves; raises to stop.
        outcomes: What became of the targets of this process, in the order in which they ended.
        wave: The wave that is running.
        in_flight: The targets that are running.
    """

    store: FleetStore
    run: int
    policy: Policy
    executor: Executor
    make_task: Callable[[Target], TargetTask]
    total: int
    failed_before: int = 0
    watch: Watch = lambda _: None
    check_health: CheckHealth = lambda _run, _wave, _outcomes: None
    outcomes: list[TargetOutcome] = field(factory=list)
    wave: int = 0
    in_flight: dict[Future[Any], Target] = field(factory=dict)

    @property
    def failures(self) -> int:
        """How many targets of the run have failed, those of earlier processes included."""
        return self.failed_before + sum(outcome.state == "failed" for outcome in self.outcomes)

    def lead(self, waves: Mapping[int, Sequence[Target]]) -> str | None:
        """Migrate the waves in order; return why the run stopped, ``None`` if it is done."""
        try:
            for number, targets in waves.items():
                self.wave = number
                began = len(self.outcomes)
                if reason := self._lead_wave(targets):
                    return reason
                if reason := self._check_between(number, self.outcomes[began:], last=number == max(waves)):
                    return reason
        except BaseException:
            self._drain()
            raise
        return None

    def _check_between(self, number: int, outcomes: Sequence[TargetOutcome], *, last: bool) -> str | None:
        if last:
            return None
        time.sleep(self.policy.soak_s)
        try:
            self.check_health(self.run, number + 1, outcomes)
        except Exception as error:
            return f"the health check after wave {number + 1} failed: {error}"
        return None

    def _lead_wave(self, targets: Sequence[Target]) -> str | None:
        waiting = deque(targets)
        while waiting or self.in_flight:
            reason = self._find_reason_to_stop()
            if reason:
                self._drain()
                return reason
            self._submit(waiting)
            self._collect()
        return self._find_reason_to_stop()

    def _find_reason_to_stop(self) -> str | None:
        allowed = self.policy.count_allowed_failures(self.total)
        if self.failures > allowed:
            return f"{self.failures} failed, and {allowed} may"
        return None

    def _submit(self, waiting: deque[Target]) -> None:
        busy = Counter(identify(target)[:3] for target in self.in_flight.values())
        held: list[Target] = []
        begun: list[Target] = []
        while waiting and len(self.in_flight) + len(begun) < self.policy.workers:
            target = waiting.popleft()
            host = identify(target)[:3]
            if busy[host] >= self.policy.connections_per_host:
                held.append(target)
                continue
            busy[host] += 1
            begun.append(target)
        waiting.extendleft(reversed(held))
        self.store.begin_target(self.run, [target.name for target in begun])
        for target in begun:
            self.in_flight[self.executor.submit(migrate_target, self.make_task(target))] = target

    def _collect(self) -> None:
        done, _ = wait(self.in_flight, timeout=_PATIENCE_S, return_when=FIRST_COMPLETED)
        for future in done:
            target = self.in_flight.pop(future)
            outcome = _read_outcome(future, target)
            self.outcomes.append(outcome)
            self.store.end_target(self.run, outcome)
        self.watch(self)

    def _drain(self) -> None:
        """Wait for what has begun: a target is never left half-way by our own hand."""
        for future in [future for future in self.in_flight if future.cancel()]:
            self.store.reset_targets(self.run, [self.in_flight.pop(future).name])
        while self.in_flight:
            self._collect()


def _read_outcome(future: Future[Any], target: Target) -> TargetOutcome:
    try:
        outcome: TargetOutcome = future.result()
    except Exception as error:
        # The worker is gone, or could not read the task.
        return TargetOutcome(target.name, "failed", error=f"{type(error).__name__}: {error}", exit_code=1)
    return outcome
