"""Shows progress on stderr: live at a terminal, plain lines elsewhere, JSON with ``--log-format json``."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, suppress
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

import click
from attrs import define, evolve, field, frozen

from confiture.cli.error_messages import say
from confiture.cli.flags import Flags
from confiture.escape import escape_control, escape_lines
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
from confiture.output.format import format_duration

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
    with suppress(OSError):
        click.echo(f"\r\x1b[K{escape_control(line)[:room]}", file=_find_stderr(), nl=False)


@frozen
class LineEndingStream:
    """Stderr while a line is shown on it that will be overwritten: other text starts on an empty line.

    Attributes:
        stream: The real stderr.
        end_line: Removes the line.
    """

    stream: TextIO
    end_line: Callable[[], None]

    def write(self, text: str) -> int:
        """Write after the line was removed."""
        self.end_line()
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the real stderr."""
        return getattr(self.stream, name)


def _find_stderr() -> TextIO:
    return sys.stderr.stream if isinstance(sys.stderr, LineEndingStream) else sys.stderr


# Ten times a second looks continuous.
_INTERVAL_S = 0.1
_LIVE_AFTER_MS = 1000.0


@define
class LiveDisplay:
    """Draws the current activity on stderr, from a separate thread.

    Attributes:
        read_activity: Returns the current activity, ``None`` if nothing runs.
    """

    read_activity: Callable[[], Activity | None]
    _stop: threading.Event = field(factory=threading.Event)
    # Both the thread and the main thread, in pause() and stop(), use the display.
    _drawing: threading.Lock = field(factory=threading.Lock)
    _thread: threading.Thread | None = None
    _display: Any = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._watch, name="confiture-progress", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Remove the display until the next activity that takes long enough."""
        with self._drawing:
            self._clear()

    def stop(self) -> None:
        """Stop the thread and remove the display."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        self.pause()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            now = self.read_activity()
            with self._drawing:
                if now is None or now.elapsed_ms < _LIVE_AFTER_MS:
                    self._clear()
                # stop() may have been called while the activity was read: then nothing would remove it again.
                elif not self._stop.is_set():
                    self._draw(now)

    def _draw(self, activity: Activity) -> None:
        # Imported here: rich is slow to import, and most runs draw nothing.
        from rich.text import Text

        if self._display is None:
            self._display = _build_display()
            self._display.start()
        self._display.update(
            Text("\n".join(render_activity(activity)), overflow="ellipsis", no_wrap=True), refresh=True
        )

    def _clear(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None


def _build_display() -> Any:
    from rich.console import Console
    from rich.live import Live as Display

    stderr = _find_stderr()
    # Erase the line that TerminalProgress has printed.
    stderr.write("\r\x1b[K")
    # rich would replace sys.stdout and sys.stderr, which are global, while the main thread prints.
    return Display(
        console=Console(file=stderr),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def render_activity(activity: Activity) -> list[str]:
    """Return the lines to draw: the migration and its time, the statement, what it says, and its blocker."""
    lines = [
        f"{escape_control(activity.label)}: {escape_control(activity.stage)}, "
        f"{format_duration(activity.elapsed_ms)}"
    ]
    if activity.sql is not None:
        where = "" if activity.line is None else f"line {activity.line}: "
        lines.append(f"  {where}{escape_lines(activity.sql.strip())[0]}")
    if activity.message is not None:
        lines.append(f"  {escape_lines(activity.message)[0]}")
    if activity.blocked_by is not None:
        lines.append(f"  waits for {escape_control(activity.blocked_by)}")
    return lines
