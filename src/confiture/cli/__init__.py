"""The command line: one small module per command, which parses flags, delegates and prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from confiture.cli.commands import confiture
from confiture.cli.error_messages import report_error

__all__ = ["main"]

COMPLETION_VARIABLE = "_CONFITURE_COMPLETE"
"""The environment variable in which the shell's completion script asks its question."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _prepare_streams()
    try:
        code = _run_command(args)
        # Flush here: at the interpreter's exit, a full disk could no longer be reported as an error.
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = report_error(error)
    finally:
        # sys.stdout may be redirected to another stream; Python flushes sys.__stdout__ at exit too.
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            _discard_unwritten(stream)
    return code


def _run_command(args: Sequence[str] | None) -> int:
    if COMPLETION_VARIABLE in os.environ:
        from confiture.cli.completion_command import complete

        return complete(os.environ[COMPLETION_VARIABLE])
    arguments = list(sys.argv[1:] if args is None else args)
    with confiture.make_context("confiture", arguments) as context:
        return int(confiture.invoke(context) or 0)


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
