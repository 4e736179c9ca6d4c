"""A small process that starts a server, waits until nobody uses it, and stops it.

It runs as a script with only the standard library, in a session separate from the command's: it must
survive when the command is killed, to stop the server then. Its one argument is JSON: see :func:`main`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

_POLL_S = 0.02
# PostgreSQL's fast shutdown first, then immediate shutdown without a checkpoint, and at last SIGKILL.
_SHUTDOWNS = ((signal.SIGINT, 120.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))


def main(spec: dict[str, Any]) -> None:
    """Run the server that ``spec`` describes until nobody uses it.

    The keys of ``spec``: ``command``; ``identity``, arguments for ``subprocess``; ``log``; ``life`` and
    ``users``, the lock files; ``remove``, folders to delete at the end; ``keeps_data``, whether the data is
    not among them.
    """
    # An inherited descriptor would keep the command's locks and pipes open.
    os.closerange(3, 4096)
    os.chdir("/")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)
    # Locks that end with this process, also by SIGKILL: the next command then sees that nobody watches.
    life = os.open(spec["life"], os.O_RDWR | os.O_NOFOLLOW)
    users = os.open(spec["users"], os.O_RDWR | os.O_NOFOLLOW)
    fcntl.flock(life, fcntl.LOCK_EX)
    try:
        _serve(spec, users)
    finally:
        for folder in spec["remove"]:
            shutil.rmtree(folder, ignore_errors=True)


def _serve(spec: dict[str, Any], users: int) -> None:
    server = _start_postgres(spec)
    try:
        # If the server ends by itself, end too, so that the next command can start another.
        while server.poll() is None and not _is_unused(users):
            time.sleep(_POLL_S)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop(server.pid, lambda: server.poll() is not None, keeps_data=spec["keeps_data"])


def _start_postgres(spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    log = os.open(spec["log"], os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    try:
        return subprocess.Popen(
            spec["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **spec["identity"]
        )
    except OSError as error:
        os.write(log, f"{spec['command'][0]}: {error}\n".encode())
        raise SystemExit(1) from None
    finally:
        os.close(log)


def _is_unused(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _exit(*_: object) -> None:
    raise SystemExit(0)


def stop(pid: int, has_ended: Callable[[], bool], *, keeps_data: bool = True) -> bool:
    """Stop a server, at last by SIGKILL; return True if it has ended.

    Without ``keeps_data`` it is not asked to write a checkpoint, which can take many seconds.
    """
    for number, patience_s in _SHUTDOWNS if keeps_data else _SHUTDOWNS[1:]:
        if not has_ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + patience_s
        while not has_ended() and time.monotonic() < end:
            time.sleep(_POLL_S)
    return has_ended()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
