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
from confiture.server.account import clean_environment, server_account
from confiture.server.binaries import binaries, major, runnable
from confiture.server.cluster import (
    advice,
    command_line,
    is_short,
    last_lines,
    open_log,
    prepare,
    socket_folder,
)
from confiture.server.data_dir import Place, place, state
from confiture.server.file_lock import FileLock, is_held, open_lock
from confiture.server.postmaster import DATABASE, Postmaster, Server, answers, lives, read_postmaster

_READY_S = 120.0
_POLL_S = 0.01


@contextmanager
def embedded(root: Path) -> Iterator[str]:
    """Lend the embedded server of the project in ``root``: started by the first, stopped by the last one out.

    The value is the URL of the database ``app``, which is made with the data, as the superuser
    ``postgres``, over a private Unix socket.

    Raises:
        ServerFault: The server cannot be had; the message says what it said last.
    """
    with contextlib.ExitStack() as stack:
        with _told(root):
            bindir = binaries()
            server = stack.enter_context(_lend(place(root, major(bindir)), bindir))
        yield server.conninfo(DATABASE)


@contextmanager
def temporary(parent: Path, *, fsync: bool = False) -> Iterator[Server]:
    """Lend a server with a new, empty data folder in ``parent``, which goes when the server does.

    Raises:
        ServerFault: The server cannot be had.
    """
    with contextlib.ExitStack() as stack:
        with _told(parent):
            bindir = binaries()
            account = server_account()
            home = Path(tempfile.mkdtemp(prefix="confiture-", dir=parent.resolve()))
            account.give(home)
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            data = home / f"pg{major(bindir)}"
            fleeting = Place(home, data, home / "server.log", account, fsync=fsync, fleeting=True)
            server = stack.enter_context(_lend(fleeting, bindir))
        yield server


@contextmanager
def _told(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServerFault(
            f"the embedded server of {where} cannot be started: {error.strerror}: {error.filename or where}",
            hint="its data goes to .confiture beside the configuration: you must be able to write there",
        ) from error


@contextmanager
def _lend(place: Place, bindir: Path) -> Iterator[Server]:
    with open_lock(place.lock("gate")) as gate, open_lock(place.lock("users")) as users:
        gate.take(_READY_S)
        alone = users.try_take()
        users.share(_READY_S)
        arrival = _arrive(place, bindir, gate, alone=alone)
        gate.release()
        try:
            yield Server(bindir, arrival.socket)
        finally:
            gate.take(_READY_S)
            _leave(place, users, arrival.steward)


@frozen
class Arrival:
    """Where the server is, and the steward's process where it is our child."""

    socket: Path
    steward: int | None = None


def _arrive(place: Place, bindir: Path, gate: FileLock, *, alone: bool) -> Arrival:
    """Find the running server; start it where it does not run."""
    life = place.lock("steward")
    if is_held(life):
        socket = _await(place, lambda: not is_held(life))
    elif alone:
        # Its steward was killed with the last command: nobody would stop it.
        _stop(place)
        socket = None
    else:
        socket = _await(place, lambda: _running(place) is None)
    return Arrival(socket) if socket else _start(place, bindir, gate)


def _start(place: Place, bindir: Path, gate: FileLock) -> Arrival:
    programs = runnable(bindir, place.account, state)
    prepare(place, programs, gate)
    child = _spawn(json.dumps(_spec(place, programs)), place.log)
    socket = _await(place, lambda: _ended(child))
    if socket is None:
        raise ServerFault(
            f"the embedded server did not start; the end of {place.log}:\n{last_lines(place.log)}",
            hint=advice(place),
        )
    return Arrival(socket, child)


def _spec(place: Place, programs: Path) -> dict[str, Any]:
    """Return what the steward is told."""
    open_log(place.log)
    socket = socket_folder(place)
    remove = [*([socket] if is_short(socket) else []), *([place.home] if place.fleeting else [])]
    return {
        "command": command_line(place, programs, socket),
        "identity": place.account.identity,
        "log": os.fspath(place.log),
        "life": os.fspath(place.lock("steward")),
        "users": os.fspath(place.lock("users")),
        "remove": [os.fspath(folder) for folder in remove],
    }


def _spawn(spec: str, log: Path) -> int:
    """Start the steward apart from us: what ends this command must not end it, nor hold our output open."""
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)
    out = (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, 0)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", steward.__file__, spec],
        clean_environment(),
        file_actions=[null, out, (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,
    )


def _await(place: Place, over: Callable[[], bool]) -> Path | None:
    """Return the socket's folder once the server answers, ``None`` once its steward is over."""
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        running = _running(place)
        if running and answers(running):
            return running.socket
        if over():
            return None
        time.sleep(_POLL_S)
    raise ServerFault(
        f"the embedded server with the data in {place.data} runs and does not answer; "
        f"the end of {place.log}:\n{last_lines(place.log)}",
        hint=f"end the process that {place.data / 'postmaster.pid'} names, and try again",
    )


def _leave(place: Place, users: FileLock, child: int | None) -> None:
    """Give the server back; the last one out waits until it is gone."""
    if not users.try_take():
        # Others use it, and this is at once; or its steward is stopping it, and this waits.
        users.share(_READY_S)
        return
    users.release()
    with contextlib.suppress(FileNotFoundError), open_lock(place.lock("steward")) as life:
        life.take(_READY_S)
    _stop(place)
    if child is not None:
        _ended(child, wait=True)


def _ended(child: int, *, wait: bool = False) -> bool:
    try:
        return os.waitpid(child, 0 if wait else os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def _running(place: Place) -> Postmaster | None:
    """Return the server of this place, if its postmaster.pid is to be believed."""
    found = read_postmaster(place.data)
    return found if found and lives(found, place.data) else None


def _stop(place: Place) -> None:
    """Stop the server that runs without a steward, if there is one."""
    running = _running(place)
    if running:
        steward.stop(running.pid, lambda: not lives(running, place.data))
