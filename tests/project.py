"""A user's project: a folder of migrations, its database, and what a test does with both.

A command runs in the test's own process; :meth:`Project.start` and :meth:`Project.call_process` start a real
one, for signals, closed pipes, encodings and exit codes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
from attrs import define, field, frozen

import confiture
from confiture import hookimpl
from confiture.api import operations
from confiture.config.settings import Settings
from confiture.models.report import Report
from confiture.plugins.load import LoadedPlugin
from tests import published
from tests.in_process import Output, run_in_process

_SOURCE = Path(confiture.__file__).parents[1]
PHASES = ("before_validation", "before_ddl", "after_ddl", "after_validation", "cleanup")
_OURS = (
    "PG",
    "CONFITURE_DATABASE_URL",
    "DATABASE_URL",
    "NO_COLOR",
    "COLUMNS",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
)
_PATIENCE_S = 120.0


@frozen
class Answer(Output):
    """What a command left behind, with its report."""

    @property
    def json(self) -> Any:
        """The document on stdout, which holds nothing else; a report is valid."""
        return published.read(self.out)


@define
class Project:
    """A folder of migrations, and the database that they are for.

    Attributes:
        folder: Where commands are called.
        url: What ``CONFITURE_DATABASE_URL`` says; if empty, the variable is not set.
        installed: Where plugins are installed, as ``PYTHONPATH`` has it.
        environ: Further variables.
        started: Every process that was begun.
    """

    folder: Path
    url: str = ""
    installed: list[Path] = field(factory=list)
    environ: dict[str, str] = field(factory=dict)
    started: list[subprocess.Popen[str]] = field(factory=list, repr=False)

    @property
    def migrations(self) -> Path:
        """The folder of the migrations."""
        return self.folder / "migrations"

    def write(self, name: str, text: str | bytes) -> Path:
        """Write one file into the migrations folder; bytes as they are, text without common indentation."""
        self.migrations.mkdir(exist_ok=True)
        path = self.migrations / name
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    def configure(self, text: str) -> Path:
        """Write ``confiture.toml``."""
        path = self.folder / "confiture.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def install(self, name: str, source: str, *, version: str = "1.0", entry: str | None = None) -> None:
        """Install a plugin as pip would have left it, without pip."""
        site, module = self.folder / f"site-{name}", name.replace("-", "_")
        info = site / f"{module}_package-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-package\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[confiture]\n{name} = {entry or module}\n")
        self.installed.append(site)

    def settings(self, **more: Any) -> Settings:
        """Return settings for the Python side."""
        return Settings(**{"root": self.folder, "url": self.url, "migrations": self.migrations, **more})

    def run(self, *plugins: LoadedPlugin, to: str | None = None, **more: Any) -> Report:
        """Apply what is pending, through the Python API."""
        return operations.run(self.settings(**more), plugins=plugins, to=to)

    def rehearse(self, *plugins: LoadedPlugin, **more: Any) -> Report:
        """Rehearse what is pending, through the Python API."""
        return operations.run(self.settings(**more), plugins=plugins, dry_run=True)

    def down(
        self, *plugins: LoadedPlugin, steps: int | None = None, to: str | None = None, **more: Any
    ) -> Report:
        """Undo what was applied, through the Python API."""
        return operations.undo(self.settings(**more), plugins=plugins, steps=steps, to=to)

    def states(self) -> dict[str, str]:
        """Return the state of each migration, by version."""
        return {status.version: status.state for status in operations.read_status(self.settings())}

    def __call__(self, *arguments: str, **environ: str) -> Answer:
        """Run ``confiture ARGUMENTS`` in this process, with further variables."""
        output = run_in_process(
            arguments, folder=self.folder, environ=self.environment(**environ), sites=self.installed
        )
        return Answer(output.code, output.out, output.err)

    def call_process(self, *arguments: str, **environ: str) -> Answer:
        """Run ``confiture ARGUMENTS`` to its end, in a process of its own."""
        return ended(self.start(*arguments, **environ))

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Begin ``confiture ARGUMENTS`` in a process of its own, and do not wait for it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "confiture", *arguments],
            cwd=self.folder,
            env=self.environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    @contextmanager
    def running(self, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """Start a process that is killed if it still runs when the block ends."""
        with self.start(*arguments, **environ) as process:
            try:
                yield process
            finally:
                process.kill()

    def end(self) -> None:
        """End what a failed test has left running."""
        for process in self.started:
            if process.poll() is None:
                with process:
                    process.kill()

    def environment(self, **more: str) -> dict[str, str]:
        """Return all variables of a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        path = os.pathsep.join(map(str, (_SOURCE, *self.installed)))
        url = {"CONFITURE_DATABASE_URL": self.url} if self.url else {}
        return {**kept, "PYTHONPATH": path, **url, **self.environ, **more}


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


def plugin(name: str = "jam", /, **functions: Callable[..., Any]) -> LoadedPlugin:
    """Return a plugin made of these functions, one a phase, as if it had been installed."""
    marked = {phase: staticmethod(hookimpl(function)) for phase, function in functions.items()}
    return LoadedPlugin(name, f"{name}-package", "1.0", type(name, (), marked)(), tuple(functions))


def trail(name: str) -> Callable[..., None]:
    """Return a hook that leaves its name and its transaction's number in the table ``trail``."""

    def hook(conn: psycopg.Connection[Any]) -> None:
        conn.execute("INSERT INTO trail VALUES (%s, pg_current_xact_id()::text)", (name,))

    return hook


def steps(conn: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Return what hooks and migrations left in the table ``trail``, in order."""
    return conn.execute("SELECT step, xid FROM trail ORDER BY number").fetchall()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait until ``condition`` holds, and return what it returned."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {_PATIENCE_S:g} s for {what}"
        time.sleep(0.02)
    return answer


def running(conn: psycopg.Connection[Any], words: str) -> Callable[[], int | None]:
    """Return a condition: the pid of another session whose current statement contains ``words``."""

    def look() -> int | None:
        # Within a transaction the activity is a snapshot, taken at the first look.
        conn.execute("SELECT pg_stat_clear_snapshot()")
        found = conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
            " AND position(%s in query) > 0",
            (words,),
        ).fetchone()
        return found[0] if found else None

    return look


def keeper_of(conn: psycopg.Connection[Any]) -> int | None:
    """Return the pid of the session that holds the migration lock of this database."""
    found = conn.execute(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return found[0] if found else None


def exists(conn: psycopg.Connection[Any], name: str) -> bool:
    """Whether there is such a relation."""
    return bool(conn.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchall()[0][0])


def only(report: Report) -> Any:
    """Return the one migration of a report."""
    (migration,) = report.migrations
    return migration
