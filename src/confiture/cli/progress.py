"""What happens right now, on stderr: live at a terminal, plain lines elsewhere, objects for machines."""

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
from confiture.escape import inert, inert_lines
from confiture.logs import DEBUG, ERROR, INFO, WARNING, as_json, logger, set_threshold
from confiture.output.format import duration

if TYPE_CHECKING:
    from confiture.engine.blockers import Now

if TYPE_CHECKING:
    from confiture.engine.blockers import Now
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


_INTERVAL_S = 0.1
_FIRST_MS = 1000.0


@define
class Live:
    """Looks at what runs, from a thread of its own, and draws it on stderr.

    Attributes:
        look: Tells what runs, ``None`` where nothing does.
    """

    look: Callable[[], Now | None]
    _stop: threading.Event = field(factory=threading.Event)
    _drawing: threading.Lock = field(factory=threading.Lock)
    _thread: threading.Thread | None = None
    _shown: Any = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._watch, name="confiture-progress", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Take the drawing away, until there is something to draw again."""
        with self._drawing:
            self._take_away()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        self.pause()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            now = self.look()
            with self._drawing:
                if now is None or now.elapsed_ms < _FIRST_MS:
                    self._take_away()
                elif not self._stop.is_set():
                    self._draw(now)

    def _draw(self, now: Now) -> None:
        from rich.text import Text

        if self._shown is None:
            self._shown = _display()
            self._shown.start()
        self._shown.update(Text("\n".join(words(now)), overflow="ellipsis", no_wrap=True), refresh=True)

    def _take_away(self) -> None:
        if self._shown is not None:
            self._shown.stop()
            self._shown = None


def _display() -> Any:
    from rich.console import Console
    from rich.live import Live as Display

    # The passing line may still stand there.
    sys.stderr.write("\r\x1b[K")
    # What else is printed goes where it went: redirecting is not a thread's to do.
    return Display(
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def words(now: Now) -> list[str]:
    """Return what is drawn: the migration and its time, the statement, and who it waits for."""
    lines = [f"{inert(now.label)}: {inert(now.stage)}, {duration(now.elapsed_ms)}"]
    if now.sql is not None:
        where = "" if now.line is None else f"line {now.line}: "
        lines.append(f"  {where}{inert_lines(now.sql.strip())[0]}")
    if now.waits_for is not None:
        lines.append(f"  waits for {inert(now.waits_for)}")
    return lines
