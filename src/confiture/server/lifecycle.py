"""Arriving at a server, which starts it where it does not run, and leaving it, which may stop it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from confiture.exceptions import ServerFault
from confiture.server import supervisor as steward
from confiture.server.account import build_clean_environment, choose_server_account
from confiture.server.binaries import ensure_runnable, find_binaries, read_major
from confiture.server.cluster import (
    build_command,
    choose_socket_folder,
    is_temporary_socket,
    open_log,
    prepare,
    read_last_lines,
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
_POLL_S = 0.01


@contextmanager
def open_embedded_server(root: Path) -> Iterator[str]:
    """Lend the embedded server of the project in ``root``: started by the first, stopped by the last one out.

    The value is the URL of the database ``app``, which is made with the data, as the superuser
    ``postgres``, over a private Unix socket.

    Raises:
        ServerFault: The server cannot be had; the message says what it said last.
    """
    with contextlib.ExitStack() as stack:
        with _convert_os_errors(root):
            bindir = find_binaries()
            server = stack.enter_context(_open_server(locate_files(root, read_major(bindir)), bindir))
        yield server.conninfo(DATABASE)


@contextmanager
def open_temporary_server(parent: Path, *, fsync: bool = False) -> Iterator[Server]:
    """Lend a server with a new, empty data folder in ``parent``, which goes when the server does.

    Raises:
        ServerFault: The server cannot be had.
    """
    with contextlib.ExitStack() as stack:
        with _convert_os_errors(parent):
            bindir = find_binaries()
            account = choose_server_account()
            home = Path(tempfile.mkdtemp(prefix="confiture-", dir=parent.resolve()))
            account.give(home)
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            data = home / f"pg{read_major(bindir)}"
            fleeting = ServerFiles(home, data, home / "server.log", account, fsync=fsync, is_temporary=True)
            server = stack.enter_context(_open_server(fleeting, bindir))
        yield server


@contextmanager
def _convert_os_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServerFault(
            f"the embedded server of {where} cannot be started: {error.strerror}: {error.filename or where}",
            hint="its data goes to .confiture beside the configuration: you must be able to write there",
        ) from error


@contextmanager
def _open_server(files: ServerFiles, bindir: Path) -> Iterator[Server]:
    with open_lock(files.lock_path("gate")) as gate, open_lock(files.lock_path("users")) as users:
        gate.take(_READY_TIMEOUT_S)
        alone = users.try_take()
        users.share(_READY_TIMEOUT_S)
        arrival = _join_or_start(files, bindir, gate, alone=alone)
        gate.release()
        try:
            yield Server(bindir, arrival.socket)
        finally:
            gate.take(_READY_TIMEOUT_S)
            _release_server(files, users, arrival.steward_pid)


@frozen
class RunningServer:
    """Where the server is, and the steward's process where it is our child."""

    socket: Path
    steward_pid: int | None = None


def _join_or_start(files: ServerFiles, bindir: Path, gate: FileLock, *, alone: bool) -> RunningServer:
    """Find the running server; start it where it does not run."""
    life = files.lock_path("steward")
    if is_held(life):
        socket = _wait_until_ready(files, lambda: not is_held(life))
    elif alone:
        # Its steward was killed with the last command: nobody would stop it.
        _stop_orphan(files)
        socket = None
    else:
        socket = _wait_until_ready(files, lambda: _find_running(files) is None)
    return RunningServer(socket) if socket else _start_server(files, bindir, gate)


def _start_server(files: ServerFiles, bindir: Path, gate: FileLock) -> RunningServer:
    programs = ensure_runnable(bindir, files.account, make_state_folder)
    prepare(files, programs, gate)
    child = _spawn_steward(json.dumps(_build_spec(files, programs)), files.log)
    socket = _wait_until_ready(files, lambda: _has_ended(child))
    if socket is None:
        raise ServerFault(
            f"the embedded server did not start; the end of {files.log}:\n{read_last_lines(files.log)}",
            hint=suggest_next_step(files),
        )
    return RunningServer(socket, child)


def _build_spec(files: ServerFiles, programs: Path) -> dict[str, Any]:
    """Return what the steward is told."""
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
        "life": os.fspath(files.lock_path("steward")),
        "users": os.fspath(files.lock_path("users")),
        "remove": [os.fspath(folder) for folder in remove],
    }


def _spawn_steward(spec: str, log: Path) -> int:
    """Start the steward apart from us: what ends this command must not end it, nor hold our output open."""
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    out = (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, 0)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", steward.__file__, spec],
        build_clean_environment(),
        file_actions=[null, out, (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,
    )


def _wait_until_ready(files: ServerFiles, has_ended: Callable[[], bool]) -> Path | None:
    """Return the socket's folder once the server answers, ``None`` once its steward is over."""
    end = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < end:
        running = _find_running(files)
        if running and accepts_connections(running):
            return running.socket
        if has_ended():
            return None
        time.sleep(_POLL_S)
    raise ServerFault(
        f"the embedded server with the data in {files.data} runs and does not answer; "
        f"the end of {files.log}:\n{read_last_lines(files.log)}",
        hint=f"end the process that {files.data / 'postmaster.pid'} names, and try again",
    )


def _release_server(files: ServerFiles, users: FileLock, steward_pid: int | None) -> None:
    """Give the server back; the last one out waits until it is gone."""
    if not users.try_take():
        # Others use it, and this is at once; or its steward is stopping it, and this waits.
        users.share(_READY_TIMEOUT_S)
        return
    users.release()
    with contextlib.suppress(FileNotFoundError), open_lock(files.lock_path("steward")) as life:
        life.take(_READY_TIMEOUT_S)
    _stop_orphan(files)
    if steward_pid is not None:
        _has_ended(steward_pid, wait=True)


def _has_ended(pid: int, *, wait: bool = False) -> bool:
    try:
        return os.waitpid(pid, 0 if wait else os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _find_running(files: ServerFiles) -> Postmaster | None:
    """Return the server of this place, if its postmaster.pid is to be believed."""
    found = read_postmaster(files.data)
    return found if found and is_alive(found, files.data) else None


def _stop_orphan(files: ServerFiles) -> None:
    """Stop the server that runs without a steward, if there is one."""
    running = _find_running(files)
    if running:
        steward.stop(running.pid, lambda: not is_alive(running, files.data))
