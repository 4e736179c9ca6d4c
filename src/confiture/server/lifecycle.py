"""Join the embedded server, starting it if necessary, and leave it, stopping it after the last command."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from confiture.exceptions import ServerFault
from confiture.server import supervisor
from confiture.server.account import Account, build_clean_environment, choose_server_account
from confiture.server.binaries import ensure_runnable, find_binaries, read_major
from confiture.server.cluster import (
    build_command,
    choose_socket_folder,
    is_temporary_socket,
    open_log,
    prepare,
    read_last_lines,
    remove_leftovers,
    suggest_next_step,
)
from confiture.server.data_dir import ServerFiles, locate_files, make_state_folder
from confiture.server.file_lock import FileLock, is_held, open_lock
from confiture.server.postmaster import (
    DATABASE,
    Postmaster,
    Server,
    accepts_connections,
    is_alive,
    read_postmaster,
)

_READY_TIMEOUT_S = 120.0
_TEMPORARY_PREFIX = "confiture-"
_OWNER_LOCK = "embedded.owner"
_POLL_S = 0.01


@contextmanager
def open_embedded_server(root: Path) -> Iterator[str]:
    """Run the embedded server of the project in ``root`` for the block, sharing it with other commands.

    Yields the URL of the database ``app`` as the superuser ``postgres``, over a private Unix socket. The
    database is created together with the data.

    Raises:
        ServerFault: The server cannot be started; the message contains the end of its log.
    """
    with contextlib.ExitStack() as stack:
        with _convert_os_errors(root):
            bindir = find_binaries()
            server = stack.enter_context(_open_server(locate_files(root, read_major(bindir)), bindir))
        yield server.conninfo(DATABASE)


@contextmanager
def open_temporary_server(
    parent: Path, *, fsync: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server with a new, empty data folder in ``parent`` for the block, then delete the folder.

    Also deletes the folders that killed commands have left in ``parent``. ``settings`` are further ones of
    the whole server.

    Raises:
        ServerFault: The server cannot be started.
    """
    with contextlib.ExitStack() as stack:
        with _convert_os_errors(parent):
            bindir = find_binaries()
            account = choose_server_account()
            sweep_temporary_servers(parent.resolve(), account)
            # Once more at the end: a program that a killed command has started may run until then.
            stack.callback(sweep_temporary_servers, parent.resolve(), account)
            home = stack.enter_context(_open_temporary_home(parent.resolve(), account))
            data = home / f"pg{read_major(bindir)}"
            log = home / "server.log"
            files = ServerFiles(
                home, data, log, account, fsync=fsync, is_temporary=True, settings=settings or {}
            )
            server = stack.enter_context(_open_server(files, bindir))
        yield server


@contextmanager
def _open_temporary_home(parent: Path, account: Account) -> Iterator[Path]:
    """Make a folder that nobody sweeps during the block, and delete it afterwards."""
    unnamed = Path(tempfile.mkdtemp(prefix=f".{_TEMPORARY_PREFIX}", dir=parent))
    home = parent / unnamed.name.removeprefix(".")
    try:
        with open_lock(unnamed / _OWNER_LOCK) as owner:
            owner.take(_READY_TIMEOUT_S)
            account.give(unnamed)
            # Sweeping looks for this name only, and by now the lock is held.
            unnamed.rename(home)
            yield home
    finally:
        for folder in (unnamed, home):
            shutil.rmtree(folder, ignore_errors=True)


def sweep_temporary_servers(parent: Path, account: Account) -> tuple[Path, ...]:
    """Delete the folders of temporary servers whose command was killed; return them."""
    swept = []
    for home in parent.glob(f"{_TEMPORARY_PREFIX}*"):
        # Another user's, or one that another command has just deleted.
        with contextlib.suppress(OSError, ServerFault):
            if _is_temporary_home(home, account) and _delete_abandoned(home, account):
                swept.append(home)
    return tuple(swept)


def _is_temporary_home(home: Path, account: Account) -> bool:
    # Not is_dir(), which follows links: anybody may put one into the folder for temporary files.
    found = home.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid and (home / _OWNER_LOCK).is_file()


def _delete_abandoned(home: Path, account: Account) -> bool:
    with open_lock(home / _OWNER_LOCK) as owner:
        # The gate is held by initdb, and the others by the supervisor, which deletes the folder itself.
        others = [path for path in home.glob("embedded.*") if path.name != _OWNER_LOCK]
        if not owner.try_take() or any(map(is_held, others)):
            return False
        for data in home.glob("pg*"):
            files = ServerFiles(home, data, home / "server.log", account, is_temporary=True)
            _stop_orphan(files)
            remove_leftovers(files)
        shutil.rmtree(home, ignore_errors=True)
        return True


@contextmanager
def _convert_os_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServerFault(
            f"the embedded server of {where} cannot be started: {error.strerror}: {error.filename or where}",
            hint="check that you may write to .confiture next to the configuration file: its data goes there",
        ) from error


