"""A folder of migrations beside a test's database, and what one does with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
from attrs import frozen

import confiture
from confiture import hookimpl
from confiture.api import operations
from confiture.config.settings import Settings
from confiture.models.report import Report
from confiture.plugins.load import Loaded

SOURCE = Path(confiture.__file__).parents[1]
PATIENCE_S = 60.0
PHASES = ("before_validation", "before_ddl", "after_ddl", "after_validation", "cleanup")


@frozen
class Project:
    """A folder with migrations, and the database they are for."""

    root: Path
    url: str

    @property
    def migrations(self) -> Path:
        """Where they are."""
        return self.root / "migrations"

    def write(self, name: str, text: str) -> Path:
        """Write one migration file."""
        self.migrations.mkdir(exist_ok=True)
        path = self.migrations / name
        path.write_text(dedent(text))
        return path

    def settings(self, **more: Any) -> Settings:
        """Return settings for the Python side."""
        return Settings(**{"root": self.root, "url": self.url, "migrations": self.migrations, **more})

    def run(self, *plugins: Loaded, to: str | None = None, **more: Any) -> Report:
        """Apply what is pending."""
        return operations.run(self.settings(**more), plugins=plugins, to=to)

    def rehearse(self, *plugins: Loaded, **more: Any) -> Report:
        """Rehearse what is pending."""
        return operations.run(self.settings(**more), plugins=plugins, dry_run=True)

    def down(self, *plugins: Loaded, steps: int | None = None, to: str | None = None, **more: Any) -> Report:
        """Undo what was applied."""
        return operations.down(self.settings(**more), plugins=plugins, steps=steps, to=to)

    def states(self) -> dict[str, str]:
        """Return the state of each migration, by version."""
        return {each.version: each.state for each in operations.read_status(self.settings())}

    def command(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the real command to its end."""
        return subprocess.run(
            self._command(words),
            cwd=self.root,
            env=self._environment(**more),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    @contextmanager
    def started(self, *words: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
        """Start the real command; it is killed where the block leaves it running."""
        process = subprocess.Popen(
            self._command(words),
            cwd=self.root,
            env=self._environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def _command(self, words: Sequence[str]) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "confiture", *words]

    def _environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "PYTHONPATH": str(SOURCE), "CONFITURE_DATABASE_URL": self.url, **more}


def plugin(name: str = "jam", /, **functions: Callable[..., Any]) -> Loaded:
    """Return a plugin made of these functions, one a phase, as if it had been installed."""
    marked = {phase: staticmethod(hookimpl(function)) for phase, function in functions.items()}
    return Loaded(name, f"{name}-package", "1.0", type(name, (), marked)(), tuple(functions))


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
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
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
