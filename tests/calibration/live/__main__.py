"""``make calibration-live``: rehearse on small databases, predict a large one, run there, and compare."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click
import psycopg

from confiture.estimate.curve import compute_work
from confiture.estimate.statement_estimate import FEWEST_MS
from confiture.server import open_temporary_server
from confiture.testing.databases import TemplateDatabases
from tests.accuracy.laboratory import disable_autovacuum
from tests.calibration.live.draw import draw_picture
from tests.calibration.live.measure import Measured, measure
from tests.calibration.live.render import render_summary, render_table
from tests.calibration.live.schemas import SCHEMAS

SIZES = (20_000, 60_000, 200_000, 1_000_000)
SEEDS = (1, 2, 3)
PICTURE = Path("build", "calibration-live.svg")
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 6 << 30


@click.command()
@click.option("--rows", type=int, multiple=True, default=SIZES, help="Sizes, the last one is production's.")
@click.option("--runs", default=3, show_default=True, help="How often each is rehearsed.")
@click.option("--svg", type=click.Path(path_type=Path), default=PICTURE, help="Where the picture goes.")
def main(rows: Sequence[int], runs: int, svg: Path) -> None:
    """Print predicted against actual, and draw it."""
    began = time.monotonic()
    folder = find_data_folder()
    measured: list[Measured] = []
    with (
        open_temporary_server(folder) as server,
        psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn,
        disable_autovacuum(conn),
    ):
        version = conn.execute("SHOW server_version").fetchall()[0][0]
        templates = TemplateDatabases(server, conn)
        for schema in SCHEMAS:
            for seed in SEEDS:
                print(f"\n## {schema.name}, seed {seed}\n")
                one = measure(
                    templates, schema, rows, schema.changes, seed=seed, runs=runs, tell=_print_progress
                )
                judged = [change.judge(adjusted=True) for change in one]
                print(f"{render_table(judged)}\n\n{render_summary(judged)}", flush=True)
                measured += one
    small = ", ".join(f"{size:,}" for size in rows[:-1])
    print(f"\n# All: rehearsed {runs} times on {small} rows, run on {rows[-1]:,}")
    where = "memory" if folder == _MEMORY else "disk"
    print(f"\nPostgreSQL {version}, data in {where}, fsync off, {os.cpu_count()} CPUs\n")
    _print(measured, rows)
    svg.parent.mkdir(parents=True, exist_ok=True)
    svg.write_text(_draw(measured, rows), encoding="utf-8")
    print(f"\n{svg}\n\n{time.monotonic() - began:.0f} s")


def _print(measured: Sequence[Measured], rows: Sequence[int]) -> None:
    adjusted = [change.judge(adjusted=True) for change in measured]
    print(f"Waiting for a CPU taken out, {_describe_cpu_wait(measured)}:\n\n{render_summary(adjusted)}")
    same = [change.judge(adjusted=True, probed=False) for change in measured]
    print(
        f"\nThe same, had the probe found one speed, not {_list_speeds(measured)} ns a row:\n\n{render_summary(same)}"
    )
    print(f"\n{_describe_repetition(measured)}\n{_describe_growth(measured, rows)}")
    print(f"\nBy the clock alone:\n\n{render_summary([each.judge(adjusted=False) for each in measured])}")


def _describe_repetition(measured: Sequence[Measured]) -> str:
    """Return how well a rehearsal repeats itself here: no prediction can be nearer than that."""
    runs = [[timed.adjusted.duration_ms for timed in change.small[-1][1]] for change in measured]
    ratios = sorted(max(run) / min(run) for run in runs if min(run) >= FEWEST_MS)
    if not ratios:
        return "No rehearsal took long enough to say how well they repeat themselves."
    return (
        f"Rehearsals of one statement on the same rows, one after the other: the slowest took "
        f"{median(ratios):.2f} × the fastest in the middle, {ratios[-1]:.2f} × at most."
    )


def _describe_growth(measured: Sequence[Measured], rows: Sequence[int]) -> str:
    """Return how times grew from the largest rehearsed size to the predicted one."""
    ratios = [
        change.large[1].adjusted.duration_ms / before
        for change in measured
        if (before := median(timed.adjusted.duration_ms for timed in change.small[-1][1])) >= FEWEST_MS
    ]
    if not ratios:
        return "Nothing took long enough to say how it grew."
    return (
        f"{rows[-1] / rows[-2]:g} × the rows took {median(ratios):.1f} × the time in the middle "
        f"({min(ratios):.1f} to {max(ratios):.1f}); n·log2 n grows {compute_work(rows[-1]) / compute_work(rows[-2]):.1f} ×."
        + _describe_faults(measured, rows)
    )


def _describe_faults(measured: Sequence[Measured], rows: Sequence[int]) -> str:
    """Return how often memory was touched that was new to the process, for the same number of rows."""
    here = [timed.processor.faults for change in measured for timed in change.small[-1][1] if timed.processor]
    there = [change.large[1].processor.faults for change in measured if change.large[1].processor]
    if not here or not there:
        return ""
    per = [1000 / size for size in (rows[-2], rows[-1])]
    return (
        f" Memory new to the server's process was touched {median(here) * per[0]:.1f} times a thousand rows "
        f"here, {median(there) * per[1]:.1f} times there."
    )


def _list_speeds(measured: Sequence[Measured]) -> str:
    """Return what the probe found, on one and the same machine, before each size."""
    first = measured[0]
    return ", ".join(
        f"{here.probe.ns_per_row:.0f}"
        for here in (*(statistics for statistics, _ in first.small), first.large[0])
    )


def _describe_cpu_wait(measured: Sequence[Measured]) -> str:
    """Return how much the machine's other work has cost the large ones."""
    statements = [change.large[1] for change in measured]
    if any(statement.processor is None for statement in statements):
        return "where the kernel tells it"
    total_ms = sum(statement.statement.duration_ms for statement in statements)
    left_ms = sum(statement.adjusted.duration_ms for statement in statements)
    return f"{100 * (1 - left_ms / total_ms):.0f} % of the time on the large one"


def _draw(measured: Sequence[Measured], rows: Sequence[int]) -> str:
    title = f"Rehearsed on up to {rows[-2]:,} rows, run on {rows[-1]:,}"
    return draw_picture([change.judge(adjusted=True) for change in measured], title)


def find_data_folder() -> Path:
    """Memory where there is room, else the disk."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


def _print_progress(words: str) -> None:
    print(words, file=sys.stderr)


if __name__ == "__main__":
    main()
