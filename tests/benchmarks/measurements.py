"""``make measurements``: run the benchmarks and paste what they print into docs/measurements.md.

``make measurements ONLY="bench lint"`` runs these two only.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "measurements.md"
MODULES = {
    "accuracy": "tests.accuracy",
    "static": "tests.accuracy.static",
    "schema-accuracy": "tests.accuracy.schema_lint",
    "schema": "tests.benchmarks.schema",
    "lint": "tests.benchmarks.lint",
    "matrix": "tests.matrix",
    "calibration": "tests.calibration",
    "calibration-live": "tests.calibration.live",
    "bench": "tests.benchmarks.bench",
}
# These print Markdown tables, which a code block would show as text.
MARKDOWN = ("calibration", "calibration-live")


def paste(page: str, name: str, output: str) -> str:
    """Return ``page`` with ``output`` between the markers of ``name``."""
    begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the page has no markers for {name}")
    text = output.strip("\n")
    block = text if name in MARKDOWN else f"```text\n{text}\n```"
    return f"{before}{begin}{block}{end}{after}"


def run_benchmark(name: str) -> tuple[str, int]:
    """Return what a benchmark printed, and its exit code."""
    command = [sys.executable, "-m", MODULES[name]]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout, done.returncode


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(MODULES)))
def main(names: Sequence[str]) -> None:
    """Paste the output of the benchmarks NAMES into the page; without NAMES, of all of them."""
    failed = []
    for name in names or MODULES:
        click.echo(f"{name}: python -m {MODULES[name]}")
        output, code = run_benchmark(name)
        # 1 means that a goal is not reached, which the page must show too. Without output, it crashed.
        if code not in (0, 1) or not output.strip():
            failed.append(name)
            continue
        # Read again each time: a benchmark runs for minutes, in which somebody may edit the page.
        PAGE.write_text(paste(PAGE.read_text(encoding="utf-8"), name, output), encoding="utf-8")
    if failed:
        raise click.ClickException(f"not pasted: {', '.join(failed)}")


if __name__ == "__main__":
    main()
