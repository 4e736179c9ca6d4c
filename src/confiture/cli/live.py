"""Live progress at a terminal for anything over a second: what runs, how long, and who it waits for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field

from confiture.output.words import duration, inert, inert_lines

if TYPE_CHECKING:
    from confiture.core.watching import Now

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
