"""A server of one's own that can be killed and started again on the same data, with the same URL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from attrs import define

from confiture.server import find_binaries
from confiture.server.account import Account, build_clean_environment, choose_server_account
from confiture.server.binaries import ensure_runnable, read_major

_PATIENCE_S = 60.0
_SETTINGS = ("listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=60")


@define
class RestartableServer:
    """A server whose process a test kills.

    Attributes:
        bindir: Its programs.
        folder: Its data and its socket.
        account: Who it runs as.
        process: Its postmaster; ``None`` while it is down.
    """

    bindir: Path
    folder: Path
    account: Account
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its database ``postgres``, which stays the same when it is started again."""
        return f"host={self.folder} user=postgres dbname=postgres"

    def start(self) -> None:
        """Start it, and wait until it answers: a killed one first recovers, once its last process has ended."""
        deadline = time.monotonic() + _PATIENCE_S
        words = [f"unix_socket_directories={self.folder}", *_SETTINGS]
        command = [f"{self.bindir}/postgres", "-D", f"{self.folder}/data"]
        command += [part for word in words for part in ("-c", word)]
        while True:
            if self.process is None or self.process.poll() is not None:
                with (self.folder / "server.log").open("ab") as log:
                    self.process = subprocess.Popen(
                        command,
                        cwd="/",
                        stdout=log,
                        stderr=log,
                        env=build_clean_environment(),
                        **self.account.identity,
                    )
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill it: SIGKILL, or SIGQUIT for an immediate stop."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
        self.process = None


@contextmanager
def open_restartable_server(bindir: Path | None = None) -> Iterator[RestartableServer]:
    """Lend a new server for the block."""
    account = choose_server_account()
    # Not below a folder of root's, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="restartable-", dir="/tmp"))
    account.give(folder)
    programs = ensure_runnable(bindir or find_binaries(), account, lambda: folder / "programs")
    made = account.run(
        [
            f"{programs}/initdb",
            "-D",
            f"{folder}/data",
            "-U",
            "postgres",
            "--no-sync",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]
    )
    assert made.returncode == 0, made.stdout
    server = RestartableServer(programs, folder, account)
    try:
        server.start()
        yield server
    finally:
        server.kill(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def find_other_programs() -> Path | None:
    """Return the programs of another major version than ours: Debian's, or those of ``tests.matrix``."""
    ours = read_major(find_binaries())
    root = Path(__file__).parents[1]
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *root.glob(".venv/matrix/*/pginstall/bin")]
    for bindir in places:
        if os.access(bindir / "initdb", os.X_OK) and read_major(bindir) != ours:
            return bindir
    return None
