"""Open the files of ``--output`` before anything runs, and write the reports at the end."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from io import FileIO
from pathlib import Path
from typing import Any, TextIO

import click
from attrs import evolve, frozen

from confiture.cli.context import read_settings
from confiture.cli.error_messages import wants_colour
from confiture.cli.flags import Flags
from confiture.escape import escape_command
from confiture.exceptions import PluginFault, UsageFault, UserFault, describe_error
from confiture.output import FORMATS, OutputKind, load_renderer, make_report
from confiture.output.reporters import BUILTIN_FORMATS, Render, RenderContext, Reporter, load_builtin_reporter
from confiture.streams import lend_streams


@frozen
class OutputTarget:
    """One report to write: its format, and the file or stdout.

    Attributes:
        format: The format's name in ``--output``.
        file: The open file; ``None`` for stdout.
        reporter: The reporter; ``None`` for text, json and html, which render listings too.
        appended_files: Open files to append to, each with the renderer of its text.
    """

    format: str
    file: FileIO | None = None
    reporter: Reporter | None = None
    appended_files: tuple[tuple[FileIO, Render], ...] = ()

    @property
    def _is_shareable(self) -> bool:
        return self.format == "text" or bool(self.reporter and self.reporter.lines)

    def is_compatible_with(self, other: OutputTarget) -> bool:
        """Return True if both targets can be written: to different files, or as formats that share stdout."""
        if self.file is None and other.file is None:
            return self._is_shareable and other._is_shareable and self.format != other.format
        return self._real_path != other._real_path

    @property
    def _real_path(self) -> str | None:
        return os.path.realpath(str(self.file.name)) if self.file else None

    def render(self, kind: OutputKind, value: Any, *, verbose: bool = False) -> str:
        """Return the text of the report; with ``verbose``, text shows what it else leaves out."""
        if self.reporter is not None:
            return call_reporter(self.reporter, self.reporter.render, make_report(kind, value))
        render = load_renderer(self.format, kind)
        more = {"verbose": True} if verbose and self.format == "text" and kind in ("report", "plan") else {}
        if self.format == "text" and self.file is None:
            return render(value, colour=wants_colour(sys.stdout), **_measure_width(kind), **more)
        return render(value, **more)


def _is_same_file(one: TextIO, other: TextIO) -> bool:
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):
        return False


@frozen
class Outputs:
    """All reports of one command.

    Attributes:
        targets: The reports, in the order of the flags.
        quiet: True to leave out the text on stdout.
        verbose: True to show in text what it else leaves out.
    """

    targets: tuple[OutputTarget, ...]
    quiet: bool = False
    verbose: bool = False

    @property
    def on_screen(self) -> bool:
        """True if the text report goes to a terminal."""
        return self._has_text and sys.stdout.isatty()

    @property
    def shares_stderr(self) -> bool:
        """True if the text report goes where stderr goes: a reader of that log sees each error once."""
        return self._has_text and _is_same_file(sys.stdout, sys.stderr)

    @property
    def _has_text(self) -> bool:
        shown = any(target.format == "text" and target.file is None for target in self.targets)
        return shown and not self.quiet

    def write(self, kind: OutputKind, value: object) -> None:
        """Write ``value`` to every target.

        Raises:
            UsageFault: A file cannot be written; the other reports are written all the same.
            KeyboardInterrupt: Ctrl-C came while a report was written; only that report is lost.
        """
        failed: list[UserFault | KeyboardInterrupt] = []
        for target in self.targets:
            try:
                self._write(target, kind, value)
            except (UserFault, KeyboardInterrupt) as fault:
                # One full disk must not cost the reports on another.
                failed.append(fault)
            except Exception as error:
                failed.append(_build_own_fault(target.format, error))
        if failed:
            raise failed[0]

    def _write(self, target: OutputTarget, kind: OutputKind, value: object) -> None:
        if target.file is not None:
            _write(target.file, target.render(kind, value, verbose=self.verbose))
        elif target.format != "text" or not self.quiet:
            text = target.render(kind, value, verbose=self.verbose)
            _print(text if target.format == "github" else _escape_for_runner(text))
        for file, render in target.appended_files:
            assert target.reporter
            _write(file, call_reporter(target.reporter, render, make_report(kind, value)), truncate=False)

    def drop_screen_text(self) -> Outputs:
        """Return the outputs without the text on stdout: if a command is refused, stderr has the message."""
        kept = (target for target in self.targets if target.format != "text" or target.file)
        return evolve(self, targets=tuple(kept))


@contextmanager
def open_outputs(
    flags: Flags, refuse: Callable[[Outputs, UserFault], None] | None = None
) -> Iterator[Outputs]:
    """Open every file that ``--output`` names.

    If one of them cannot be written, ``refuse`` gets the others and the fault before it is raised.

    Raises:
        UsageFault: A format is unknown, a file cannot be opened, or two reports have the same target.
    """
    with ExitStack() as stack:
        targets: list[OutputTarget] = []
        parsed, faults = _parse_outputs(flags)
        # All values are parsed before the first file is opened: an unknown format creates no file.
        for wanted in parsed if refuse or not faults else ():
            try:
                targets.append(_open_target(wanted, targets, stack))
            except UserFault as fault:
                faults.append(fault)
        if faults:
            if refuse:
                refuse(Outputs(tuple(targets), flags.quiet, flags.verbose), faults[0])
            raise faults[0]
        text = OutputTarget("text")
        if all(map(text.is_compatible_with, targets)):
            targets.insert(0, text)
        yield Outputs(tuple(targets), flags.quiet, flags.verbose)


@frozen
class _WantedOutput:
    """One value of ``--output``, parsed; the reporter is ``None`` for text, json and html."""

    format: str
    file_name: str | None
    reporter: Reporter | None


def _parse_outputs(flags: Flags) -> tuple[list[_WantedOutput], list[UserFault]]:
    parsed: list[_WantedOutput] = []
    faults: list[UserFault] = []
    for wanted in flags.output:
        try:
            parsed.append(_parse_output(wanted, flags))
        except UserFault as fault:
            faults.append(fault)
    return parsed, faults


def _open_target(wanted: _WantedOutput, others: Sequence[OutputTarget], stack: ExitStack) -> OutputTarget:
    name = wanted.file_name
    file = stack.enter_context(_open_file(name)) if name else None
    appended = [
        (stack.enter_context(_open_file(appended_name, os.O_APPEND)), render)
        for appended_name, render in _list_appended(wanted.reporter)
    ]
    target = OutputTarget(wanted.format, file, wanted.reporter, tuple(appended))
    if not all(map(target.is_compatible_with, others)):
        value = f"{wanted.format}={name}" if name else wanted.format
        raise UsageFault(f"--output {value}: {name or 'stdout'} already takes another report")
    return target


def _measure_width(kind: OutputKind) -> dict[str, int]:
    """Return the terminal's width; nothing for a file or pipe: grep needs lines that are not wrapped."""
    if kind != "report" or not sys.stdout.isatty():
        return {}
    return {"max_width": shutil.get_terminal_size().columns}


