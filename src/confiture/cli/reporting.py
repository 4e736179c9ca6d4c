"""Where reports go: ``--output`` opened before anything runs, written at the end."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path

import click
from attrs import frozen

from confiture.cli.explaining import colour_on
from confiture.cli.flags import Flags
from confiture.exceptions import UsageFault
from confiture.output import FORMATS, What, reporter


@frozen
class Target:
    """One report: its format, and the open file that it goes to (``None``: stdout)."""

    format: str
    file: FileIO | None = None


@frozen
class Outputs:
    """All the reports that were asked for.

    Attributes:
        targets: In the order of the flags.
        quiet: Text that nobody asked for by name is left out.
    """

    targets: tuple[Target, ...]
    quiet: bool = False

    @property
    def on_screen(self) -> bool:
        """Whether a person reads the text at a terminal."""
        shown = any(each.format == "text" and each.file is None for each in self.targets)
        return shown and not self.quiet and sys.stdout.isatty()

    def write(self, what: What, value: object) -> None:
        """Write ``value`` everywhere it was asked for.

        Raises:
            UsageFault: A file cannot be written after all.
        """
        for target in self.targets:
            render = reporter(target.format, what)
            if target.file is not None:
                _write(target.file, render(value))
            elif target.format != "text":
                _print(render(value))
            elif not self.quiet:
                _print(render(value, colour=colour_on(sys.stdout), **_room(what)))

    def machines(self) -> Outputs:
        """Return those that no person reads."""
        return Outputs(tuple(each for each in self.targets if each.format != "text"), self.quiet)


@contextmanager
def outputs(flags: Flags) -> Iterator[Outputs]:
    """Open every file that ``--output`` names.

    Raises:
        UsageFault: An unknown format, an unwritable file, or two reports for one place.
    """
    with ExitStack() as stack:
        targets, places = [], set()
        for wanted in flags.output:
            format, place = _parsed(wanted)
            file = stack.enter_context(_opened(place)) if place else None
            if (where := place and os.path.realpath(place)) in places:
                raise UsageFault(f"--output {wanted}: {place or 'stdout'} already takes another report")
            places.add(where)
            targets.append(Target(format, file))
        if None not in places:
            targets.append(Target("text"))
        yield Outputs(tuple(targets), flags.quiet)


def _room(what: What) -> dict[str, int]:
    """Return how wide a terminal is; what goes elsewhere is never wrapped, so that it can be searched."""
    if what != "report" or not sys.stdout.isatty():
        return {}
    return {"room": shutil.get_terminal_size().columns}


def _parsed(wanted: str) -> tuple[str, str | None]:
    format, equals, file = wanted.partition("=")
    if format not in FORMATS:
        raise UsageFault(
            f"--output {wanted}: there is no format {format!r}", hint=f"the formats are {', '.join(FORMATS)}"
        )
    if equals and not file:
        raise UsageFault(f"--output {wanted}: the file's name is missing", hint=f"--output {format}=FILE")
    return format, file or None


def _opened(file: str) -> FileIO:
    try:
        # Not truncated yet: a report of before stays until there is a new one.
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageFault(f"--output: {file} cannot be written: {why}") from None
    # Unbuffered: closing it has nothing left to fail at.
    return open(number, "wb", buffering=0)


def _write(file: FileIO, text: str) -> None:
    rest = memoryview(text.encode("utf-8", "backslashreplace"))
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
        while rest:
            rest = rest[file.write(rest) :]
    except BrokenPipeError:
        pass
    except OSError as error:
        raise UsageFault(f"the report cannot be written: {error.strerror}") from None


def _print(text: str) -> None:
    try:
        click.echo(text, nl=False, color=True)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read it has read enough; what was done and its exit code stay.
        _discard_stdout()


def _discard_stdout() -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the end of the process
