"""File locks, which the kernel gives back however their holder ends."""

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
    """One open file and the lock on it.

    Attributes:
        fd: The open file; a child that inherits it holds the lock with us, and after us.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def share(self, deadline_s: float) -> None:
        """Hold it beside other sharers."""
        self._wait_for_lock(fcntl.LOCK_SH, deadline_s)

    def take(self, deadline_s: float) -> None:
        """Hold it alone."""
        self._wait_for_lock(fcntl.LOCK_EX, deadline_s)

    def try_take(self) -> bool:
        """Hold it alone if that is possible at once; what was held before is given back either way."""
        # Changing a shared lock into an exclusive one is two steps to the kernel; so it is here.
        self.release()
        return self._try_lock(fcntl.LOCK_EX)

    def release(self) -> None:
        """Give it back."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give it back and close the file."""
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
                    hint=f"see who holds it (fuser {self.path}), end that command, and try again",
                )
            time.sleep(_POLL_S)


@contextmanager
def open_lock(path: Path) -> Iterator[FileLock]:
    """Lend a lock; it is free again at the end."""
    lock = FileLock(path)
    try:
        yield lock
    finally:
        lock.close()


def is_held(path: Path) -> bool:
    """Tell whether somebody holds the lock of ``path`` alone."""
    with open_lock(path) as lock:
        return not lock.try_take()
