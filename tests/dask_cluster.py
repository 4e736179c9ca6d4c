"""A Dask cluster on loopback whose scheduler and workers can be killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

_PATIENCE_S = 120.0
# As docs/fleet.md says: the engine neither repeats work by itself, nor waits for workers that never come.
_SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "60s",
}


@define
class DaskCluster:
    """A scheduler and its workers, each a process of its own.

    Attributes:
        folder: Where they run, and where the scheduler writes its address.
        environ: Their variables.
        count: How many workers there are.
        scheduler: The scheduler; ``None`` before it is started.
        workers: The workers.
    """

    folder: Path
    environ: Mapping[str, str]
    count: int = 2
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(factory=list)

    @property
    def file(self) -> Path:
        """Where the scheduler writes its address."""
        return self.folder / "scheduler.json"

    @property
    def address(self) -> str:
        """Where the scheduler listens; the port is whichever is free."""
        return next(part for part in self.file.read_text().split('"') if part.startswith("tcp://"))

    def heal(self) -> None:
        """Start what is not running; workers of a scheduler that is gone are started anew."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.end()
            self.file.unlink(missing_ok=True)
            self.scheduler = self._start("scheduler", "--port", "0", "--host", "127.0.0.1")
            deadline = time.monotonic() + _PATIENCE_S
            while not (self.file.exists() and self.file.read_text().endswith("}")):
                assert time.monotonic() < deadline, "the scheduler does not start"
                time.sleep(0.05)
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < self.count:
            options = ("--host", "127.0.0.1", "--no-nanny", "--nworkers", "1", "--nthreads", "2")
            self.workers.append(self._start("worker", *options))

    def _start(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{program}", "--no-dashboard"]
        command += ["--scheduler-file", str(self.file), *options]
        nothing = subprocess.DEVNULL
        environ = {**os.environ, **self.environ, **_SETTINGS}
        return subprocess.Popen(command, cwd=self.folder, env=environ, stdout=nothing, stderr=nothing)

    def end(self) -> None:
        """Kill all of it."""
        for process in (*self.workers, *([self.scheduler] if self.scheduler else [])):
            process.kill()
            process.wait()
        self.workers, self.scheduler = [], None


@contextmanager
def open_cluster(folder: Path, environ: Mapping[str, str], count: int = 2) -> Iterator[DaskCluster]:
    """Lend a cluster that is running for the block."""
    cluster = DaskCluster(folder, environ, count)
    try:
        cluster.heal()
        yield cluster
    finally:
        cluster.end()
