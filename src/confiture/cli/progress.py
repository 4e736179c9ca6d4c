"""Show progress on stderr: live at a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import click
from attrs import define, field

from confiture.cli.error_messages import say
from confiture.cli.flags import Flags
from confiture.escape import escape_control, escape_lines
from confiture.logs import DEBUG, ERROR, INFO, WARNING, get_logger, is_json, set_threshold
from confiture.output.format import format_duration

if TYPE_CHECKING:
    from confiture.engine.blockers import Activity

if TYPE_CHECKING:
    from confiture.engine.blockers import Activity
    from confiture.models.report import MigrationReport


class ProgressDisplay(Protocol):
    """Receives the progress of a run."""

    def __call__(self, line: str) -> None:
        """Take a line for a person."""

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Take what tells what runs."""

    def report_migration(self, report: MigrationReport) -> None:
        """Take note that a migration has ended."""


@contextmanager
def open_progress(flags: Flags) -> Iterator[ProgressDisplay | None]:
    """Yield the progress listener that fits stderr, and set the log threshold."""
    set_threshold(_choose_threshold(flags))
    if flags.quiet:
        yield None
    elif is_json():
        yield JsonProgress()
    elif sys.stderr.isatty() and sys.stdout.isatty() and not flags.verbose:
        passing = TerminalProgress()
        try:
            yield passing
        finally:
            passing.stop()
    else:
        yield LineProgress()


def _choose_threshold(flags: Flags) -> int:
    if flags.quiet:
        return ERROR
    if flags.verbose:
        return DEBUG
    return INFO if is_json() else WARNING


class LineProgress:
    """A plain line a step."""

    def __call__(self, line: str) -> None:
        """Print it."""
        say([escape_control(line)])

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Leave it at a line a step."""

    def report_migration(self, report: MigrationReport) -> None:
        """Leave it at the line."""


class JsonProgress:
    """An object a step, for machines."""

    def __call__(self, line: str) -> None:
        """Leave it: the object says more."""

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Leave it at an object a step."""

    def report_migration(self, report: MigrationReport) -> None:
        """Log what became of it."""
        log = get_logger("confiture")
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
class TerminalProgress:
    """One passing line at a terminal; live, with what runs, for anything over a second."""

    _live: LiveDisplay | None = field(default=None)

    def __call__(self, line: str) -> None:
        """Show it in place of the last one."""
        if self._live:
            self._live.pause()
        _print_line(line)

    def start(self, read_activity: Callable[[], Activity | None]) -> None:
        """Begin to show what runs."""

        self.stop()
        self._live = LiveDisplay(read_activity)
        self._live.start()

    def report_migration(self, report: MigrationReport) -> None:
        """Leave it at the line."""

    def stop(self) -> None:
        """Take it all away again."""
        if self._live:
            self._live.stop()
            self._live = None
        _print_line("")


def _print_line(line: str) -> None:
    room = shutil.get_terminal_size().columns - 1
    with suppress(OSError):
        click.echo(f"\r\x1b[K{escape_control(line)[:room]}", err=True, nl=False)


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
    _drawing: threading.Lock = field(factory=threading.Lock)
    _thread: threading.Thread | None = None
    _display: Any = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._watch, name="confiture-progress", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Take the drawing away, until there is something to draw again."""
        with self._drawing:
            self._clear()

    def stop(self) -> None:
        """End it."""
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
                elif not self._stop.is_set():
                    self._draw(now)

    def _draw(self, activity: Activity) -> None:
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

    # The passing line may still stand there.
    sys.stderr.write("\r\x1b[K")
    # sys.stdout and sys.stderr are global; a thread must not redirect them under the main thread.
    return Display(
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def render_activity(activity: Activity) -> list[str]:
    """Return the lines to draw: the migration and its time, the statement, and its blocker."""
    lines = [
        f"{escape_control(activity.label)}: {escape_control(activity.stage)}, "
        f"{format_duration(activity.elapsed_ms)}"
    ]
    if activity.sql is not None:
        where = "" if activity.line is None else f"line {activity.line}: "
        lines.append(f"  {where}{escape_lines(activity.sql.strip())[0]}")
    if activity.blocked_by is not None:
        lines.append(f"  waits for {escape_control(activity.blocked_by)}")
    return lines
