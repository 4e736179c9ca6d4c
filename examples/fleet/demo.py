"""``make demo-fleet``: forty tenants are rehearsed and migrated, on threads and on a local Dask cluster.

One of them fails and is tried again, and the coordinator is killed and resumed.

``--page FILE`` also pastes what it prints into a page, between its markers.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from confiture.server import open_embedded_server

HERE = Path(__file__).parent
TENANTS = [f"tenant_{number:02d}" for number in range(1, 41)]
# The smallest tenant has so many, the largest four times as many.
_ORDERS = 10_000
_BLOCK = re.compile("<!-- begin demo -->\n.*?<!-- end demo -->", re.S)


def play(folder: Path, conn: psycopg.Connection[Any]) -> Iterator[str]:
    """Yield the lines of the demo, on threads and on a local Dask cluster."""
    _make_tenants(conn)
    yield "# forty tenants; tenant_07 has a table that the migration does not expect"
    yield from _call(folder, "fleet", "run", "--dry-run")
    yield from _kill_and_resume(folder, conn, "threads")
    yield from _call(folder, "fleet", "status", "--drift")
    yield ""
    _make_tenants(conn)
    yield "# the same tenants as they were, on a local Dask cluster"
    yield from _kill_and_resume(folder, conn, "dask")


def _kill_and_resume(folder: Path, conn: psycopg.Connection[Any], executor: str) -> Iterator[str]:
    yield from _kill_in_the_middle(folder, conn, executor)
    yield from _call(folder, "fleet", "status")
    yield from _call(folder, "fleet", "run", "--executor", executor, "--resume", "1")
    yield "# the table of tenant_07 is renamed"
    conn.execute("ALTER TABLE tenant_07.invoices RENAME TO old_invoices")
    yield from _call(folder, "fleet", "run", "--executor", executor, "--resume", "1", "--retry-failed")
    yield f"# {_count_invoices(conn)}"


def _make_tenants(conn: psycopg.Connection[Any]) -> None:
    for tenant in TENANTS:
        conn.execute(f"DROP SCHEMA IF EXISTS {tenant}, confiture_{tenant} CASCADE".encode())
        conn.execute(f"CREATE SCHEMA {tenant}".encode())
        rows = _ORDERS * (1 + TENANTS.index(tenant) % 4)
        conn.execute(f"CREATE TABLE {tenant}.orders (id int PRIMARY KEY, euros int NOT NULL)".encode())
        conn.execute(f"INSERT INTO {tenant}.orders SELECT n, n FROM generate_series(1, {rows}) n".encode())
    conn.execute("DROP SCHEMA IF EXISTS confiture CASCADE")
    conn.execute("CREATE TABLE tenant_07.invoices (number text)")


def _kill_in_the_middle(folder: Path, conn: psycopg.Connection[Any], executor: str) -> Iterator[str]:
    arguments = ("fleet", "run", "--executor", executor)
    process = _start(folder, *arguments)
    while process.poll() is None and not _count_done(conn) >= len(TENANTS) // 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    yield f"$ confiture {' '.join(arguments)} &"
    yield "$ kill -9 $!    # as soon as half of the tenants are done"


def _count_done(conn: psycopg.Connection[Any]) -> int:
    try:
        rows = conn.execute("SELECT count(*) FROM confiture.fleet_target WHERE state = 'done'").fetchall()
    except psycopg.errors.UndefinedTable:
        return 0
    return int(rows[0][0])


def _count_invoices(conn: psycopg.Connection[Any]) -> str:
    """Return how many tenants have the two invoices of the migration, and one entry in their ledger."""
    right = 0
    for tenant in TENANTS:
        ledger = f"confiture_{tenant}.ledger"
        query = f"SELECT (SELECT count(*) FROM {tenant}.invoices), (SELECT count(*) FROM {ledger})"
        right += conn.execute(query.encode()).fetchall() == [(2, 1)]
    return f"{right} of {len(TENANTS)} tenants have their two invoices, and one entry in their ledger"


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "confiture", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _call(folder: Path, *arguments: str) -> Iterator[str]:
    out, _ = (process := _start(folder, *arguments)).communicate()
    yield f"$ confiture {' '.join(arguments)}"
    yield from out.rstrip().splitlines()
    if process.returncode:
        yield f"# exit code {process.returncode}"


def paste(page: str, text: str) -> str:
    """Return a page with the demo's text between its markers."""
    block = f"<!-- begin demo -->\n```console\n{text.strip()}\n```\n<!-- end demo -->"
    return _BLOCK.sub(lambda _: block, page)


def print_demo() -> str:
    """Play the demo in a copy of the project, print it and return it."""
    lines = []
    with TemporaryDirectory() as name:
        folder = copytree(HERE, Path(name) / "fleet", ignore=ignore_patterns(".confiture", "__pycache__"))
        with (
            open_embedded_server(folder) as url,
            closing(psycopg.connect(url, autocommit=True)) as conn,
        ):
            for line in play(folder, conn):
                print(line, flush=True)
                lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    printed = print_demo()
    if sys.argv[1:2] == ["--page"]:
        file = Path(sys.argv[2])
        file.write_text(paste(file.read_text(encoding="utf-8"), printed), encoding="utf-8")
