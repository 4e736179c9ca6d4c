"""How long ``confiture fleet run`` takes for ten thousand tenant schemas with nothing to do, and its memory.

``python -m tests.benchmarks.fleet 1000 10000`` for other numbers of tenants. From the costs of a tenant between the
smallest and the largest number it computes what a million would take, in databases as large as the measured one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg
from attrs import frozen

from tests.accuracy.laboratory import open_laboratory
from tests.benchmarks.lint import build_environment

TENANTS, LIMIT_S = (1000, 10_000), 60.0
_MIGRATIONS = 20
_ON_PAPER = 1_000_000
# A transaction that made them all would need more locks than the server has.
_COPY = """
    DO $do$
    DECLARE tenant text;
    BEGIN
        FOR number IN {first} .. {last} LOOP
            tenant := format('tenant_%s', lpad(number::text, 5, '0'));
            EXECUTE format('CREATE SCHEMA %1$I; CREATE SCHEMA confiture_%1$s;
                CREATE TABLE confiture_%1$s.ledger (LIKE confiture_tenant_00000.ledger INCLUDING ALL);
                CREATE TABLE confiture_%1$s.progress (LIKE confiture_tenant_00000.progress INCLUDING ALL);
                INSERT INTO confiture_%1$s.ledger SELECT * FROM confiture_tenant_00000.ledger', tenant);
            IF number % 100 = 0 THEN COMMIT; END IF;
        END LOOP;
    END $do$
"""


@frozen
class Measurement:
    """What one run took.

    Attributes:
        tenants: How many targets it had.
        elapsed_s: Wall-clock time.
        cpu_s: CPU time of the coordinator with its threads; the server's is not in it.
        peak_bytes: The most memory it had.
    """

    tenants: int
    elapsed_s: float
    cpu_s: float
    peak_bytes: int


def write_project(folder: Path, url: str) -> None:
    """Write a project with a few migrations, whose control database is the tenants' own."""
    (folder / "migrations").mkdir()
    for number in range(1, _MIGRATIONS + 1):
        sql = f"CREATE TABLE orders_{number} (id int PRIMARY KEY);\n"
        (folder / "migrations" / f"{number:03d}_orders.sql").write_text(sql)
    (folder / "confiture.toml").write_text(
        f'url = "{url}"\n[fleet]\nschemas = "tenant_*"\ncontrol = "{url}"\nwaves = ["1", "10%"]\n'
    )


def run_fleet(folder: Path, compiled: str, tenants: int) -> Measurement:
    """Run the fleet once, and measure it."""
    command = [sys.executable, "-m", "confiture", "fleet", "run", "-q"]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=build_environment(compiled))
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the run failed with exit code {process.returncode}")
    elapsed_s = time.perf_counter() - began
    return Measurement(tenants, elapsed_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def measure_fleets(sizes: Sequence[int]) -> list[Measurement]:
    """Measure a fleet of each size, on one server."""
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory() as compiled,
        open_laboratory() as templates,
    ):
        url = templates.server.conninfo(templates.copy(templates.get_template("SELECT 1")))
        write_project(Path(name), url)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("CREATE SCHEMA tenant_00000")
            run_fleet(Path(name), compiled, 1)
            measured, there = [], 1
            for size in sizes:
                conn.execute(_COPY.format(first=there, last=size - 1).encode())
                there = size
                measured.append(run_fleet(Path(name), compiled, size))
                unchanged = conn.execute(
                    "SELECT count(*) FROM confiture.fleet_target WHERE state = 'unchanged'"
                    " AND run = (SELECT max(run) FROM confiture.fleet_run)"
                ).fetchone()
                assert unchanged == (size,), unchanged
    return measured


def compute_on_paper(measured: Sequence[Measurement], tenants: int) -> Measurement:
    """Return what so many tenants would take, if each costs what one costs between two measured numbers."""
    first, last = measured[0], measured[-1]
    more = last.tenants - first.tenants

    def extend(begin: float, end: float) -> float:
        return end + (end - begin) / more * (tenants - last.tenants)

    return Measurement(
        tenants,
        extend(first.elapsed_s, last.elapsed_s),
        extend(first.cpu_s, last.cpu_s),
        round(extend(first.peak_bytes, last.peak_bytes)),
    )


def describe_on_paper(measured: Sequence[Measurement]) -> str:
    """Return the costs of one tenant, and what a million would take, as a sentence."""
    first, last = measured[0], measured[-1]
    more = last.tenants - first.tenants
    paper = compute_on_paper(measured, _ON_PAPER)
    return (
        f"a tenant costs {(last.elapsed_s - first.elapsed_s) / more * 1000:.1f} ms,"
        f" {(last.cpu_s - first.cpu_s) / more * 1000:.2f} ms of CPU and"
        f" {(last.peak_bytes - first.peak_bytes) / more / 1000:.1f} kB; on paper, {paper.tenants:,} take"
        f" {paper.elapsed_s / 60:.0f} minutes, {paper.cpu_s / 60:.0f} minutes of CPU and"
        f" {paper.peak_bytes / 1e9:.1f} GB\n"
    )


def main() -> None:
    """Print the figures; exit 1 where it took too long."""
    measured = measure_fleets([int(size) for size in sys.argv[1:]] or TENANTS)
    for one in measured:
        sys.stdout.write(
            f"confiture fleet run, {one.tenants:,} tenant schemas with {_MIGRATIONS} migrations, nothing to do:"
            f" {one.elapsed_s:.1f} s, {one.cpu_s:.1f} s of CPU, {one.peak_bytes / 2**20:.0f} MiB"
            f" (goal: {LIMIT_S:.0f} s for {TENANTS[-1]:,} tenants)\n"
        )
    if len(measured) > 1:
        sys.stdout.write(describe_on_paper(measured))
    sys.exit(0 if measured[-1].elapsed_s <= LIMIT_S else 1)


if __name__ == "__main__":
    main()
