"""Show progress on stderr: live at a terminal, plain lines elsewhere, JSON with ``--log-format json``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

import click
from attrs import define, evolve, field

from confiture.cli.error_messages import say
from confiture.cli.flags import Flags
from confiture.cli.live_display import LineEndingStream, LiveDisplay, find_terminal
from confiture.escape import escape_control
from confiture.logs import (
    DEBUG,
    ERROR,
    INFO,
    WARNING,
    get_logger,
    is_json,
    redirect_progress,
    set_threshold,
)

if TYPE_CHECKING:
    from confiture.engine.blockers import Activity
    from confiture.models.report import MigrationReport


class ProgressDisplay(Protocol):
    """Receives the progress of a run."""

    def __call__(self, line: str) -> None:
        """Show one line."""

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Begin to show the current activity, which ``read_activity`` returns."""

    def report_migration(self, report: MigrationReport) -> None:
        """Show that a migration has ended."""


@contextmanager
def open_progress(flags: Flags) -> Iterator[ProgressDisplay | None]:
    """Yield the display that suits stderr, ``None`` with ``--quiet``; set the log threshold."""
    set_threshold(_choose_threshold(flags))
    if flags.quiet:
        yield None
    elif is_json():
        yield JsonProgress()
    elif sys.stderr.isatty() and sys.stdout.isatty() and not flags.verbose:
        display = TerminalProgress()
        with redirect_stderr(cast(TextIO, LineEndingStream(sys.stderr, display.end_line))):
            redirect_progress(display.keep_event)
            try:
                yield display
            finally:
                redirect_progress(None)
                display.stop()
    else:
        yield LineProgress(shows_all=flags.verbose)


def _choose_threshold(flags: Flags) -> int:
    if flags.quiet:
        return ERROR
    if flags.verbose:
        return DEBUG
    return INFO if is_json() else WARNING


# A log of hundreds of steps hides what matters; a line now and then shows that it goes on.
_MOST_LINES, _EVERY = 20, 50


@define
class LineProgress:
    """Prints one plain line per step; of a long plan the first steps, and then one in fifty.

    Attributes:
        shows_all: True to print every step.
    """

    shows_all: bool = False
    _steps: int = 0

    def __call__(self, line: str) -> None:
        """Print the line, if its turn has come."""
        self._steps += 1
        if self.shows_all or self._steps <= _MOST_LINES or self._steps % _EVERY == 0:
            say([escape_control(line)])

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Do nothing: only whole steps are shown."""

    def report_migration(self, report: MigrationReport) -> None:
        """Do nothing: the line of the step shows it."""


class JsonProgress:
    """Logs one JSON object per migration."""

    def __call__(self, line: str) -> None:
        """Do nothing: ``report_migration`` logs more."""

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Do nothing: only whole migrations are logged."""

    def report_migration(self, report: MigrationReport) -> None:
        """Log the outcome of a migration."""
        log = get_logger("confiture")
        emit = log.error if report.outcome == "failed" else log.info
        emit(
            f"migration.{report.outcome}",
            version=report.version,
            name=report.name,
            duration_ms=None if report.duration_ms is None else round(report.duration_ms, 3),
            rows_affected=report.rows_affected,
            **({"message": report.error.message, "sqlstate": report.error.sqlstate} if report.error else {}),
        )


@define
class TerminalProgress:
    """Shows one line that is overwritten, and the running statement if a step takes over a second."""

    _live: LiveDisplay | None = field(default=None)
    _is_line_open: bool = False
    _event: Mapping[str, Any] = field(factory=dict)

    def keep_event(self, event: Mapping[str, Any]) -> None:
        """Keep what a plugin logs of its progress, to show it while its phase runs."""
        self._event = dict(event)

    def __call__(self, line: str) -> None:
        """Replace the previous line with this one."""
        if self._live:
            self._live.pause()
        _print_line(line)
        self._is_line_open = True

    def end_line(self) -> None:
        """Remove what is shown, because something else is about to be printed."""
        if self._live:
            self._live.pause()
        if self._is_line_open:
            self._is_line_open = False
            _print_line("")

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Begin to show the current activity."""
        self.stop()
        self._live = LiveDisplay(lambda: self._add_event(read_activity()))
        self._live.start()

    def _add_event(self, activity: Activity | None) -> Activity | None:
        event = self._event
        if activity is None or (event.get("version"), event.get("phase")) != (
            activity.version,
            activity.stage,
        ):
            return activity
        shown = (f"{name}={value}" for name, value in event.items() if name not in _COMMON_KEYS)
        return evolve(activity, message=" ".join((f"{event.get('plugin')}:", *shown)))

    def report_migration(self, report: MigrationReport) -> None:
        """Do nothing: the line of the step shows it."""

    def stop(self) -> None:
        """Remove the display and the line, so that the report starts on an empty line."""
        if self._live:
            self._live.stop()
            self._live = None
        _print_line("")


_COMMON_KEYS = ("level", "event", "version", "phase", "plugin")


def _print_line(line: str) -> None:
    room = shutil.get_terminal_size().columns - 1
    with suppress(OSError, ValueError):
        click.echo(f"\r\x1b[K{escape_control(line)[:room]}", file=find_terminal(), nl=False)
