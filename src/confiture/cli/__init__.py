"""The command line: one small module per command, which parses flags, delegates and prints."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # This module imports nothing of ours, so that Ctrl-C while the others are imported is caught here too.
    try:
        import gc
        import sys

        # Modules, files and reports live until the end: to look for garbage among them only costs time.
        # Importing the modules makes over 70,000 objects.
        gc.set_threshold(100_000, 20, 50)
        # How long a thread whose answer has arrived waits for another one to pause. The default, 5 ms, is
        # longer than most statements take.
        sys.setswitchinterval(0.0003)
        from confiture.cli.command_line import run_command_line
    except KeyboardInterrupt:
        import os

        # Not sys.stderr: the shell may have closed it, which only `run_command_line` prepares for.
        os.write(2, b"interrupted\n")
        return _INTERRUPTED
    return run_command_line(args)
