"""What happens right now, on stderr: live at a terminal, plain lines elsewhere, objects for machines."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import click
from attrs import define, field

from confiture.cli.explaining import say
from confiture.cli.flags import Flags
from confiture.logs import DEBUG, ERROR, INFO, WARNING, as_json, logger, set_threshold
from confiture.output.words import inert

if TYPE_CHECKING:
    from confiture.cli.live import Live
    from confiture.core.watching import Now
    from confiture.models.report import MigrationReport


class Progress(Protocol):
    """What takes note of the work."""

    def __call__(self, line: str) -> None:
        """Take a line for a person."""

    def begins(self, look: Callable[[], Now | None]) -> None:
        """Take what tells what runs."""

    def ended(self, report: MigrationReport) -> None:
        """Take note that a migration has ended."""


@contextmanager
def progress(flags: Flags) -> Iterator[Progress | None]:
    """Lend what takes note of the work, and choose what is logged beside it."""
    set_threshold(_threshold(flags))
    if flags.quiet:
        yield None
    elif as_json():
        yield Events()
    elif sys.stderr.isatty() and sys.stdout.isatty() and not flags.verbose:
        passing = Passing()
        try:
            yield passing
        finally:
            passing.stop()
    else:
        yield Lines()


def _threshold(flags: Flags) -> int:
    if flags.quiet:
        return ERROR
    if flags.verbose:
        return DEBUG
    return INFO if as_json() else WARNING


class Lines:
    """A plain line a step."""

    def __call__(self, line: str) -> None:
        """Print it."""
        say([inert(line)])

    def begins(self, look: Callable[[], Now | None]) -> None:
        """Leave it at a line a step."""

    def ended(self, report: MigrationReport) -> None:
        """Leave it at the line."""


class Events:
    """An object a step, for machines."""

    def __call__(self, line: str) -> None:
        """Leave it: the object says more."""

    def begins(self, look: Callable[[], Now | None]) -> None:
        """Leave it at an object a step."""

    def ended(self, report: MigrationReport) -> None:
        """Log what became of it."""
        log = logger("confiture")
        tell = log.error if report.outcome == "failed" else log.info
        tell(
            f"migration.{report.outcome}",
            version=report.version,
            name=report.name,
            duration_ms=None if report.duration_ms is None else round(report.duration_ms, 3),
            rows_affected=report.rows_affected,
            **({"message": report.error.message, "sqlstate": report.error.sqlstate} if report.error else {}),
        )


@define
class Passing:
    """One passing line at a terminal; live, with what runs, for anything over a second."""

    _live: Live | None = field(default=None)

    def __call__(self, line: str) -> None:
        """Show it in place of the last one."""
        if self._live:
            self._live.pause()
        _pass(line)

    def begins(self, look: Callable[[], Now | None]) -> None:
        """Begin to show what runs."""
        from confiture.cli.live import Live

        self.stop()
        self._live = Live(look)
        self._live.start()

    def ended(self, report: MigrationReport) -> None:
        """Leave it at the line."""

    def stop(self) -> None:
        """Take it all away again."""
        if self._live:
            self._live.stop()
            self._live = None
        _pass("")


def _pass(line: str) -> None:
    room = shutil.get_terminal_size().columns - 1
    with suppress(OSError):
        click.echo(f"\r\x1b[K{inert(line)[:room]}", err=True, nl=False)
