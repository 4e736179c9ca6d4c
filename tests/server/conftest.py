"""Projects to start a server in, commands that use one, and a look at what runs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

import confiture
from confiture.server import find_binaries, open_embedded_server
from confiture.server.binaries import read_major
from confiture.server.data_dir import STATE_FOLDER

# Ours and what is installed, for a Python that is not the environment's own.
IMPORTS = os.pathsep.join([str(Path(confiture.__file__).parents[1]), str(Path(psycopg.__file__).parents[1])])
EMBEDDED = """
import signal
import sys
from pathlib import Path
from confiture.server import open_embedded_server
# A test run in the background of a shell has it ignored, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
with open_embedded_server(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.readline()
"""
TEMPORARY = """
import sys
from pathlib import Path
from confiture.server import open_temporary_server
with open_temporary_server(Path(sys.argv[1])) as server:
    print(server.conninfo("postgres"), flush=True)
    sys.stdin.readline()
"""


class Command:
    """A process of its own that uses the server until it is told to end."""

    def __init__(
        self,
        root: Path,
        *,
        script: str = EMBEDDED,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        **identity: Any,
    ) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [python, "-W", "error", "-c", script, os.fspath(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": IMPORTS, **(environment or {})},
            **identity,
        )

    def url(self) -> str:
        """Wait until it is in."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> str:
        """Let it leave; return what it had to complain about."""
        complaint = self.process.communicate("\n", timeout=30)[1]
        assert self.process.returncode == 0, complaint
        return complaint

    def kill(self) -> None:
        """End it as nothing can be prepared for."""
        self.process.kill()
        self.process.communicate()


def processes_of(folder: Path) -> list[int]:
    """Return the processes, zombies excepted, whose command line speaks of ``folder``."""
    wanted = os.fsencode(folder)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            if (
                wanted in words or json.dumps(str(folder))[1:-1].encode() in words
            ) and b"from confiture.server" not in words:
                found.append(int(process.name))
    return found


def gone(folder: Path, within_s: float = 5.0) -> bool:
    """Wait until no process speaks of ``folder``."""
    end = time.monotonic() + within_s
    while processes_of(folder) and time.monotonic() < end:
        time.sleep(0.02)
    return not processes_of(folder)


def postmaster(data: Path) -> int:
    """Return the number of the server's first process."""
    return int((data / "postmaster.pid").read_text().splitlines()[0])


@pytest.fixture(scope="session")
def pg() -> str:
    """``pgNN`` of the server programs under test."""
    return f"pg{read_major(find_binaries())}"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    # Not tmp_path: as root, the server's user cannot enter pytest's own folder.
    memory = os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2**30
    folder = Path(tempfile.mkdtemp(prefix="project-", dir="/dev/shm" if memory else "/tmp")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        # A server that is killed leaves shared memory behind: only where it does not go by itself.
        for pid in [] if gone(folder) else processes_of(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _forget_private(folder)
        shutil.rmtree(folder)


def _forget_private(folder: Path) -> None:
    for note in folder.rglob("embedded.json"):
        home = Path(json.loads(note.read_text())["data"]).parent
        if home.parent == STATE_FOLDER:
            shutil.rmtree(home)


@pytest.fixture
def empty() -> Iterator[Path]:
    """A project that no command has been run in."""
    with _folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def _used(pg: str) -> Iterator[Path]:
    with _folder() as folder:
        with open_embedded_server(folder):
            pass
        yield folder


@pytest.fixture
def project(empty: Path, _used: Path) -> Path:
    """A project whose data is there, from a command before."""
    subprocess.run(["cp", "-a", _used / ".confiture", empty], check=True)
    return empty


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    """Start a command; it is over when the test is."""
    started: list[Command] = []

    def start(*args: Any, **kwargs: Any) -> Command:
        started.append(Command(*args, **kwargs))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
