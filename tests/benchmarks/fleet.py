"""How long ``confiture fleet run`` takes for ten thousand tenant schemas with nothing to do, and its memory.

``python -m tests.benchmarks.fleet 1000 10000`` for other numbers of tenants.
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


def main() -> None:
    """Print the figures; exit 1 where it took too long."""
    measured = measure_fleets([int(size) for size in sys.argv[1:]] or TENANTS)
    for one in measured:
        sys.stdout.write(
            f"confiture fleet run, {one.tenants:,} tenant schemas with {_MIGRATIONS} migrations, nothing to do:"
            f" {one.elapsed_s:.1f} s, {one.cpu_s:.1f} s of CPU, {one.peak_bytes / 2**20:.0f} MiB"
            f" (goal: {LIMIT_S:.0f} s for {TENANTS[-1]:,} tenants)\n"
        )
    sys.exit(0 if measured[-1].elapsed_s <= LIMIT_S else 1)


if __name__ == "__main__":
    main()
