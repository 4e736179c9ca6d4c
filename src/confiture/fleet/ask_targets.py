"""Ask something of every target, as many at a time as the policy allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import TypeVar

from confiture.fleet.policy import FleetPolicy
from confiture.fleet.target import Target
from confiture.fleet.work_queue import TargetBatch, WorkQueue

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def ask_targets(
    executor: Executor,
    policy: FleetPolicy,
    targets: Iterable[Target],
    work: Callable[[Task], Answer],
    make_task: Callable[[Target], Task],
) -> Iterator[Answer]:
    """Yield what ``work`` returns for the task of each target, in the order in which they end.

    Raises:
        Exception: A worker was lost, or ``work`` raised.
    """
    queue = WorkQueue(policy.targets_per_host)
    for target in targets:
        queue.put(TargetBatch(target.host, (target,)))
    running: dict[Future[Answer], TargetBatch] = {}
    while queue or running:
        while len(running) < policy.workers and (batch := queue.take()):
            running[executor.submit(work, make_task(batch.targets[0]))] = batch
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            queue.end(running.pop(future))
            yield future.result()
