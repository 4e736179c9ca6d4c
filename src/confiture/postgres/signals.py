"""Turn SIGINT and SIGTERM into an exception that rolls back, but hold them back during a commit."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from confiture.exceptions import Interrupted

if TYPE_CHECKING:
    from psycopg import Connection

# 128 plus the signal's number, as a shell reports it.
_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_CANCEL_PATIENCE_S = 5.0
# Of the process, because a signal handler gets no argument of ours: how many `hold_signals` blocks are open,
# the signal that they hold back, and the connection whose answer the innermost one waits for.
_depth = 0
_pending_signal: int | None = None
_awaited: Connection[Any] | None = None
_notify: Callable[[str], None] | None = None


@contextmanager
def raise_on_signals(notify: Callable[[str], None] | None = None) -> Iterator[None]:
    """Raise :class:`Interrupted` on either signal; does nothing outside the main thread.

    Calls ``notify`` with what happens instead when a signal arrives during a commit.
    """
    global _notify
    if not _is_main_thread():
        yield
        return
    before = {number: signal.signal(number, _handle) for number in _EXIT_CODES}
    _notify = notify
    try:
        yield
    finally:
        _notify = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def hold_signals(conn: Connection[Any] | None = None) -> Iterator[None]:
    """Delay a signal until the block has ended, which waits for an answer of the server on ``conn``.

    An exception in the middle of a commit would leave nobody knowing whether it happened. Instead the first
    signal asks the server to cancel, so that its answer says which. The second one gives the connection up,
    for an answer that never arrives.

    Raises:
        Interrupted: A signal arrived, and the block succeeded, was cancelled or lost its connection.
    """
    global _depth, _awaited
    if not _is_main_thread():
        yield
        return
    # Imported here, because `lint` raises on signals too, and loads no driver.
    import psycopg

    outer, _depth, _awaited = _awaited, _depth + 1, conn or _awaited
    try:
        with _catch_plain_interrupts():
            yield
    # A cancelled query is one of these too. Any other error has its own reason, and is not replaced: the
    # signal is dropped, since the error ends the run as well. `_depth - 1`: this block still counts.
    except psycopg.OperationalError as error:
        if (interruption := _take_pending(_depth - 1)) is not None:
            raise interruption from error
        raise
    except BaseException:
        _take_pending(_depth - 1)
        raise
    finally:
        _depth, _awaited = _depth - 1, outer
    # Only after a block that succeeded: an error above has left the function already.
    _deliver()


@contextmanager
def _catch_plain_interrupts() -> Iterator[None]:
    """Handle SIGINT here during the block if only Python's own handler would: in an application."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_main_thread() -> bool:
    # Python allows signal handlers only in the main thread, and runs them there.
    return threading.current_thread() is threading.main_thread()


def _handle(number: int, _: FrameType | None) -> None:
    global _pending_signal
    again, _pending_signal = _pending_signal is not None, number
    if not _depth:
        _deliver()
    elif _awaited is not None:
        # Nothing may be raised here: psycopg waits for the answer further up the stack.
        with suppress(Exception):
            give_up(_awaited) if again else _cancel(_awaited)


def _cancel(conn: Connection[Any]) -> None:
    if _notify:
        _notify(
            "interrupted during a commit: cancelled, and waiting for the server's answer; "
            "a second signal gives the connection up"
        )
    conn.cancel_safe(timeout=_CANCEL_PATIENCE_S)


def give_up(conn: Connection[Any]) -> None:
    """End the network connection under ``conn``, so that whoever waits for an answer on it gets an error."""
    # Not conn.close(): its descriptor could be given to another file while somebody still waits on it.
    with socket.socket(fileno=os.dup(conn.fileno())) as end, suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _deliver() -> None:
    if (interruption := _take_pending(_depth)) is not None:
        raise interruption


def _take_pending(depth: int) -> Interrupted | None:
    """Return the signal that was held back, unless an outer block still holds it."""
    global _pending_signal
    if _pending_signal is None or depth:
        return None
    number, _pending_signal = _pending_signal, None
    return Interrupted(_EXIT_CODES[signal.Signals(number)])
