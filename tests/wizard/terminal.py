"""A real terminal for a command: type keys, read the screen."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from types import TracebackType

from attrs import define, field

from tests.project import Project

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]")
_BEGUN_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*|[()])?\Z")
_PATIENCE_S = 90.0
_SILENCE_S = 10.0


@define
class Terminal:
    """A command of confiture on a pseudo-terminal.

    Attributes:
        columns: The width.
        text: All that was shown, without escape sequences.
    """

    project: Project
    arguments: tuple[str, ...]
    columns: int = 80
    text: str = ""
    _master: int = field(default=-1, repr=False)
    _seen: int = 0
    _decoder: codecs.IncrementalDecoder = field(
        factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace"), repr=False
    )
    _held: str = field(default="", repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Terminal:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, self.columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "confiture", *self.arguments],
            cwd=self.project.folder,
            env=self.project.environment(TERM="xterm-256color"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # Ctrl-C reaches the command only if the terminal is its controlling one.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def read_until(self, words: str) -> str:
        """Read until the words appear after what was read before; return what came since then."""
        deadline = time.monotonic() + _PATIENCE_S
        while words not in self.text[self._seen :]:
            assert time.monotonic() < deadline, f"{words!r} never came:\n{self.text[self._seen :]}"
            assert self._read_more(), f"ended without {words!r}:\n{self.text[self._seen :]}"
        end = self.text.index(words, self._seen) + len(words)
        came, self._seen = self.text[self._seen : end], end
        return came

    def type(self, keys: str) -> None:
        """Type keys; ``\\n`` is Enter, ``\\x03`` Ctrl-C."""
        os.write(self._master, keys.encode())

    def interrupt(self) -> int:
        """Press Ctrl-C until the command ends, and return the exit code.

        Python notices one that comes between a prompt and its reading with the next key only.
        """
        assert self._process is not None
        while self._process.poll() is None:
            self.type("\x03")
            while self._read_more(_SILENCE_S):
                pass
        return self.wait()

    def wait(self) -> int:
        """Read to the end, and return the exit code."""
        while self._read_more():
            pass
        assert self._process is not None
        return self._process.wait(_PATIENCE_S)

    def _read_more(self, patience_s: float = _PATIENCE_S) -> bool:
        ready, _, _ = select.select([self._master], [], [], patience_s)
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # Linux answers EIO once the other side is closed.
            return False
        # What is read may end inside a character or an escape sequence.
        came = self._held + self._decoder.decode(data)
        begun = _BEGUN_ESCAPE.search(came)
        end = begun.start() if begun else len(came)
        self._held = came[end:]
        self.text += _ESCAPES.sub("", came[:end]).replace("\r", "")
        return bool(data)
