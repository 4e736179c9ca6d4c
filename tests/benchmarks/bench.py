"""``make bench``: what confiture costs, as ratios; both sides of each are interleaved in one run.

The server is the embedded one, with fsync on. Peers are measured where their packages install.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from attrs import frozen
from psycopg.conninfo import conninfo_to_dict

from confiture.ledger.event_recorder import FREE_MS
from confiture.server import Server, open_temporary_server
from tests.benchmarks.history import History
from tests.benchmarks.proxy import CountingProxy

FEW, MANY, HISTORY = 100, 1000, 350
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
CONFITURE = [sys.executable, "-m", "confiture"]
PLAIN = """
import pathlib, psycopg, sys
url, folder = sys.argv[1:]
with psycopg.connect(url, autocommit=True) as conn:
    conn.execute("CREATE TABLE IF NOT EXISTS history (version text PRIMARY KEY, at timestamptz DEFAULT now())")
    for file in sorted(pathlib.Path(folder).glob("*.sql")):
        with conn.transaction():
            for statement in filter(str.strip, file.read_text().split(";")):
                conn.execute(statement)
            conn.execute("INSERT INTO history (version) VALUES (%s)", (file.name,))
"""
PLAIN_FILES = """
import pathlib, psycopg, sys
url, folder = sys.argv[1:]
with psycopg.connect(url, autocommit=True) as conn:
    for file in sorted(pathlib.Path(folder).iterdir()):
        conn.execute(file.read_text().encode())
"""
PLAIN_STATUS = """
import psycopg, sys
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    for row in conn.execute("SELECT version, name, checksum, applied_at FROM confiture.ledger ORDER BY 1"):
        print(*row)
"""


@frozen
class Cost:
    """What one process cost.

    Attributes:
        wall_ms: From start to end, in milliseconds.
        cpu_ms: User and system time of the client, in milliseconds.
    """

    wall_ms: float
    cpu_ms: float


def measure_cost(command: list[str], **environment: str) -> Cost:
    """Run a process and return what it cost."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    wall_ms = (time.perf_counter() - began) * 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Cost(wall_ms, cpu_s * 1000)


def measure_peak_kib(command: list[str]) -> int:
    """Run a process and return its peak memory, in KiB; a process between leaves out all earlier children."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, *command]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_as_installed() -> None:
    """Let Python keep what it compiles, as pip does: where it may not, each process compiles 250 modules."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([*CONFITURE, "dry-run", "--help"], check=True, capture_output=True)


@frozen
class Bench:
    """A server with fsync on, and a folder to work in."""

    server: Server
    folder: Path

    @contextmanager
    def database(self) -> Iterator[str]:
        """Lend the URL of a new database."""
        with psycopg.connect(self.server.conninfo("postgres"), autocommit=True) as conn:
            conn.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
            conn.execute("CREATE DATABASE bench")
        yield self.server.conninfo("bench")

    def migrations(self, count: int) -> Path:
        """Return a folder of so many migrations, a CREATE TABLE and a CREATE INDEX each."""
        folder = self.folder / f"migrations_{count}"
        if not folder.exists():
            folder.mkdir()
            for number in range(1, count + 1):
                text = f"CREATE TABLE t{number} (id integer PRIMARY KEY, jam text);\nCREATE INDEX ON t{number} (jam);\n"
                (folder / f"{number:05d}_t{number}.sql").write_text(text)
        return folder

    def history(self) -> Path:
        """Return a folder with the history of a product of some years."""
        folder = self.folder / "history"
        return folder if folder.exists() else History().write(folder, HISTORY)


# Who applies a folder of migrations to a database: (bench, url, number) -> command.
Contender = Callable[[Bench, str, int], list[str]]


def build_plain_command(bench: Bench, url: str, number: int) -> list[str]:
    """Apply with psycopg alone: one transaction and one history row a migration."""
    return [sys.executable, "-c", PLAIN, url, str(bench.migrations(number))]


def build_confiture_command(bench: Bench, url: str, number: int) -> list[str]:
    """Apply with confiture."""
    return [*CONFITURE, "run", "-q", "--url", url, "--migrations", str(bench.migrations(number))]


def build_yoyo_command(bench: Bench, url: str, number: int) -> list[str]:
    """Apply with yoyo-migrations."""
    parts = conninfo_to_dict(url)
    source = bench.migrations(number)
    target = f"postgresql+psycopg://postgres@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"
    return [_find_script("yoyo"), "apply", "--batch", "--no-config-file", "--database", target, str(source)]


