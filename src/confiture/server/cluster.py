"""The data folder: made whole or not at all, and what the server is told when it starts on it."""

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

# The system's limit is 107 bytes on Linux and 103 on macOS, the socket's own name included.
_MAX_SOCKET_BYTES = 103
_SOCKET_FOLDER_PREFIX = "confiture-"
_INITDB_OPTIONS = ("-E", "UTF8", "--locale=C", "-U", SUPERUSER, "--auth-local=trust", "--auth-host=reject")
_LOG_LINES = 15
_LOW_DISK_MB = 32
_NOBODYS_PID = 2**31 - 1


def prepare(files: ServerFiles, bindir: Path, gate: FileLock) -> None:
    """Make the data folder where there is none; what an interrupted command left half-made goes.

    Raises:
        ServerFault: It cannot be made, or what is there is not whole.
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
            f"{data} is not a whole data folder: it has no {' and no '.join(missing)}",
            hint=f"put back what is missing, or delete {data} and an empty server is made",
        )


def _make(files: ServerFiles, bindir: Path, gate: FileLock) -> None:
    # Under a name of its own until it is whole: a kill in between leaves nothing that looks like data.
    making = Path(tempfile.mkdtemp(prefix=f".{files.data.name}-", dir=files.home))
    try:
        files.account.give(making)
        sync = () if files.fsync else ("--no-sync",)
        _run_checked(files.account, [f"{bindir}/initdb", "-D", f"{making}", *_INITDB_OPTIONS, *sync], gate)
        single = [f"{bindir}/postgres", "--single", "-D", f"{making}", "postgres"]
        _run_checked(files.account, single, gate, stdin=f"CREATE DATABASE {DATABASE}\n")
        making.rename(files.data)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _run_checked(account: Account, command: Sequence[str], gate: FileLock, *, stdin: str = "") -> None:
    # With the gate in its hand: when we are killed, the next command waits until this is over too.
    done = account.run(command, stdin=stdin, keep=[gate.fd])
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-_LOG_LINES:])
        raise ServerFault(
            f"{command[0]} failed, run as {account.name}:\n{said}",
            hint="mend what the last lines say, and try again: nothing half-made is left",
        )


def build_command(files: ServerFiles, bindir: Path, socket: Path) -> list[str]:
    """Return the words that start the server: a private socket, no TCP, the log on its output."""
    # The value is a list to PostgreSQL: in quotes it is one folder, whatever is in its name.
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
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [os.fspath(bindir / "postgres"), "-D", os.fspath(files.data), *words]


def choose_socket_folder(files: ServerFiles) -> Path:
    """Return a private folder for the socket: the data folder, or a short new one where that will not do."""
    remove_leftovers(files)
    name = os.fsencode(files.data / f".s.PGSQL.{PORT}")
    if len(name) <= _MAX_SOCKET_BYTES and _is_plain(files.data):
        return files.data
    folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX, dir="/tmp"))
    files.account.give(folder)
    return folder


def _is_plain(path: Path) -> bool:
    """Tell whether libpq takes the path for one folder: a comma would make it two hosts."""
    text = str(path)
    return text.isascii() and text.isprintable() and not set(text) & set(",\"'\\")


def remove_leftovers(files: ServerFiles) -> None:
    """Take away what a server that is no more has left: its socket's folder, and the number it had."""
    stale = read_postmaster(files.data)
    if stale is None:
        return
    if stale.socket and is_temporary_socket(stale.socket) and stale.socket.is_dir():
        shutil.rmtree(stale.socket, ignore_errors=True)
    # The number may be a stranger's by now, and PostgreSQL would refuse to start. The rest of the
    # file stays: by it PostgreSQL finds out whether a process of the old server is still at work.
    file = os.open(files.data / "postmaster.pid", os.O_RDWR | os.O_NOFOLLOW)
    with open(file, "r+b") as pid_file:
        rest = pid_file.read().partition(b"\n")[2]
        pid_file.seek(0)
        pid_file.write(b"%d\n%b" % (_NOBODYS_PID, rest))
        pid_file.truncate()


def is_temporary_socket(socket: Path) -> bool:
    """Tell whether this is one of the folders that we make for a socket."""
    return socket.parent == Path("/tmp") and socket.name.startswith(_SOCKET_FOLDER_PREFIX)


def open_log(path: Path) -> None:
    """Begin the server's log anew."""
    # A new file each time, never a link to another: root writes here, in a folder of another user.
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))


def read_last_lines(path: Path) -> str:
    """Return the end of the server's log."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.strip().splitlines()[-_LOG_LINES:])


def suggest_next_step(files: ServerFiles) -> str:
    """Return the next step after a start that failed."""
    free_mb = shutil.disk_usage(files.home).free >> 20
    if free_mb < _LOW_DISK_MB:
        # The log may lie on the same disk, and say nothing for that reason.
        return f"the disk that holds {files.home} is nearly full ({free_mb} MB free): make room and try again"
    return "mend what the last lines say, and try again"
