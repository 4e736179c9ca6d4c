"""Lend stdout and stderr to the code of migrations and plugins, and take them back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast


class LentStream:
    """A stream that other people's code may write to but not close."""

    # No attrs here: importing it takes a fifth of the time of --help.
    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def close(self) -> None:
        """Do nothing: the report and the messages still have to be written."""

    def detach(self) -> Any:
        """Return the buffer, and stay usable."""
        return self.stream.buffer

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the stream."""
        return getattr(self.stream, name)


# Of the process, as sys.stdout is. Blocks of several threads may end in any order, so they are counted: the
# first to begin saves the streams, and the last to end restores them.
_lock = threading.Lock()
_ours: tuple[TextIO, TextIO] | None = None
_blocks = 0


@contextmanager
def lend_streams() -> Iterator[None]:
    """Send to stderr whatever other people's code prints during the block, because stdout carries a report.

    The streams are restored after the block, whatever that code has assigned to them. Blocks may be nested,
    and run in several threads at once.
    """
    global _ours, _blocks
    with _lock:
        _ours = _ours or (sys.stdout, sys.stderr)
        _blocks += 1
        _lend(_ours[1])
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks:
                _lend(_ours[1])
            else:
                (sys.stdout, sys.stderr), _ours = _ours, None


def _lend(stream: TextIO) -> None:
    sys.stdout = sys.stderr = cast(TextIO, LentStream(stream))


def find_stdout() -> TextIO:
    """Return the stdout for reports, whatever other people's code has put in its place."""
    return _ours[0] if _ours else sys.stdout


def find_stderr() -> TextIO:
    """Return the stderr for our own messages, whatever other people's code has put in its place."""
    return _ours[1] if _ours else sys.stderr
