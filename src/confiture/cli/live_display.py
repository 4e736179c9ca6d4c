"""Draw on stderr what runs at this moment, again and again in the same place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from attrs import define, field, frozen

from confiture.escape import escape_control, escape_lines
from confiture.output.format import format_duration
from confiture.streams import find_stderr

if TYPE_CHECKING:
    from confiture.engine.blockers import Activity


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


def find_terminal() -> TextIO:
    """Return the real stderr, which ends no line before it writes."""
    stderr = find_stderr()
    return stderr.stream if isinstance(stderr, LineEndingStream) else stderr


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

    stderr = find_terminal()
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
