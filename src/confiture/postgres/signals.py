"""Turn SIGINT and SIGTERM into an exception that rolls back, but hold them back during a commit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from confiture.exceptions import Interrupted

# 128 plus the signal's number, as a shell reports it.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_depth = 0
_pending_signal: int | None = None


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise :class:`Interrupted` on either signal; does nothing outside the main thread."""
    # Python allows signal handlers only in the main thread.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _handle) for number in _EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def hold_signals() -> Iterator[None]:
    """Delay a signal until the block has ended."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
    _deliver()


def _handle(number: int, _: FrameType | None) -> None:
    global _pending_signal
    _pending_signal = number
    if not _depth:
        _deliver()


def _deliver() -> None:
    global _pending_signal
    if _pending_signal is not None and not _depth:
        number, _pending_signal = _pending_signal, None
        raise Interrupted(_EXIT_CODES[signal.Signals(number)])