def build_dbmate_command(bench: Bench, url: str, number: int) -> list[str]:
    """Apply with dbmate."""
    source = bench.folder / f"dbmate_{number}"
    if not source.exists():
        source.mkdir()
        for file in bench.migrations(number).iterdir():
            (source / file.name).write_text(f"-- migrate:up\n{file.read_text()}\n-- migrate:down\n")
    parts = conninfo_to_dict(url)
    target = (
        f"postgres://postgres@/{parts['dbname']}?host={parts['host']}&port={parts['port']}&sslmode=disable"
    )
    return [_find_dbmate(), "--url", target, "-d", str(source), "--no-dump-schema", "migrate"]


def build_alembic_command(bench: Bench, url: str, number: int) -> list[str]:
    """Apply with alembic, a transaction a migration."""
    source = bench.folder / f"alembic_{number}"
    if not source.exists():
        (source / "versions").mkdir(parents=True)
        (source / "env.py").write_text(ALEMBIC_ENV)
        before = None
        for file in sorted(bench.migrations(number).iterdir()):
            text = f"revision = {file.stem!r}\ndown_revision = {before!r}\nfrom alembic import op\n\n\ndef upgrade():\n"
            text += "".join(
                f"    op.execute({part!r})\n" for part in file.read_text().split(";") if part.strip()
            )
            (source / "versions" / f"{file.stem}.py").write_text(text)
            before = file.stem
        (source / "alembic.ini").write_text(f"[alembic]\nscript_location = {source}\n")
    return [_find_script("alembic"), "-c", str(source / "alembic.ini"), "-x", f"url={url}", "upgrade", "head"]


