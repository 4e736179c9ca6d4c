"""Copies the look-alike of a large application with the command, and prints the time and the memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from attrs import frozen

from confiture_anonymize.source_schema import read_tables
from tests.application.project import list_files
from tests.application_rows import SKIP, choose_rules, fill_tables

SECRET = {"CONFITURE_ANONYMIZE_SECRET": "a secret of many bytes"}
_SCHEMA = "SET check_function_bodies = off;\n"


@frozen
class Run:
    """One command that has ended.

    Attributes:
        seconds: How long it took.
        peak_mb: The most memory that its process had.
        out: What it wrote to stdout.
    """

    seconds: float
    peak_mb: float
    out: str


def measure_application(conninfo: Any, sizes: tuple[int, ...]) -> None:
    """Print what a copy of ``sizes`` rows in all takes, its verification, and masking a copy in place."""
    print("\nthe look-alike of an application, by the command, from one database to another")
    with tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            with _open_databases(conninfo, rows, Path(folder)) as ends:
                count = _count_rows(ends[0])
                copied = _run(
                    Path(folder), "anonymize", "--profile", "qa", "--from", ends[0], "--to", ends[1]
                )
                _print("copy", count, copied)
                verified = _run(
                    Path(folder), "anonymize", "verify", "--profile", "qa", "--from", ends[0], "--to", ends[1]
                )
                _print("verify", count, verified)
                masked = _run(Path(folder), "anonymize", "--profile", "qa", "--in-place", ends[0])
                _print("in place", count, masked)


@contextmanager
def _open_databases(conninfo: Any, rows: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the URLs of a filled and of an empty application."""
    schema = _SCHEMA + "\n".join(file.sql for file in list_files(seeded=False))
    with psycopg.connect(conninfo("postgres"), autocommit=True) as conn:
        for name in ("filled", "empty"):
            conn.execute(f"DROP DATABASE IF EXISTS {name}".encode())
            conn.execute(f"CREATE DATABASE {name}".encode())
            with psycopg.connect(conninfo(name), autocommit=True) as made:
                made.execute(schema.encode())
        with psycopg.connect(conninfo("filled"), autocommit=True) as source:
            tables = read_tables(source, "confiture")
            large = sum(not table.name.startswith("c_") for table in tables)
            fill_tables(source, -(-rows // large))
            source.execute("VACUUM ANALYZE")
            _write_profile(folder, choose_rules(tables))
        yield conninfo("filled"), conninfo("empty")


def _write_profile(folder: Path, rules: dict[str, str]) -> None:
    lines = "\n".join(f'"{pattern}" = {rule}' for pattern, rule in rules.items())
    skip = ", ".join(f'"{name}"' for name in SKIP)
    (folder / "confiture.toml").write_text(
        f"[anonymize.profiles.qa]\nskip = [{skip}]\n[anonymize.profiles.qa.columns]\n{lines}\n"
    )


def _count_rows(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as conn:
        counts = [
            conn.execute(f"SELECT count(*) FROM {table.sql}".encode()).fetchone()
            for table in read_tables(conn, "confiture")
            if table.name not in SKIP
        ]
    return sum(row[0] for row in counts if row)


def _run(folder: Path, *arguments: str) -> Run:
    began = time.perf_counter()
    command = [sys.executable, "-m", "confiture", *arguments]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **SECRET}, stdout=out, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return Run(time.perf_counter() - began, usage.ru_maxrss / 1024, out.read().splitlines()[-1])


def _print(what: str, rows: int, run: Run) -> None:
    speed = f"{run.seconds:6.1f} s {rows / run.seconds:>9,.0f} rows/s"
    print(f"{what:9} {rows:>9,} rows {speed}, at most {run.peak_mb:.0f} MB: {run.out}")
