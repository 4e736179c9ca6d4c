"""Lead a fleet through its waves: submit targets, record what became of each, and stop when too many fail."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from typing import Any

from attrs import define, field

from confiture.exceptions import ConnectionFault
from confiture.fleet.health_check import CheckHealth
from confiture.fleet.policy import FleetPolicy
from confiture.fleet.store import FleetStore
from confiture.fleet.survey import SurveyTask, survey_targets
from confiture.fleet.target import Target
from confiture.fleet.work import TargetTask, migrate_target
from confiture.fleet.work_queue import TargetBatch, WorkQueue, build_batches
from confiture.models.fleet import Stop, TargetOutcome
from confiture.postgres.signals import hold_signals

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
        ended_before: How many of them had ended before this process began.
        failed_before: How many of those had failed.
        watch: Called after each change, to show progress.
        check_health: Called between waves; raises to stop.
        ended: How many targets this process has ended.
        failed: How many of those failed.
        wave: The wave that is running.
        draining: True if nothing more is begun.
        lost: True if the executor is gone, with all that it had.
        soaking: True while it waits between two waves.
        waves_left: How many waves come after this one.
        causes: How many targets of this process failed for which reason.
        in_flight: What is running, and when it began.
    """

    store: FleetStore
    run: int
    policy: FleetPolicy
    executor: Executor
    make_task: Callable[[Target], TargetTask]
    total: int
    ended_before: int = 0
    failed_before: int = 0
    watch: Watch = lambda _: None
    check_health: CheckHealth = lambda _run, _wave, _outcomes: None
    ended: int = 0
    failed: int = 0
    wave: int = 0
    draining: bool = False
    lost: bool = False
    soaking: bool = False
    waves_left: int = 0
    causes: Counter[str] = field(factory=Counter)
    in_flight: dict[Future[Any], tuple[TargetBatch, float]] = field(factory=dict)
    _outcomes: list[TargetOutcome] = field(factory=list)
    _queue: WorkQueue = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._queue = WorkQueue(self.policy.targets_per_host)

    @property
    def failures(self) -> int:
        """How many targets of the run have failed, those of earlier processes included."""
        return self.failed_before + self.failed

    def run_waves(self, waves: Mapping[int, Sequence[Target]]) -> Stop | None:
        """Migrate the waves in order; return why the run stopped, ``None`` if it is done.

        Raises:
            KeyboardInterrupt: A signal arrived; what had begun has ended, and is recorded.
        """
        try:
            for place, (number, targets) in enumerate(waves.items(), 1):
                self.wave, self.waves_left = number, len(waves) - place
                if stop := self._lead_wave(targets):
                    return stop
                if number != max(waves) and (stop := self._check_between(number)):
                    return stop
        except KeyboardInterrupt:
            with hold_signals():
                self._drain()
            raise
        return self._find_reason_to_stop()

    def _check_between(self, number: int) -> Stop | None:
        if self.policy.soak_s:
            self.soaking = True
            self.watch(self)
            time.sleep(self.policy.soak_s)
            self.soaking = False
        try:
            self.check_health(self.run, number + 1, self._outcomes)
        except Exception as error:
            return Stop(f"the health check after wave {number + 1} failed: {error}", exit_code=5)
        return None

    def _lead_wave(self, targets: Sequence[Target]) -> Stop | None:
        self._outcomes.clear()
        for batch in build_batches(targets):
            self._queue.put(batch)
        while self._queue or self.in_flight:
            if stop := self._find_reason_to_stop():
                self._drain()
                return stop
            # A signal between the end of a target and its record would lose that target's outcome.
            with hold_signals():
                self._submit()
                self._collect()
        return self._find_reason_to_stop()

    def _find_reason_to_stop(self) -> Stop | None:
        if self.lost:
            return Stop("the scheduler was lost: what it ran failed, and the rest waits", exit_code=3)
        allowed = self.policy.count_allowed_failures(self.total)
        if self.failures > allowed:
            return Stop(f"{self.failures} failed, and {allowed} may")
        return None

    def _submit(self) -> None:
        begun: list[TargetBatch] = []
        while len(self.in_flight) + len(begun) < self.policy.workers and (batch := self._queue.take()):
            begun.append(batch)
        migrated = [batch.targets[0].name for batch in begun if not batch.is_survey]
        # Before the work: a target that a killed coordinator had begun is seen as begun.
        self.store.begin_targets(self.run, migrated)
        for batch in begun:
            self.in_flight[self._start(batch)] = batch, time.monotonic()

    def _start(self, batch: TargetBatch) -> Future[Any]:
        task = self.make_task(batch.targets[0])
        if batch.is_survey:
            return self.executor.submit(survey_targets, SurveyTask(batch.targets, task.settings, task.plan))
        return self.executor.submit(migrate_target, task)

    def _collect(self) -> None:
        done, _ = wait(self.in_flight, timeout=_PATIENCE_S, return_when=FIRST_COMPLETED)
        outcomes: list[TargetOutcome] = []
        for future in done:
            batch, _began = self.in_flight.pop(future)
            self._queue.end(batch)
            # Nobody here cancels work: Dask does, all of it, once the connection to the scheduler breaks.
            self.lost = self.lost or future.cancelled()
            outcomes += self._end_survey(future, batch) if batch.is_survey else [_read_outcome(future, batch)]
        self.store.end_targets(self.run, outcomes)
        self.ended += len(outcomes)
        failed = [outcome.error or "unknown" for outcome in outcomes if outcome.state == "failed"]
        self.failed += len(failed)
        self.causes.update(failed)
        self._outcomes += outcomes
        self.watch(self)

    def _end_survey(self, future: Future[Any], batch: TargetBatch) -> list[TargetOutcome]:
        """Return the outcomes of the tenants with nothing to do; put the others into the queue."""
        # A survey that failed has found none: each target then says itself what is wrong.
        unchanged = set() if future.cancelled() or future.exception() else set(future.result())
        for target in batch.targets:
            if target.name not in unchanged:
                self._queue.put(TargetBatch(batch.host, (target,)))
        return [TargetOutcome(name, "unchanged") for name in unchanged]

    def _drain(self) -> None:
        """Wait for what has begun: a target is never left half-way by our own hand."""
        self.draining = True
        while self.in_flight:
            self._collect()


def _read_outcome(future: Future[Any], batch: TargetBatch) -> TargetOutcome:
    try:
        outcome: TargetOutcome = future.result()
    except CancelledError:
        what = "the scheduler was lost"
        return TargetOutcome(batch.targets[0].name, "failed", error=what, exit_code=ConnectionFault.exit_code)
    except Exception as error:
        # The worker is gone, or could not read the task.
        what = f"{type(error).__name__}: {error}"
        return TargetOutcome(batch.targets[0].name, "failed", error=what, exit_code=1)
    return outcome
