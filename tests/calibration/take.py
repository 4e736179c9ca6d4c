"""Take timings on this machine: ``python -m tests.calibration.take SUBJECT > FILE``, best while it is idle.

Migrations of other tables than `calibration-live` has, each in ``BEGIN … ROLLBACK`` on an embedded server, at
several sizes. What it prints has the columns that ``tests.calibration.timings`` reads.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import click
import psycopg
from attrs import frozen
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from confiture.server import open_temporary_server
from confiture.testing.databases import TemplateDatabases
from tests.accuracy.laboratory import disable_autovacuum
from tests.calibration.live.__main__ import find_data_folder
from tests.calibration.live.measure import read_processor
from tests.calibration.subjects import SUBJECTS, Subject

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
RUNS = 4
_TRIES = 6
_QUIET_SHARE = 0.05
# A tick of the kernel's clock is a hundredth of a second: less cannot be told apart.
_QUIET_S = 0.02
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
COLUMNS = ("case", "class", "rows", "pages", "repeat", "seconds", "adj_s", "cpu_s", "runq_wait_s")


@frozen
class Run:
    """What one run took, in seconds; ``disturbed_s`` is what the CPUs did for others during it."""

    seconds: float
    cpu_s: float
    runq_wait_s: float
    disturbed_s: float = 0.0

    @property
    def adj_s(self) -> float:
        """Without waiting for a CPU, and no less than was computed."""
        return max(self.seconds - self.runq_wait_s, min(self.seconds, self.cpu_s))


@click.command()
@click.argument("subject", type=click.Choice([*SUBJECTS]))
@click.option("--rows", type=int, multiple=True, default=SIZES, help="Sizes of the table.")
@click.option("--parallel/--serial", default=True, help="With parallel workers, or without.")
def main(subject: str, rows: Sequence[int], parallel: bool) -> None:
    """Print a line for each run."""
    out = csv.writer(sys.stdout)
    out.writerow(COLUMNS)
    with (
        open_temporary_server(find_data_folder()) as server,
        psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn,
        disable_autovacuum(conn),
    ):
        if not parallel:
            conn.execute("ALTER SYSTEM SET max_parallel_workers_per_gather = 0")
            conn.execute("ALTER SYSTEM SET max_parallel_maintenance_workers = 0")
            conn.execute("SELECT pg_reload_conf()")
        for line in take_timings(TemplateDatabases(server, conn), SUBJECTS[subject], rows):
            out.writerow(line)
            sys.stdout.flush()


def take_timings(
    templates: TemplateDatabases, subject: Subject, sizes: Sequence[int]
) -> Iterator[tuple[Any, ...]]:
    """Yield a line for each run of each case at each size."""
    for rows in sizes:
        name = templates.copy("template0")
        pages = _fill(templates.server.conninfo(name), subject, rows)
        for case in subject.cases:
            with _open_database(templates, name, several=case.work_class == "dml") as url:
                for repeat in range(RUNS):
                    run = _run_undisturbed(url, subject, case.sql)
                    seconds = (run.seconds, run.adj_s, run.cpu_s, run.runq_wait_s)
                    yield (
                        case.name,
                        case.work_class,
                        rows,
                        pages,
                        repeat,
                        *(round(second, 6) for second in seconds),
                    )
        templates.drop(name)


def _fill(url: str, subject: Subject, rows: int) -> int:
    with psycopg.connect(url, autocommit=True) as conn:
        for sql in subject.tables:
            conn.execute(sql)
        conn.execute(subject.rows.format(rows=rows).encode())
        for sql in subject.after:
            conn.execute(sql)
        ((pages,),) = conn.execute(
            "SELECT relpages FROM pg_class WHERE relname = %s", [subject.name]
        ).fetchall()
    return int(pages)


@contextmanager
def _open_database(templates: TemplateDatabases, name: str, *, several: bool) -> Iterator[Any]:
    """Lend what returns a database to run in: one for all runs, or a copy for each that leaves dead rows."""
    copies: list[str] = []

    def url() -> str:
        if several:
            copies.append(templates.copy(name))
        return templates.server.conninfo(copies[-1] if several else name)

    try:
        yield url
    finally:
        for copy in copies:
            templates.drop(copy)


def _run_undisturbed(open_url: Callable[[], str], subject: Subject, sql: LiteralString) -> Run:
    """Run a statement again, for a few times, if other programs used the machine beside it.

    Two CPUs often share one core: a statement beside which the other is busy takes up to half as long again,
    and the kernel does not count that as waiting.
    """
    runs: list[Run] = []
    for _ in range(_TRIES):
        runs.append(_run(open_url(), subject, sql))
        if runs[-1].disturbed_s <= max(_QUIET_SHARE * runs[-1].seconds, _QUIET_S):
            break
    return min(runs, key=lambda run: run.disturbed_s / max(run.seconds, _QUIET_S))


def _run(url: str, subject: Subject, sql: LiteralString) -> Run:
    with psycopg.connect(url, autocommit=True) as conn:
        pid = conn.info.backend_pid
        others = _read_other_work_s(pid)
        conn.execute("BEGIN")
        _warm(conn, subject)
        before, began = read_processor(pid), time.perf_counter()
        conn.execute(sql)
        seconds, after = time.perf_counter() - began, read_processor(pid)
        others = _read_other_work_s(pid) - others
        conn.execute("ROLLBACK")
    if before is None or after is None:
        raise SystemExit("the kernel does not say how long a process has waited for a CPU")
    spent = after.since(before)
    return Run(seconds, spent.cpu_ms / 1000, spent.waited_ms / 1000, others)


def _read_other_work_s(backend_pid: int) -> float:
    """Return how long all CPUs have worked for others than the server of a session, in seconds."""
    busy = [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    # User, nice, system, interrupts and what the hypervisor took; not idle and waiting for input.
    total = sum(busy) - busy[3] - busy[4]
    server = _read_stat(Path(f"/proc/{backend_pid}"))[1]
    processes = [
        stat for path in Path("/proc").iterdir() if path.name.isdigit() and (stat := _read_stat(path))
    ]
    own = sum(
        ticks + (reaped if pid == server else 0)
        for pid, parent, ticks, reaped in processes
        if server in (pid, parent)
    )
    return (total - own) / _TICKS_PER_S


def _read_stat(process: Path) -> tuple[int, int, int, int]:
    """Return process id, parent, own ticks and those of ended children; zeros if the process is gone."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0, 0, 0
    return (
        int(process.name),
        int(fields[1]),
        int(fields[11]) + int(fields[12]),
        int(fields[13]) + int(fields[14]),
    )


def _warm(conn: Connection[Any], subject: Subject) -> None:
    """Count the rows, as a rehearsal does: a copy has nothing in memory, a session has mapped no page."""
    conn.execute(SQL("SELECT count(*) FROM {}").format(Identifier(subject.name)))


if __name__ == "__main__":
    main()
