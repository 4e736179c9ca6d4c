"""Kill something of a fleet run at random, again and again, and count what is half-done or done twice.

``python -m tests.benchmarks.fleet_faults 200`` for the number of trials, and then the kinds of faults, all by
default. A trial begins a run of a few tenants, on threads or on a Dask cluster, kills something after a random time,
starts it again, and resumes the run until it is done. Killed are the coordinator, a Dask worker, the Dask scheduler and
the tenants' server (SIGKILL, or an immediate stop), one connection to the tenants, or the connection to the record.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import distributed  # noqa: F401 - the children find all of it imported
import psycopg
from attrs import frozen

import confiture.api.operations
import confiture.engine.runner
import confiture.fleet.run_fleet  # noqa: F401
from confiture.cli import main
from tests.dask_cluster import DaskCluster, open_cluster
from tests.restartable_server import RestartableServer, open_restartable_server

TRIALS, TENANTS, MOST_RESUMED, SEED = 200, 6, 10, 17
FAULTS = ("coordinator", "connection", "record", "worker", "scheduler", "server")
_ON_DASK, _ON_BOTH = ("worker", "scheduler"), ("coordinator", "server")
# About as long as it takes to migrate all tenants, on a cluster too.
_LONGEST_S = 3.0
CRASHED = 99
# Longer than any timeout: a run that has not ended by then hangs.
_HUNG_S = 120.0
_MIGRATION = """
    CREATE TABLE orders (id int);
    INSERT INTO public.trail VALUES (current_schema());
    SELECT pg_sleep(0.1);
    INSERT INTO orders VALUES (1);
