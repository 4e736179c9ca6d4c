"""Run one command in a process: prepare its streams, report its error and return its exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from confiture.cli.commands import confiture
from confiture.cli.error_messages import report_error, say_wait
from confiture.postgres.wait_notice import show_waits

COMPLETION_VARIABLE = "_CONFITURE_COMPLETE"
"""The environment variable in which the shell's completion script asks its question."""


def run_command_line(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if args is None:
        sys.unraisablehook = _show_unraisable
    try:
        _prepare_streams()
        code = _run_command(args)
        # Flush here: at the interpreter's exit, a full disk could no longer be reported as an error.
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        with ignore_interrupts():
            code = report_error(error)
    finally:
        # sys.stdout may be redirected to another stream; Python flushes sys.__stdout__ at exit too.
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            _discard_unwritten(stream)
    if args is None:
        # The process ends now, with this code. Python's own clean-up would answer Ctrl-C with a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Python looks for garbage once more at its exit, but not among frozen objects.
        gc.freeze()
    return code


def _show_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Leave out Ctrl-C in a destructor, which stops nothing: Python would print a traceback about it."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def _run_command(args: Sequence[str] | None) -> int:
    if COMPLETION_VARIABLE in os.environ:
        from confiture.cli.completion_command import complete

        return complete(os.environ[COMPLETION_VARIABLE])
    arguments = list(sys.argv[1:] if args is None else args)
    with show_waits(say_wait), confiture.make_context("confiture", arguments) as context:
        return int(confiture.invoke(context) or 0)


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C during the block: a second one must not replace the message about the first."""
    # Python allows signal handlers only in the main thread.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # The shell closed the stream (``>&-``). Without this, the next file that is opened gets its
            # descriptor, and output would be written into that file.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the end of the process
        stream = getattr(sys, name)
        # Characters that the terminal's encoding lacks are escaped; the default would raise an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _discard_unwritten(stream: TextIO | None) -> None:
    """Redirect ``stream`` to the null device if its buffer cannot be written.

    Python flushes its streams once more at exit; if that fails, it prints "Exception ignored" and exits with
    120, whatever the command returned.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()
