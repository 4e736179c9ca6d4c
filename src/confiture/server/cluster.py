"""Create the data folder, completely or not at all, and build the command that starts the server on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from confiture.exceptions import ServerFault
from confiture.server.account import Account
from confiture.server.data_dir import ServerFiles
from confiture.server.file_lock import FileLock
from confiture.server.postmaster import DATABASE, PORT, SUPERUSER, read_postmaster

# A Unix socket's path may have 107 bytes on Linux and 103 on macOS, including the socket's name.
_MAX_SOCKET_BYTES = 103
_SOCKET_FOLDER_PREFIX = "confiture-"
_INITDB_OPTIONS = ("-E", "UTF8", "--locale=C", "-U", SUPERUSER, "--auth-local=trust", "--auth-host=reject")
_LOG_LINES = 15
_LOW_DISK_MB = 32
# Greater than any process id that a kernel assigns.
_NOBODYS_PID = 2**31 - 1


def prepare(files: ServerFiles, bindir: Path, gate: FileLock) -> None:
    """Create the data folder if there is none, and delete what an interrupted command left unfinished.

    Raises:
        ServerFault: It cannot be created, or the existing one is incomplete.
    """
    for leftover in files.home.glob(f".{files.data.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if files.data.exists() and any(files.data.iterdir()):
        _check_whole(files.data)
    else:
        _make(files, bindir, gate)


def _check_whole(data: Path) -> None:
    missing = [name for name in ("PG_VERSION", "global/pg_control") if not (data / name).is_file()]
    if missing:
        raise ServerFault(
            f"{data} is not a complete data folder: it has no {' and no '.join(missing)}",
            hint=f"restore what is missing, or delete {data}; the next command creates an empty server",
        )


def _make(files: ServerFiles, bindir: Path, gate: FileLock) -> None:
    # Under a temporary name until it is complete: after a kill in between, nothing looks like a data folder.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{files.data.name}-", dir=files.home))
    try:
        files.account.give(unfinished)
        sync = () if files.fsync else ("--no-sync",)
        _run_checked(
            files.account, [f"{bindir}/initdb", "-D", f"{unfinished}", *_INITDB_OPTIONS, *sync], gate
        )
        single = [f"{bindir}/postgres", "--single", "-D", f"{unfinished}", "postgres"]
        _run_checked(files.account, single, gate, stdin=f"CREATE DATABASE {DATABASE}\n")
        unfinished.rename(files.data)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _run_checked(account: Account, command: Sequence[str], gate: FileLock, *, stdin: str = "") -> None:
    # The child inherits the gate: if we are killed, the next command waits until the child has ended too.
    done = account.run(command, stdin=stdin, keep=[gate.fd])
    if done.returncode:
        output = "\n".join(done.stdout.strip().splitlines()[-_LOG_LINES:])
        raise ServerFault(
            f"{command[0]} failed, run as {account.name}:\n{output}",
            hint="correct what the last lines say, and try again; nothing unfinished is left behind",
        )


def build_command(files: ServerFiles, bindir: Path, socket: Path) -> list[str]:
    """Return the command that starts the server with a private socket, no TCP, and its log on stderr."""
    # PostgreSQL reads a list of folders; quoted, a name with a comma is one folder.
    quoted = '"' + str(socket).replace('"', '""') + '"'
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": quoted,
        "unix_socket_permissions": "0700",
        "port": str(PORT),
        "log_destination": "stderr",
        "logging_collector": "off",
    }
    if not files.fsync:
        settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    settings |= files.settings
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [os.fspath(bindir / "postgres"), "-D", os.fspath(files.data), *words]


def choose_socket_folder(files: ServerFiles) -> Path:
    """Return a private folder for the socket: the data folder, or a new one if its path is unsuitable."""
    remove_leftovers(files)
    name = os.fsencode(files.data / f".s.PGSQL.{PORT}")
    if len(name) <= _MAX_SOCKET_BYTES and _is_plain(files.data):
        return files.data
    folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX, dir="/tmp"))
    files.account.give(folder)
    return folder


def _is_plain(path: Path) -> bool:
    """Return True if libpq reads the path as one folder: a comma, for example, would make it two hosts."""
    text = str(path)
    return text.isascii() and text.isprintable() and not set(text) & set(",\"'\\")


def remove_leftovers(files: ServerFiles) -> None:
    """Remove what a dead server has left: its socket folder, and its pid in ``postmaster.pid``."""
    stale = read_postmaster(files.data)
    if stale is None:
        return
    if stale.socket and is_temporary_socket(stale.socket) and stale.socket.is_dir():
        shutil.rmtree(stale.socket, ignore_errors=True)
    # By now the pid may belong to another process, and PostgreSQL would refuse to start. The rest of the file
    # stays: from the shared memory key PostgreSQL learns if a backend of the old server is still running.
    file = os.open(files.data / "postmaster.pid", os.O_RDWR | os.O_NOFOLLOW)
    with open(file, "r+b") as pid_file:
        rest = pid_file.read().partition(b"\n")[2]
        pid_file.seek(0)
        pid_file.write(b"%d\n%b" % (_NOBODYS_PID, rest))
        pid_file.truncate()


def is_temporary_socket(socket: Path) -> bool:
    """Return True if ``socket`` is a folder that ``choose_socket_folder`` made."""
    return socket.parent == Path("/tmp") and socket.name.startswith(_SOCKET_FOLDER_PREFIX)


def open_log(path: Path) -> None:
    """Replace the server's log with an empty file."""
    # O_EXCL and O_NOFOLLOW: root writes here, in a folder of another user, who could put a link in its place.
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))


def read_last_lines(path: Path) -> str:
    """Return the last lines of the server's log."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.strip().splitlines()[-_LOG_LINES:])


def suggest_next_step(files: ServerFiles) -> str:
    """Return the hint for a failed start."""
    free_mb = shutil.disk_usage(files.home).free >> 20
    if free_mb < _LOW_DISK_MB:
        # The log may be on the same disk, and empty for that reason.
        return f"free space on the disk with {files.home} ({free_mb} MB left), and try again"
    return "correct what the last lines say, and try again"