"""
_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_TENANTS_READY = "SELECT count(*) FROM confiture.fleet_target WHERE state IN ('done', 'unchanged')"


@frozen
class Place:
    """Where the trials are made.

    Attributes:
        folder: The project.
        server: The server of the tenants.
        record: The URL of the control database, on another server.
        cluster: The Dask cluster; ``None`` if no kind of fault needs one.
    """

    folder: Path
    server: RestartableServer
    record: str
    cluster: DaskCluster | None

    def execute(self, url: str, query: str) -> list[tuple[Any, ...]]:
        """Execute SQL on a connection of its own, and return the rows: any server may have been killed before."""
        with psycopg.connect(url, autocommit=True) as conn:
            cursor = conn.execute(query.encode())
            return [] if cursor.description is None else cursor.fetchall()


def write_project(folder: Path, tenants: str, record: str) -> None:
    """Write the project."""
    (folder / "migrations").mkdir()
    (folder / "migrations" / "1_orders.sql").write_text(_MIGRATION)
    (folder / "confiture.toml").write_text(
        f'url = "{tenants}"\n[fleet]\nschemas = "tenant_*"\ncontrol = "{record}"\nwaves = ["1"]\n'
        'stop_after = "100%"\nworkers = 3\n'
    )


def make_tenants(place: Place) -> None:
    """Begin with tenants that have nothing, and no record."""
    schemas = [f"tenant_{number}" for number in range(TENANTS)]
    listed = ", ".join([*schemas, *(f"confiture_{schema}" for schema in schemas)])
    place.execute(
        place.server.url, f"DROP SCHEMA IF EXISTS {listed} CASCADE; DROP TABLE IF EXISTS public.trail"
    )
    place.execute(place.server.url, "CREATE TABLE public.trail (tenant text)")
    for schema in schemas:
        place.execute(place.server.url, f"CREATE SCHEMA {schema}")
    place.execute(place.record, "DROP SCHEMA IF EXISTS confiture CASCADE")


def kill(fault: str, pid: int, place: Place, chance: random.Random) -> int:
    """Kill what the fault says; return how many processes or sessions that were."""
    # Not yet waited for, so the pid is still its own.
    alive = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    if fault == "coordinator":
        os.kill(pid, signal.SIGKILL)
        return int(alive)
    if fault == "server":
        place.server.kill(chance.choice((signal.SIGKILL, signal.SIGQUIT)))
        time.sleep(chance.uniform(0.0, 0.5))
        place.server.start()
        return int(alive)
    if place.cluster is not None and fault in _ON_DASK:
        assert place.cluster.scheduler
        victims = place.cluster.workers if fault == "worker" else [place.cluster.scheduler]
        chance.choice(victims).kill()
        return int(alive)
    url = place.record if fault == "record" else place.server.url
    query = f"SELECT pg_terminate_backend(pid) FROM (SELECT pid {_OTHERS} ORDER BY random() LIMIT 1) victim"
    return len(place.execute(url, query))


def find_faults(place: Place) -> Counter[str]:
    """Return what is wrong once the run is done: half-done, done twice, or not accounted for."""
    wrong: Counter[str] = Counter()
    for number in range(TENANTS):
        counts = place.execute(
            place.server.url,
            f"SELECT (SELECT count(*) FROM public.trail WHERE tenant = 'tenant_{number}'),"
            f" (SELECT count(*) FROM tenant_{number}.orders),"
            f" (SELECT count(*) FROM confiture_tenant_{number}.ledger)",
        )
        if counts != [(1, 1, 1)]:
            wrong["done twice" if max(counts[0]) > 1 else "half-done"] += 1
    if place.execute(place.record, _TENANTS_READY) != [(TENANTS,)]:
        wrong["not accounted for"] += 1
    return wrong


def _begin(place: Place, *arguments: str) -> int:
    """Begin a run in a process of its own; return its pid. Forking saves the time to import everything."""
    if pid := os.fork():
        return pid
    os.chdir(place.folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(place.folder / "runs.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, target in enumerate((nothing, nothing, log)):
        os.dup2(target, stream)
    code = CRASHED
    try:
        code = main(["fleet", "run", "-q", *arguments])
    except BaseException:
        traceback.print_exc()
    finally:
        # Whatever happened: the parent's servers are not this process's to stop.
        os._exit(code)


def _wait(pid: int) -> int | None:
    """Return the exit code of a run; ``None`` if it hung, and had to be killed."""
    deadline = time.monotonic() + _HUNG_S
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


def _list_arguments(place: Place, *, on_dask: bool) -> tuple[str, ...]:
    if not on_dask or place.cluster is None:
        return ()
    place.cluster.heal()
    return "--executor", "dask", "--scheduler", place.cluster.address


def finish(place: Place, codes: Counter[int | None], *, on_dask: bool) -> int:
    """Resume the run until it is done; return how often that took. Every exit code is counted."""
    for attempt in range(1, MOST_RESUMED):
        tables = place.execute(place.record, "SELECT to_regclass('confiture.fleet_run') IS NOT NULL")
        begun = tables == [(True,)] and place.execute(place.record, "SELECT FROM confiture.fleet_run")
        resume = ("--resume", "1", "--retry-failed") if begun else ()
        code = _wait(_begin(place, *resume, *_list_arguments(place, on_dask=on_dask)))
        codes[code] += 1
        if code == 0:
            return attempt
    return MOST_RESUMED


def run_trial(
    place: Place, fault: str, chance: random.Random, hits: Counter[str]
) -> tuple[int, Counter[str]]:
    """Make one trial; return how often the run was resumed, and what was wrong."""
    make_tenants(place)
    on_dask = place.cluster is not None and (
        fault in _ON_DASK or (fault in _ON_BOTH and chance.random() < 0.5)
    )
    pid = _begin(place, *_list_arguments(place, on_dask=on_dask))
    time.sleep(chance.uniform(0.05, _LONGEST_S))
    hits[fault] += kill(fault, pid, place, chance)
    codes: Counter[int | None] = Counter([_wait(pid)])
    resumed = finish(place, codes, on_dask=on_dask)
    wrong = find_faults(place)
    for code, what in ((None, "hung"), (CRASHED, "crashed")):
        if codes[code]:
            wrong[f"{what} after a killed {fault}"] += codes[code]
    return resumed, wrong


def run_trials(trials: int, faults: Sequence[str]) -> bool:
    """Print the figures; return True if nothing was wrong."""
    chance = random.Random(SEED + trials)
    hits: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    resumed = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(open_restartable_server())
        record = stack.enter_context(open_restartable_server()).url
        write_project(folder, server.url, record)
        needs_dask = not {*_ON_DASK, *_ON_BOTH}.isdisjoint(faults)
        cluster = stack.enter_context(open_cluster(folder, {})) if needs_dask else None
        place = Place(folder, server, record, cluster)
        for _ in range(trials):
            again, found = run_trial(place, chance.choice(faults), chance, hits)
            resumed += again
            wrong += found
        if wrong:
            sys.stdout.write((folder / "runs.log").read_text())
    what = ", ".join(f"{hits[fault]} {fault}" for fault in faults)
    faulty = (
        ", ".join(f"{count} {kind}" for kind, count in wrong.items()) or "nothing half-done or done twice"
    )
    sys.stdout.write(
        f"{trials} trials with {TENANTS} tenants, killed: {what}; resumed {resumed} times: {faulty}\n"
    )
    return not wrong


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if sys.argv[1:] else TRIALS
    sys.exit(0 if run_trials(wanted, sys.argv[2:] or FAULTS) else 1)
