"""Paste the session of docs/schema-lint.md: ``make docs``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).with_name("schema-lint.md")
EXAMPLE = Path(__file__).parents[1] / "examples" / "tenants"
COMMAND = ("lint", "--schema")
_BEGIN, _END = "<!-- begin session -->\n", "<!-- end session -->"


def run_session() -> str:
    """Return what a reader types in examples/tenants, and what answers."""
    with tempfile.TemporaryDirectory() as name:
        folder = shutil.copytree(EXAMPLE, Path(name) / "tenants")
        command = [sys.executable, "-m", "confiture", *COMMAND, "--no-plugins"]
        answer = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    return f"$ confiture {' '.join(COMMAND)}\n{answer.stdout.rstrip()}"


def paste(page: str, session: str) -> str:
    """Return the page with this session between its markers."""
    before, _, rest = page.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return f"{before}{_BEGIN}```console\n{session}\n```\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(paste(PAGE.read_text(encoding="utf-8"), run_session()), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
