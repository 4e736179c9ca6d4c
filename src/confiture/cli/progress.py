"""What is happening right now, on stderr: a passing line at a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from confiture.cli.explaining import say
from confiture.cli.flags import Flags
from confiture.logs import set_threshold
from confiture.output.words import inert

Say = Callable[[str], None]


@contextmanager
def progress(flags: Flags) -> Iterator[Say | None]:
    """Lend what takes progress lines, and choose what is logged beside them."""
    set_threshold(logging.DEBUG if flags.verbose else logging.ERROR if flags.quiet else logging.WARNING)
    if flags.quiet:
        yield None
    elif sys.stderr.isatty() and sys.stdout.isatty() and not flags.verbose:
        try:
            yield _passing
        finally:
            _passing("")
    else:
        yield lambda line: say([inert(line)])


def _passing(line: str) -> None:
    room = shutil.get_terminal_size().columns - 1
    with suppress(OSError):
        click.echo(f"\r\x1b[K{inert(line)[:room]}", err=True, nl=False)
