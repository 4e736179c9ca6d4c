"""A project of a user's: a folder of migrations, the command line called in it, plugins beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from attrs import define, field, frozen

import confiture
from tests import published

_SOURCE = Path(confiture.__file__).parents[1]
_OURS = ("PG", "CONFITURE_DATABASE_URL", "DATABASE_URL", "NO_COLOR", "COLUMNS", "PYTHONPATH")
_PATIENCE_S = 120.0


@frozen
class Answer:
    """What a command answered.

    Attributes:
        code: Its exit code.
        out: What it wrote to stdout.
        err: The same of stderr.
    """

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on stdout, which holds nothing else; a report is valid."""
        return published.read(self.out)


@define
class Project:
    """A folder of a user's.

    Attributes:
        folder: Where commands are called.
        url: What ``CONFITURE_DATABASE_URL`` says, ``None`` where it is not set.
        installed: Where plugins are installed, as ``PYTHONPATH`` has it.
        environ: Further variables.
        started: Every command that was begun.
    """

    folder: Path
    url: str | None = None
    installed: list[Path] = field(factory=list)
    environ: dict[str, str] = field(factory=dict)
    started: list[subprocess.Popen[str]] = field(factory=list, repr=False)

    @property
    def migrations(self) -> Path:
        """The folder of the migrations."""
        return self.folder / "migrations"

    def write(self, name: str, text: str | bytes) -> Path:
        """Write one file into the migrations folder."""
        self.migrations.mkdir(exist_ok=True)
        path = self.migrations / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def configure(self, text: str) -> Path:
        """Write ``confiture.toml``."""
        path = self.folder / "confiture.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def install(self, name: str, source: str, *, version: str = "1.0", entry: str | None = None) -> None:
        """Install a plugin as pip would have left it, in no time."""
        site, module = self.folder / f"site-{name}", name.replace("-", "_")
        info = site / f"{module}_package-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-package\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[confiture]\n{name} = {entry or module}\n")
        self.installed.append(site)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin ``confiture ARGUMENTS``, and do not wait for it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "confiture", *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what a failed test has left running."""
        for process in self.started:
            if process.poll() is None:
                with process:
                    process.kill()

    def __call__(self, *arguments: str) -> Answer:
        """Run ``confiture ARGUMENTS`` to its end."""
        return ended(self.start(*arguments))

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        path = os.pathsep.join(map(str, (_SOURCE, *self.installed)))
        url = {} if self.url is None else {"CONFITURE_DATABASE_URL": self.url}
        return {**kept, "PYTHONPATH": path, **url, **self.environ}


def ended(process: subprocess.Popen[str], number: signal.Signals | None = None) -> Answer:
    """Return what a command answers in the end, once it was sent a signal if there is one to send."""
    with process:
        if number is not None:
            process.send_signal(number)
        try:
            out, err = process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert "Traceback" not in err, err
    assert "Traceback" not in out, out
    return Answer(process.returncode, out, err)


def wait_until(true: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for something to become true; fail where ``process`` ends before, or it never does."""
    deadline = time.monotonic() + _PATIENCE_S
    while not true():
        assert process is None or process.poll() is None, ended(process)
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)


def tables(conn: psycopg.Connection[Any]) -> list[str]:
    """Return every table that there is beside the catalogs, quoted where PostgreSQL would."""
    found = conn.execute(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    )
    return [name for (name,) in found]


def applied(conn: psycopg.Connection[Any]) -> list[str]:
    """Return the versions that the ledger knows, as it sorts them."""
    return [version for (version,) in conn.execute("SELECT version FROM confiture.ledger ORDER BY 1")]
