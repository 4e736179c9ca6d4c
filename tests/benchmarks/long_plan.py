"""``python -m tests.benchmarks.long_plan``: what a history of 350 files costs, beside psql of the same files.

On a busy machine the CPU time tells more than the wall time: psql waits for the disk after each statement.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from pathlib import Path

from attrs import frozen

from confiture.server import Server
from tests.benchmarks.bench import (
    CONFITURE,
    HISTORY,
    PLAIN_FILES,
    ROUNDS,
    Bench,
    measure_as_installed,
    measure_cost,
    measure_peak_kib,
    open_bench,
)

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@frozen
class PlanCost:
    """What it cost to send all files; times in seconds, CPU is user and system time."""

    wall_s: float
    client_s: float
    server_s: float


def build_psql_command(bench: Bench, url: str) -> list[str]:
    """Return psql's command for the history's files, in one process; plain psycopg's where there is no psql."""
    folder = bench.history()
    if shutil.which("psql") is None:
        return [sys.executable, "-c", PLAIN_FILES, url, str(folder)]
    files = [argument for file in sorted(folder.iterdir()) for argument in ("-f", str(file))]
    return ["psql", url, "-q", "-X", "-v", "ON_ERROR_STOP=1", *files]


def build_loop_command(bench: Bench, url: str) -> list[str]:
    """Return a shell's loop that starts psql for each file, as a runner of one's own does."""
    if shutil.which("psql") is None:
        return []
    loop = 'for file in "$0"/*; do psql "$1" -q -X -v ON_ERROR_STOP=1 -f "$file" || exit; done'
    return ["sh", "-c", loop, str(bench.history()), url]


def build_rehearsal_command(bench: Bench, url: str) -> list[str]:
    """Return the command that rehearses the history."""
    return [*CONFITURE, "dry-run", "--no-gate", "--url", url, "--migrations", str(bench.history())]


def build_run_command(bench: Bench, url: str) -> list[str]:
    """Return the command that applies the history."""
    return [*CONFITURE, "run", "-q", "--url", url, "--migrations", str(bench.history())]


_COMMANDS = {
    "psql -f": build_psql_command,
    "psql each": build_loop_command,
    "dry-run": build_rehearsal_command,
    "run": build_run_command,
}


def read_server_s(server: Server) -> float:
    """Return the CPU time of a server and its processes, those that have ended included."""
    postmaster = int((server.socket / "postmaster.pid").read_text().split()[0])
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, parent, *rest = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        # utime, stime, cutime and cstime, of which the last two are those of processes waited for.
        times = [int(number) for number in rest[9:13]]
        ticks += sum(times) if int(stat.parent.name) == postmaster else 0
        ticks += sum(times[:2]) if int(parent) == postmaster else 0
    return ticks / _TICKS_PER_S


def measure_plan(bench: Bench, command: list[str]) -> PlanCost:
    """Run a command and return what it cost, its server sessions included."""
    before_s = read_server_s(bench.server)
    cost = measure_cost(command)
    time.sleep(0.2)  # the postmaster has to wait for the sessions that have ended
    return PlanCost(cost.wall_ms / 1000, cost.cpu_ms / 1000, read_server_s(bench.server) - before_s)


def print_rehearsal_figures(bench: Bench) -> None:
    """Print what a long history costs to rehearse and to apply, beside its files without looking."""
    found: dict[str, list[PlanCost]] = {name: [] for name in _COMMANDS}
    for _ in range(ROUNDS):
        for name, build in _COMMANDS.items():
            with bench.database() as url:
                if command := build(bench, url):
                    found[name].append(measure_plan(bench, command))
    with bench.database() as url:
        peak_kib = measure_peak_kib(build_rehearsal_command(bench, url))
    print(f"\na history of {HISTORY} files, median of {ROUNDS} rounds, in seconds (goal of dry-run: x 2)")
    print(f"{'':10}{'wall':>7}{'client CPU':>12}{'server CPU':>12}{'x wall':>8}{'x CPU':>7}")
    first_wall_s = first_cpu_s = 0.0
    for name, costs in ((name, costs) for name, costs in found.items() if costs):
        wall_s = statistics.median(cost.wall_s for cost in costs)
        client_s = statistics.median(cost.client_s for cost in costs)
        server_s = statistics.median(cost.server_s for cost in costs)
        first_wall_s, first_cpu_s = first_wall_s or wall_s, first_cpu_s or client_s + server_s
        print(
            f"{name:10}{wall_s:7.1f}{client_s:12.2f}{server_s:12.2f}"
            f"{wall_s / first_wall_s:8.2f}{(client_s + server_s) / first_cpu_s:7.2f}"
        )
    print(f"peak memory of dry-run: {peak_kib / 1024:.0f} MiB")


def main() -> None:
    """Print these figures only."""
    measure_as_installed()
    with open_bench() as bench:
        print_rehearsal_figures(bench)


if __name__ == "__main__":
    main()
