"""Kill something of a fleet run at random, again and again, and count what is half-done or done twice.

``python -m tests.benchmarks.fleet_faults 200`` for the number of trials. A trial begins a run of a few tenants,
kills the coordinator (SIGKILL), one of its connections to the tenants, or its connection to the record after a
random time, and resumes the run until it is done.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg

import confiture.api.operations
import confiture.engine.runner
import confiture.fleet.run_fleet  # noqa: F401 - the children find all of it imported
from confiture.cli import main
from tests.accuracy.laboratory import open_laboratory

TRIALS, TENANTS, MOST_RESUMED, SEED = 200, 6, 10, 17
FAULTS = ("coordinator", "connection", "record")
# About as long as it takes to migrate all tenants.
_LONGEST_S = 1.0
_MIGRATION = """
    CREATE TABLE orders (id int);
    INSERT INTO public.trail VALUES (current_schema());
    SELECT pg_sleep(0.02);
    INSERT INTO orders VALUES (1);
"""
_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def prepare(folder: Path, url: str) -> None:
    """Write the project."""
    (folder / "migrations").mkdir()
    (folder / "migrations" / "1_orders.sql").write_text(_MIGRATION)
    (folder / "confiture.toml").write_text(
        f'url = "{url}"\n[fleet]\nschemas = "tenant_*"\ncontrol = "{url}"\nwaves = ["1"]\n'
        'stop_after = "100%"\nworkers = 3\n'
    )


def make_tenants(conn: psycopg.Connection[Any]) -> None:
    """Begin with tenants that have nothing, and no record."""
    schemas = [f"tenant_{number}" for number in range(TENANTS)]
    listed = ", ".join([*schemas, *(f"confiture_{schema}" for schema in schemas), "confiture"])
    conn.execute(f"DROP SCHEMA IF EXISTS {listed} CASCADE; DROP TABLE IF EXISTS public.trail".encode())
    conn.execute("CREATE TABLE public.trail (tenant text)")
    for schema in schemas:
        conn.execute(f"CREATE SCHEMA {schema}".encode())


def kill(fault: str, pid: int, conn: psycopg.Connection[Any]) -> int:
    """Kill what the fault says; return how many processes or sessions that were."""
    if fault == "coordinator":
        # Not yet waited for, so the pid is still its own.
        alive = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        os.kill(pid, signal.SIGKILL)
        return int(alive)
    which = "query LIKE '%fleet_%'" if fault == "record" else "query NOT LIKE '%fleet_%'"
    return len(
        conn.execute(
            f"SELECT pg_terminate_backend(pid) FROM (SELECT pid {_OTHERS} AND {which}"
            " ORDER BY random() LIMIT 1) victim".encode()
        ).fetchall()
    )


def find_faults(conn: psycopg.Connection[Any]) -> Counter[str]:
    """Return what is wrong once the run is done: half-done, done twice, or not accounted for."""
    wrong: Counter[str] = Counter()
    for number in range(TENANTS):
        counts = conn.execute(
            f"SELECT (SELECT count(*) FROM public.trail WHERE tenant = 'tenant_{number}'),"
            f" (SELECT count(*) FROM tenant_{number}.orders),"
            f" (SELECT count(*) FROM confiture_tenant_{number}.ledger)".encode()
        ).fetchall()
        if counts != [(1, 1, 1)]:
            wrong["done twice" if max(counts[0]) > 1 else "half-done"] += 1
    rows = conn.execute("SELECT count(*) FROM confiture.fleet_target WHERE state IN ('done', 'unchanged')")
    if rows.fetchall() != [(TENANTS,)]:
        wrong["not accounted for"] += 1
    return wrong


def _begin(folder: Path, *arguments: str) -> int:
    """Begin a run in a process of its own; return its pid. Forking saves the time to import everything."""
    if pid := os.fork():
        return pid
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os._exit(main(["fleet", "run", "-q", *arguments]))


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finish(folder: Path, conn: psycopg.Connection[Any]) -> int:
    """Resume the run until it is done; return how often that took, or ``MOST_RESUMED``."""
    for attempt in range(1, MOST_RESUMED):
        has_run = conn.execute("SELECT to_regclass('confiture.fleet_run') IS NOT NULL").fetchall() == [
            (True,)
        ]
        begun = has_run and conn.execute("SELECT FROM confiture.fleet_run").fetchall()
        if _wait(_begin(folder, *(("--resume", "1", "--retry-failed") if begun else ()))) == 0:
            return attempt
    return MOST_RESUMED


def run_trials() -> None:
    """Print the figures; exit 1 if anything was wrong."""
    trials, chance = int(sys.argv[1]) if sys.argv[1:] else TRIALS, random.Random(SEED + len(sys.argv))
    hits: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    resumed = 0
    with tempfile.TemporaryDirectory() as name, open_laboratory() as templates:
        url = templates.server.conninfo(templates.copy(templates.get_template("SELECT 1")))
        prepare(Path(name), url)
        with psycopg.connect(url, autocommit=True) as conn:
            for _ in range(trials):
                make_tenants(conn)
                pid = _begin(Path(name))
                time.sleep(chance.uniform(0.05, _LONGEST_S))
                fault = chance.choice(FAULTS)
                hits[fault] += kill(fault, pid, conn)
                _wait(pid)
                resumed += finish(Path(name), conn)
                wrong += find_faults(conn)
    what = ", ".join(f"{hits[fault]} {fault}" for fault in FAULTS)
    found = ", ".join(f"{count} {kind}" for kind, count in wrong.items()) or "nothing half-done or done twice"
    sys.stdout.write(
        f"{trials} trials with {TENANTS} tenants, killed: {what}; resumed {resumed} times: {found}\n"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    run_trials()