def _parse_output(wanted: str, flags: Flags) -> _WantedOutput:
    format, equals, file = wanted.partition("=")
    reporter = None if format in FORMATS else find_plugin_reporter(wanted, format, flags)
    if format in BUILTIN_FORMATS:
        reporter = load_builtin_reporter(format)
    if equals and not file:
        raise UsageFault(f"--output {wanted}: the file's name is missing", hint=f"--output {format}=FILE")
    return _WantedOutput(format, file or None, reporter)


def _list_appended(reporter: Reporter | None) -> Iterator[tuple[str, Render]]:
    """Yield the files that the environment names for a reporter to append to, each with its renderer."""
    for variable, render in reporter.appended.items() if reporter else ():
        if file := os.environ.get(variable):
            yield file, render


def _open_file(file: str, extra_flags: int = 0) -> FileIO:
    # Not truncated yet: if the run crashes, the previous report is still there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | extra_flags
    try:
        # Unbuffered, so that every write error is raised by write(), none by close().
        return open(file, "wb", buffering=0, opener=lambda path, _: os.open(path, flags, 0o666))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageFault(f"--output: {file} cannot be written: {why}") from None


def _write(file: FileIO, text: str, *, truncate: bool = True) -> None:
    # A file name may contain a lone surrogate, which UTF-8 cannot encode.
    rest = memoryview(text.encode("utf-8", "backslashreplace"))
    try:
        # A device or a pipe (/dev/stderr) cannot be truncated.
        if truncate and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
        # An unbuffered write may take only a part, for example into a pipe.
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
        # The reader has closed the pipe. The work is done, and its exit code stays.
        _discard_stdout()
    except (OSError, ValueError) as error:
        # The rest of the buffer would fail again at exit, and that exit code would replace the run's.
        _discard_stdout()
        # A ValueError if the code of a plugin or a migration has closed it.
        why = error.strerror if isinstance(error, OSError) else "it was closed"
        raise UsageFault(f"the report cannot be written to stdout: {why}") from None


