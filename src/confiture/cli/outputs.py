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
from typing import Any

import click
from attrs import frozen

from confiture.cli.context import read_settings
from confiture.cli.error_messages import wants_colour
from confiture.cli.flags import Flags
from confiture.exceptions import PluginFault, UsageFault, UserFault
from confiture.output import FORMATS, OutputKind, load_renderer
from confiture.output.reporters import BUILTIN_FORMATS, Render, RenderContext, Reporter, load_builtin_reporter


@frozen
class OutputTarget:
    """One report.

    Attributes:
        format: As ``--output`` names it.
        file: The open file that it goes to; ``None``: stdout.
        reporter: Who writes it; ``None`` for those that know listings too.
        appended_files: Open files that something is appended to, each with what writes that.
    """

    format: str
    file: FileIO | None = None
    reporter: Reporter | None = None
    appended_files: tuple[tuple[FileIO, Render], ...] = ()

    @property
    def _is_shareable(self) -> bool:
        return self.format == "text" or bool(self.reporter and self.reporter.lines)

    def is_compatible_with(self, other: OutputTarget) -> bool:
        """Return True if both targets can be written: different files, or line formats sharing stdout."""
        if self.file is None and other.file is None:
            return self._is_shareable and other._is_shareable and self.format != other.format
        return self._real_path != other._real_path

    @property
    def _real_path(self) -> str | None:
        return os.path.realpath(str(self.file.name)) if self.file else None

    def render(self, kind: OutputKind, value: Any) -> str:
        """Return the words."""
        if self.reporter is not None:
            return call_reporter(self.reporter.name, self.reporter.render, value)
        render = load_renderer(self.format, kind)
        if self.format == "text" and self.file is None:
            return render(value, colour=wants_colour(sys.stdout), **_measure_width(kind))
        return render(value)


@frozen
class Outputs:
    """All the reports that were asked for.

    Attributes:
        targets: In the order of the flags.
        quiet: Text that nobody asked for by name is left out.
    """

    targets: tuple[OutputTarget, ...]
    quiet: bool = False

    @property
    def on_screen(self) -> bool:
        """True if the text report goes to a terminal."""
        shown = any(target.format == "text" and target.file is None for target in self.targets)
        return shown and not self.quiet and sys.stdout.isatty()

    def write(self, kind: OutputKind, value: object) -> None:
        """Write ``value`` to every target.

        Raises:
            UsageFault: A file cannot be written after all.
        """
        failed: list[UserFault] = []
        for target in self.targets:
            try:
                self._write(target, kind, value)
            except UserFault as fault:
                # The other reports are written all the same.
                failed.append(fault)
        if failed:
            raise failed[0]

    def _write(self, target: OutputTarget, kind: OutputKind, value: object) -> None:
        if target.file is not None:
            _write(target.file, target.render(kind, value))
        elif target.format != "text" or not self.quiet:
            _print(target.render(kind, value))
        for file, render in target.appended_files:
            _write(file, call_reporter(target.format, render, value), truncate=False)

    def drop_text(self) -> Outputs:
        """Return those that no person reads."""
        return Outputs(tuple(target for target in self.targets if target.format != "text"), self.quiet)


@contextmanager
def open_outputs(flags: Flags) -> Iterator[Outputs]:
    """Open every file that ``--output`` names.

    Raises:
        UsageFault: An unknown format, an unwritable file, or two reports for one place.
    """
    with ExitStack() as stack:
        targets: list[OutputTarget] = []
        for format, place, by in [_parse_output(wanted, flags) for wanted in flags.output]:
            new = _open_target(format, place, by, stack)
            if not all(map(new.is_compatible_with, targets)):
                wanted = f"{format}={place}" if place else format
                raise UsageFault(f"--output {wanted}: {place or 'stdout'} already takes another report")
            targets.append(new)
        text = OutputTarget("text")
        if all(map(text.is_compatible_with, targets)):
            targets.insert(0, text)
        yield Outputs(tuple(targets), flags.quiet)


