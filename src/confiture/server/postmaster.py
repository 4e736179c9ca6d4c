"""Read ``postmaster.pid``, check that it is not stale, and connect to a running server."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from urllib.parse import quote, urlencode

from attrs import frozen

SUPERUSER = "postgres"
DATABASE = "app"
PORT = 5432
_PROTOCOL_3 = 196608
_ANSWER_TIMEOUT_S = 5.0


@frozen
class Server:
    """A server that accepts connections.

    Attributes:
        bindir: The folder of its programs, including ``psql`` and ``pg_dump``.
        socket: The private folder of its socket.
    """

    bindir: Path
    socket: Path

    def conninfo(self, dbname: str) -> str:
        """Return the URL of one of its databases."""
        # An empty hostaddr overrides PGHOSTADDR, which would otherwise take precedence over the host.
        where = urlencode({"host": self.socket, "port": PORT, "hostaddr": ""}, quote_via=quote, safe="")
        return f"postgresql://{SUPERUSER}@/{quote(dbname, safe='')}?{where}"


@frozen
class Postmaster:
    """The content of a ``postmaster.pid``.

    Attributes:
        pid: The process id.
        socket: The folder of its socket; ``None`` if it has none yet.
        ready: True if its status is *ready*.
    """

    pid: int
    socket: Path | None
    ready: bool


def read_postmaster(data: Path) -> Postmaster | None:
    """Return the content of ``postmaster.pid`` in ``data``; ``None`` if there is none for this folder."""
    try:
        text = os.fsdecode((data / "postmaster.pid").read_bytes())
    except FileNotFoundError:
        return None
    pid, _, rest = text.partition("\n")
    folder = f"{data}\n"
    if not pid.strip().isdigit() or not rest.startswith(folder):
        return None
    # start time, port, socket folder, listen address, shared memory, status
    lines = [*rest.removeprefix(folder).split("\n"), *[""] * 6]
    return Postmaster(int(pid), Path(lines[2]) if lines[2] else None, lines[5].strip() == "ready")


def is_alive(postmaster: Postmaster, data: Path) -> bool:
    """Return True if the process exists and is a server of this data folder.

    After a crash or a reboot, another process may have the same pid.
    """
    try:
        os.kill(postmaster.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False
    # Without /proc, as on macOS, the pid must be enough.
    process = Path("/proc", str(postmaster.pid))
    if not process.exists():
        return not Path("/proc/self").exists()
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(data) in words


def accepts_connections(postmaster: Postmaster) -> bool:
    """Return True if the server accepts a connection."""
    # Send the start-up packet ourselves, so that psycopg need not be imported for it.
    if not postmaster.ready or postmaster.socket is None:
        return False
    words = f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
    hello = struct.pack("!ii", len(words) + 8, _PROTOCOL_3) + words
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_ANSWER_TIMEOUT_S)
            client.connect(os.fspath(postmaster.socket / f".s.PGSQL.{PORT}"))
            client.sendall(hello)
            welcome = client.recv(1) == b"R"
            client.sendall(b"X\0\0\0\4")
            return welcome
    except OSError:
        return False
