"""File locks, which the kernel releases when their holder ends, even by SIGKILL."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confiture.exceptions import ServerFault

_POLL_S = 0.01


class FileLock:
    """An open file and the lock on it.

    Attributes:
        path: The file.
        fd: Its descriptor. flock() belongs to the open file, so a child that inherits it keeps the lock
            even after we have ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def share(self, deadline_s: float) -> None:
        """Take the shared lock; wait while another process holds the exclusive one."""
        self._wait_for_lock(fcntl.LOCK_SH, deadline_s)

    def take(self, deadline_s: float) -> None:
        """Take the exclusive lock; wait while another process holds any."""
        self._wait_for_lock(fcntl.LOCK_EX, deadline_s)

    def try_take(self) -> bool:
        """Take the exclusive lock if it is free; a lock held before is released in either case."""
        # flock() is not atomic when it turns a shared lock into an exclusive one: it releases the old lock
        # first, and loses it if the new one is not available. Do the same in all cases.
        self.release()
        return self._try_lock(fcntl.LOCK_EX)

    def release(self) -> None:
        """Release the lock."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the lock and close the file."""
        os.close(self.fd)

    def _try_lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(self, kind: int, deadline_s: float) -> None:
        end = time.monotonic() + deadline_s
        while not self._try_lock(kind):
            if time.monotonic() > end:
                raise ServerFault(
                    f"{self.path} has been locked by another command for {deadline_s:.0f} s",
                    hint=f"find its holder (fuser {self.path}), end that command, and try again",
                )
            time.sleep(_POLL_S)


@contextmanager
def open_lock(path: Path) -> Iterator[FileLock]:
    """Open a lock file for the block; afterwards close it, which releases the lock."""
    lock = FileLock(path)
    try:
        yield lock
    finally:
        lock.close()


def is_held(path: Path) -> bool:
    """Return True if another process holds a lock on ``path``."""
    with open_lock(path) as lock:
        return not lock.try_take()