def _escape_for_runner(text: str) -> str:
    """Return a report for stdout: in a job of GitHub Actions, no line of SQL must become a command."""
    if not os.environ.get("GITHUB_ACTIONS"):
        return text
    return "\n".join(map(escape_command, text.split("\n")))


def _discard_stdout() -> None:
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the end of the process


def find_plugin_reporter(wanted: str, format: str, flags: Flags) -> Reporter:
    """Return a plugin's reporter by its name; loads the plugins that the flags choose.

    Raises:
        ConfitureError: There is no such format, or a plugin cannot be loaded.
    """
    from confiture.output.collect_reporters import collect_reporters
    from confiture.plugins.find import find_plugins
    from confiture.plugins.load import load_all
    from confiture.plugins.select import select_plugins

    settings = read_settings(flags)
    chosen = select_plugins(find_plugins(), settings.plugins, flags.plugins, flags.no_plugins, flags.locked)
    with lend_streams():
        found = collect_reporters(load_all(chosen, settings.plugin_tables))
    if format not in found:
        raise UsageFault(
            f"--output {wanted}: there is no format {format!r}", hint=f"the formats are {', '.join(found)}"
        )
    return found[format]


def call_reporter(reporter: Reporter, render: Render, value: Any) -> str:
    """Return the text that a reporter renders.

    Raises:
        PluginFault: A plugin's reporter raises an error, or does not return text.
    """
    try:
        # A plugin may print; stdout carries only reports.
        with lend_streams() if reporter.plugin else nullcontext():
            text = render(value, build_render_context())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if reporter.plugin is None:
            raise
        from confiture.plugins.check import locate_error

        raise _build_reporter_fault(reporter, f"{describe_error(error)}{locate_error(error)}") from error
    if not isinstance(text, str):
        from confiture.plugins.check import locate_function

        where = locate_function(render)
        raise _build_reporter_fault(reporter, f"a {type(text).__name__} is not text{where}")
    return text


def _build_own_fault(format: str, error: Exception) -> UsageFault:
    """Return the fault of a format that confiture itself renders, and cannot."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return UsageFault(
        f"--output {format}: {describe_error(error)}{where}",
        hint="this is a bug in confiture; the other reports are written, please report it",
    )


def _build_reporter_fault(reporter: Reporter, what: str) -> PluginFault:
    owner = f" of plugin {reporter.plugin!r}" if reporter.plugin else ""
    return PluginFault(
        f"--output {reporter.name}{owner}: {what}",
        hint="fix the plugin that provides this format, or use another format",
    )


def build_render_context() -> RenderContext:
    """Return the repository that contains the working directory, so that paths can be relative to it."""
    folder = Path.cwd()
    root = next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)
    return RenderContext(root.as_posix(), folder.as_posix())