@contextmanager
def _open_server(files: ServerFiles, bindir: Path) -> Iterator[Server]:
    with open_lock(files.lock_path("gate")) as gate, open_lock(files.lock_path("users")) as users:
        # The gate comes first, so that nobody leaves and stops the server while we join it.
        gate.take(_READY_TIMEOUT_S)
        alone = users.try_take()
        users.share(_READY_TIMEOUT_S)
        arrival = _join_or_start(files, bindir, gate, alone=alone)
        gate.release()
        try:
            yield Server(bindir, arrival.socket)
        finally:
            gate.take(_READY_TIMEOUT_S)
            _release_server(files, users, arrival.supervisor_pid)


@frozen
class RunningServer:
    """A running server.

    Attributes:
        socket: The folder of its socket.
        supervisor_pid: The supervisor's process id, if it is our child.
    """

    socket: Path
    supervisor_pid: int | None = None


def _join_or_start(files: ServerFiles, bindir: Path, gate: FileLock, *, alone: bool) -> RunningServer:
    """Return the running server; start it if it does not run."""
    life = files.lock_path("supervisor")
    if is_held(life):
        socket = _wait_until_ready(files, lambda: not is_held(life))
    elif alone:
        # Its supervisor was killed together with the last command, so nobody else would stop it.
        _stop_orphan(files)
        socket = None
    else:
        # Only the supervisor was killed. Other commands still use the server, so join them.
        socket = _wait_until_ready(files, lambda: _find_running(files) is None)
    return RunningServer(socket) if socket else _start_server(files, bindir, gate)


def _start_server(files: ServerFiles, bindir: Path, gate: FileLock) -> RunningServer:
    programs = ensure_runnable(bindir, files.account, make_state_folder)
    prepare(files, programs, gate)
    child = _spawn_supervisor(json.dumps(_build_spec(files, programs)), files.log)
    socket = _wait_until_ready(files, lambda: _has_ended(child))
    if socket is None:
        raise ServerFault(
            f"the embedded server did not start; the end of {files.log}:\n{read_last_lines(files.log)}",
            hint=suggest_next_step(files),
        )
    return RunningServer(socket, child)


def _build_spec(files: ServerFiles, programs: Path) -> dict[str, Any]:
    """Return the supervisor's instructions: see its ``main``."""
    open_log(files.log)
    socket = choose_socket_folder(files)
    remove = [
        *([socket] if is_temporary_socket(socket) else []),
        *([files.home] if files.is_temporary else []),
    ]
    return {
        "command": build_command(files, programs, socket),
        "identity": files.account.identity,
        "log": os.fspath(files.log),
        "life": os.fspath(files.lock_path("supervisor")),
        "users": os.fspath(files.lock_path("users")),
        "remove": [os.fspath(folder) for folder in remove],
        "keeps_data": not files.is_temporary,
    }


def _spawn_supervisor(spec: str, log: Path) -> int:
    """Start the supervisor in a new session, and return its process id.

    A signal to this command's process group must not reach it, and it must not keep our stdout open, or a
    caller who reads our output through a pipe would wait for it.
    """
    # -I and -S: it needs only the standard library, and starts faster without site-packages.
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    out = (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, 0)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", supervisor.__file__, spec],
        build_clean_environment(),
        file_actions=[null, out, (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,
    )


def _wait_until_ready(files: ServerFiles, has_ended: Callable[[], bool]) -> Path | None:
    """Return the socket's folder when the server answers; ``None`` when ``has_ended`` returns True."""
    end = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < end:
        running = _find_running(files)
        if running and accepts_connections(running):
            return running.socket
        if has_ended():
            return None
        time.sleep(_POLL_S)
    raise ServerFault(
        f"the embedded server with the data in {files.data} runs but does not answer; "
        f"the end of {files.log}:\n{read_last_lines(files.log)}",
        hint=f"end the process that {files.data / 'postmaster.pid'} names, and try again",
    )


def _release_server(files: ServerFiles, users: FileLock, supervisor_pid: int | None) -> None:
    """Stop using the server; the last command waits until it has stopped."""
    if not users.try_take():
        # Other commands share the lock, and we get it at once; or the supervisor holds it while it stops the
        # server, and we wait for that.
        users.share(_READY_TIMEOUT_S)
        return
    users.release()
    with contextlib.suppress(FileNotFoundError), open_lock(files.lock_path("supervisor")) as life:
        life.take(_READY_TIMEOUT_S)
    _stop_orphan(files)
    if supervisor_pid is not None:
        _has_ended(supervisor_pid, wait=True)


def _has_ended(pid: int, *, wait: bool = False) -> bool:
    try:
        return os.waitpid(pid, 0 if wait else os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _find_running(files: ServerFiles) -> Postmaster | None:
    """Return the server of this data folder if its ``postmaster.pid`` is not stale."""
    found = read_postmaster(files.data)
    return found if found and is_alive(found, files.data) else None


def _stop_orphan(files: ServerFiles) -> None:
    """Stop the server if it still runs without a supervisor."""
    running = _find_running(files)
    if running:
        supervisor.stop(
            running.pid, lambda: not is_alive(running, files.data), keeps_data=not files.is_temporary
        )
