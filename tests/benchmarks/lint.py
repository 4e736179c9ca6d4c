"""How long ``confiture lint`` takes for a thousand files, beside squawk, in one run: ``make bench-lint``.

The files are the cases that the accuracy is measured with: each its schema, and then its migration.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.accuracy.cases import read_cases

FILES, ROUNDS, LIMIT = 1000, 5, 1.5
_BIN = Path(sys.executable).parent


def write_migrations(folder: Path) -> None:
    """Write the files."""
    cases = read_cases()
    for number in range(FILES):
        case = cases[number % len(cases)]
        text = f"{case.setup.rstrip().rstrip(';')};\n{case.migration}\n".replace("; ", ";\n")
        (folder / f"{number:04}_case.sql").write_text(text, encoding="utf-8")


def build_environment(folder: str) -> dict[str, str]:
    """Return an environment in which our modules are compiled, as pip leaves them; from the second round on."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def measure_seconds(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> float:
    """Return how long a command takes; that it finds something to say is no failure."""
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"{command[0]} failed: {done.stderr.decode()[-500:]}")
    return time.perf_counter() - began


def main() -> None:
    """Print both times; exit 1 where ours is too long."""
    squawk = shutil.which("squawk", path=str(_BIN)) or shutil.which("squawk")
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as compiled:
        folder, environment = Path(name), build_environment(compiled)
        write_migrations(folder)
        ours = [sys.executable, "-m", "confiture", "lint", str(folder)]
        peers = [squawk, *map(str, sorted(folder.iterdir()))] if squawk else None
        # Turn and turn about, so that what else the machine does meets both.
        rounds = [
            (measure_seconds(ours, environment), measure_seconds(peers, environment) if peers else None)
            for _ in range(ROUNDS)
        ]
    ours_s = min(elapsed_s for elapsed_s, _ in rounds)
    sys.stdout.write(f"confiture lint, {FILES} files: {ours_s:.2f} s\n")
    squawk_s = [elapsed_s for _, elapsed_s in rounds if elapsed_s is not None]
    if not squawk_s:
        sys.stdout.write("squawk is not installed: nothing to compare with\n")
        return
    share = ours_s / min(squawk_s)
    sys.stdout.write(
        f"squawk, {FILES} files: {min(squawk_s):.2f} s; confiture takes {share:.2f} times as long"
    )
    sys.stdout.write(f", to reach: {LIMIT} at most\n")
    sys.exit(0 if share <= LIMIT else 1)


if __name__ == "__main__":
    main()