def _open_target(
    format: str, file_name: str | None, reporter: Reporter | None, stack: ExitStack
) -> OutputTarget:
    file = stack.enter_context(_open_file(file_name)) if file_name else None
    further = [
        (stack.enter_context(_open_file(name, os.O_APPEND)), render)
        for name, render in _list_appended(reporter)
    ]
    return OutputTarget(format, file, reporter, tuple(further))


def _measure_width(kind: OutputKind) -> dict[str, int]:
    """Return the terminal's width; text for a file or pipe is not wrapped, so that grep works."""
    if kind != "report" or not sys.stdout.isatty():
        return {}
    return {"max_width": shutil.get_terminal_size().columns}


def _parse_output(wanted: str, flags: Flags) -> tuple[str, str | None, Reporter | None]:
    """Parse one ``--output`` value; the reporter is ``None`` for text, json and html."""
    format, equals, file = wanted.partition("=")
    by = None if format in FORMATS else find_plugin_reporter(wanted, format, flags)
    if format in BUILTIN_FORMATS:
        by = load_builtin_reporter(format)
    if equals and not file:
        raise UsageFault(f"--output {wanted}: the file's name is missing", hint=f"--output {format}=FILE")
    return format, file or None, by


def _list_appended(reporter: Reporter | None) -> Iterator[tuple[str, Render]]:
    """Yield the files that the environment names for what a reporter appends, each with what writes it."""
    for variable, render in reporter.appended.items() if reporter else ():
        if file := os.environ.get(variable):
            yield file, render


def _open_file(file: str, extra_flags: int = 0) -> FileIO:
    # Not truncated yet: a report of before stays until there is a new one.
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | extra_flags
    try:
        # Unbuffered: closing it has nothing left to fail at.
        return open(file, "wb", buffering=0, opener=lambda path, _: os.open(path, flags, 0o666))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageFault(f"--output: {file} cannot be written: {why}") from None


def _write(file: FileIO, text: str, *, truncate: bool = True) -> None:
    rest = memoryview(text.encode("utf-8", "backslashreplace"))
    try:
        if truncate and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
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


def find_plugin_reporter(wanted: str, format: str, flags: Flags) -> Reporter:
    """Return the reporter of that name of a plugin that takes part; plugins are imported only for this.

    Raises:
        ConfitureError: There is none, or the plugins cannot be used.
    """
    from confiture.output.collect_reporters import collect_reporters
    from confiture.plugins.find import find_plugins
    from confiture.plugins.load import load_all
    from confiture.plugins.select import select_plugins

    settings = read_settings(flags)
    chosen = select_plugins(find_plugins(), settings.plugins, flags.plugins, flags.no_plugins, flags.locked)
    found = collect_reporters(load_all(chosen, settings.plugin_tables))
    if format not in found:
        raise UsageFault(
            f"--output {wanted}: there is no format {format!r}", hint=f"the formats are {', '.join(found)}"
        )
    return found[format]


def call_reporter(format: str, render: Render, value: Any) -> str:
    """Return what a reporter makes of a report.

    Raises:
        PluginFault: It raises, or returns something else than text.
    """
    hint = "fix the plugin that provides this format, or use another format"
    try:
        text = render(value, build_render_context())
    except Exception as error:
        if format in FORMATS:
            raise
        raise PluginFault(f"--output {format}: {type(error).__name__}: {error}", hint=hint) from error
    if not isinstance(text, str):
        raise PluginFault(f"--output {format}: a {type(text).__name__} is not text", hint=hint)
    return text


def build_render_context() -> RenderContext:
    """Return the repository around the working directory; reports give paths relative to it."""
    here = Path.cwd()
    root = next((parent for parent in (here, *here.parents) if (parent / ".git").exists()), here)
    return RenderContext(root.as_posix(), here.as_posix())
