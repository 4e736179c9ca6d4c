"""The command line: one small module a command; each parses, delegates and prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from confiture.cli.commands import confiture
from confiture.cli.error_messages import ended

__all__ = ["main"]

COMPLETE = "_CONFITURE_COMPLETE"
"""Set by the shell's completion: what is to be answered."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is shown escaped, never a reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if COMPLETE in os.environ:
            from confiture.cli.completion_command import complete

            return complete(os.environ[COMPLETE])
        arguments = list(sys.argv[1:] if args is None else args)
        with confiture.make_context("confiture", arguments) as context:
            code = confiture.invoke(context)
        sys.stdout.flush()
        return int(code or 0)
    except (Exception, KeyboardInterrupt) as error:
        return ended(error)