ALEMBIC_ENV = """
from alembic import context
import psycopg, sqlalchemy
url = context.get_x_argument(as_dictionary=True)["url"]
engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""


def _find_script(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _find_dbmate() -> str:
    return str(Path(os.environ.get("BENCH_NODE", "node_modules")) / ".bin" / "dbmate")


def find_contenders() -> dict[str, Contender]:
    """Return who can be measured here: the two that always can, and the peers that are installed."""
    found: dict[str, Contender] = {"plain psycopg": build_plain_command, "confiture": build_confiture_command}
    if Path(_find_dbmate()).exists():
        found["dbmate"] = build_dbmate_command
    if importlib.util.find_spec("yoyo"):
        found["yoyo-migrations"] = build_yoyo_command
    if importlib.util.find_spec("alembic"):
        found["alembic"] = build_alembic_command
    return found


def print_apply_figures(bench: Bench) -> None:
    """Print the cost of a migration: 1,000 less 100, median of the rounds."""
    contenders = find_contenders()
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            few, many = (_measure_apply(bench, contender, number) for number in (FEW, MANY))
            per = MANY - FEW
            costs[name].append(Cost((many.wall_ms - few.wall_ms) / per, (many.cpu_ms - few.cpu_ms) / per))
    base = statistics.median(cost.wall_ms for cost in costs["plain psycopg"])
    print(
        f"\napply, a migration of CREATE TABLE + CREATE INDEX ({MANY} less {FEW}), median of {ROUNDS} rounds"
    )
    print(f"{'':18}{'wall ms':>9}{'client CPU ms':>15}{'x plain wall':>14}")
    for name, found in costs.items():
        wall_ms = statistics.median(cost.wall_ms for cost in found)
        cpu_ms = statistics.median(cost.cpu_ms for cost in found)
        print(f"{name:18}{wall_ms:9.2f}{cpu_ms:15.2f}{wall_ms / base:14.2f}")


def _measure_apply(bench: Bench, contender: Contender, number: int) -> Cost:
    with bench.database() as url:
        return measure_cost(contender(bench, url, number))


def print_event_figure(bench: Bench) -> None:
    """Print what an event costs a migration, and what reading the schema costs a run."""
    costs = [_measure_events(bench) for _ in range(ROUNDS)]
    without_ms = statistics.median(cost["without_ms"] for cost in costs)
    event_ms = statistics.median(cost["with_ms"] - cost["without_ms"] for cost in costs)
    # The first read, the last one and FREE_MS are a run's, however many migrations it has.
    between_ms = [sum(cost["reads_ms"][1:-1]) for cost in costs]
    more = [max(0.0, ms - FREE_MS) / cost["total_ms"] for ms, cost in zip(between_ms, costs, strict=True)]
    event, read = 100 * event_ms / without_ms, 100 * statistics.median(more)
    first_ms, last_ms = (statistics.median(cost["reads_ms"][place] for cost in costs) for place in (0, -1))
    print(
        f"\nevents of {MANY} migrations, median of {ROUNDS} rounds: the event {event_ms:.2f} ms, {event:.1f} %"
        f" of a migration's {without_ms:.2f} ms; reading the schema after it {read:.1f} %; together"
        f" {event + read:.1f} % (goal: 5 %)\n"
        f"a run's own: reading the schema before the first {first_ms:.0f} ms, after the last {last_ms:.0f} ms,"
        f" between them at most {FREE_MS:.0f} ms more than that share"
    )


def _measure_events(bench: Bench) -> dict[str, Any]:
    with bench.database() as url:
        command = [sys.executable, "-m", "tests.benchmarks.event_cost", url, str(bench.migrations(MANY))]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    cost: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return cost


def print_status_figure(bench: Bench) -> None:
    """Print what ``status`` costs where there is nothing to do, against reading the ledger."""
    with bench.database() as url:
        measure_cost(build_confiture_command(bench, url, FEW))
        folder = str(bench.migrations(FEW))
        ours, theirs = _measure_interleaved(
            [*CONFITURE, "status", "--url", url, "--migrations", folder],
            [sys.executable, "-c", PLAIN_STATUS, url],
        )
    ours_ms, theirs_ms = (statistics.median(spent.wall_ms for spent in side) for side in (ours, theirs))
    print(
        f"\nnothing to do, status: {ours_ms:.0f} ms, plain psycopg process {theirs_ms:.0f} ms: x {ours_ms / theirs_ms:.2f}"
    )


def print_help_figure() -> None:
    """Print the user CPU of ``--help``, against importing what it stands on."""
    ours, theirs = _measure_interleaved(
        [*CONFITURE, "--help"], [sys.executable, "-c", "import click, attrs, pluggy"], times=20
    )
    ours_ms, theirs_ms = (statistics.median(spent.cpu_ms for spent in side) for side in (ours, theirs))
    print(
        f"--help: {ours_ms:.0f} ms CPU, import click, attrs, pluggy {theirs_ms:.0f} ms: x {ours_ms / theirs_ms:.2f}"
    )


def _measure_interleaved(
    ours: list[str], theirs: list[str], times: int = 15
) -> tuple[list[Cost], list[Cost]]:
    pairs = [(measure_cost(ours), measure_cost(theirs)) for _ in range(times)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def print_round_trip_figures(bench: Bench) -> None:
    """Print what ten hooks of a phase cost in round trips, and in time through a slow line."""
    from confiture.hooks.api import HookPhase
    from confiture.hooks.hook_class import Hook
    from confiture.hooks.hook_context import HookContext
    from confiture.hooks.hook_runner import HookExecutor

    class Nothing(Hook):
        phase = HookPhase.AFTER_DDL

        def execute(self, conn: object, context: HookContext) -> None:
            return None

    print()
    for delay_ms in (1, 20):
        parts = conninfo_to_dict(bench.server.conninfo("postgres"))
        real = f"{parts['host']}/.s.PGSQL.{parts['port']}"
        with (
            CountingProxy(real, delay_ms / 1000) as proxy,
            psycopg.connect(f"host={proxy.folder} port=5432 user=postgres dbname=postgres") as conn,
        ):
            found = []
            for hooks in (0, 10):
                proxy.messages, began = 0, time.perf_counter()
                HookExecutor().execute_phase(
                    conn, "AFTER_DDL", [Nothing() for _ in range(hooks)], HookContext("m", "1")
                )
                found.append((proxy.messages, (time.perf_counter() - began) * 1000))
        messages, wall_ms = found[1][0] - found[0][0], found[1][1] - found[0][1]
        print(
            f"10 hooks of a phase, {delay_ms} ms each way: {messages} control round trips, {wall_ms:.0f} ms"
        )


def print_memory_figure(bench: Bench) -> None:
    """Print the peak memory of a run of 100 migrations."""
    with bench.database() as url:
        peak_kib = measure_peak_kib(build_confiture_command(bench, url, FEW))
    print(f"peak memory at {FEW} migrations: {peak_kib / 1024:.0f} MiB")


@contextmanager
def open_bench() -> Iterator[Bench]:
    """Lend a bench on a server of its own, with fsync on, as long as the block lasts."""
    measure_as_installed()
    folder = Path(tempfile.mkdtemp(prefix="confiture-bench-"))
    try:
        with open_temporary_server(folder.parent, fsync=True) as server:
            yield Bench(server, folder)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print every figure."""
    with open_bench() as bench:
        postgres = bench.server.bindir / "postgres"
        version = subprocess.run([postgres, "--version"], capture_output=True, text=True)
        print(f"{version.stdout.strip()}, fsync on, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
        print_apply_figures(bench)
        print_event_figure(bench)
        print_status_figure(bench)
        print_help_figure()
        print_round_trip_figures(bench)
        print_memory_figure(bench)
        # It stands on this module.
        from tests.benchmarks.long_plan import print_rehearsal_figures

        print_rehearsal_figures(bench)


if __name__ == "__main__":
    main()
