"""Turn exceptions into messages on stderr and exit codes; no other module does that."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from confiture.exceptions import Interrupted, UserFault
from confiture.streams import find_stderr, find_stdout

if TYPE_CHECKING:
    from confiture.exceptions import MigrationFault


def report_error(error: BaseException) -> int:
    """Print the error on stderr and return the exit code.

    Raises:
        BaseException: The error itself, if it is a bug in confiture.
    """
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    # The reader of a pipe, such as `head`, has closed it. That is no failure.
    if isinstance(error, BrokenPipeError):
        _discard_stdout()
        return 0
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say(["interrupted", *getattr(error, "__notes__", ())])
        return error.exit_code if isinstance(error, Interrupted) else 130
    lines, code = explain_error(error)
    say(lines, event="command.failed", exit_code=code)
    return code


def explain_error(error: BaseException) -> tuple[list[str], int]:
    """Return the lines to print about ``error``, and the exit code.

    Raises:
        BaseException: The error itself, if it is a bug in confiture.
    """
    if isinstance(error, UserFault):
        return _explain_fault(error), error.exit_code
    if isinstance(error, click.ClickException):
        return _explain_usage_error(error), 2
    if isinstance(error, OSError):
        return _explain_os_error(error), 2
    # If psycopg was never imported, it did not raise the error, and importing it takes long.
    if "psycopg" in sys.modules and (answer := _explain_server_error(error)):
        return answer
    raise error


def _explain_fault(fault: UserFault) -> list[str]:
    from confiture.exceptions import MigrationFault, MigrationFaults

    if isinstance(fault, MigrationFaults):
        return [line for error in fault.faults for line in _explain_fault(error)]
    lines = (
        _explain_migration_fault(fault)
        if isinstance(fault, MigrationFault)
        else _format_message(fault.message)
    )
    return lines + _format_hint(fault.hint)


def _explain_migration_fault(fault: MigrationFault) -> list[str]:
    from confiture.output.format import format_place, indent_lines, render_source_line

    where = format_place(shorten_path(str(fault.file)), fault.line, fault.column) if fault.file else ""
    named = fault.file is not None and str(fault.file) in fault.message
    lines = _format_message(fault.message if named or not where else f"{where}: {fault.message}")
    if fault.source_line is not None:
        lines += indent_lines(render_source_line(fault.source_line, fault.line, fault.column), 2)
    return lines


def _explain_usage_error(error: click.ClickException) -> list[str]:
    text = error.format_message().rstrip(".")
    # Not the FILE of a usage line.
    text = text if text[1:2].isupper() else text[:1].lower() + text[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return _format_message(text) + _format_hint(f"{context.command_path if context else 'confiture'} --help")


def _explain_os_error(error: OSError) -> list[str]:
    what = error.strerror or str(error) or type(error).__name__
    return _format_message(f"{shorten_path(str(error.filename))}: {what}" if error.filename else what)


def _explain_server_error(error: BaseException) -> tuple[list[str], int] | None:
    import psycopg

    if not isinstance(error, psycopg.Error):
        return None
    text = error.diag.message_primary or str(error) or type(error).__name__
    # 55P03 is lock_not_available; without an SQLSTATE the error comes from the client. Class 08 is of the
    # connection: a pooler refuses the first query, and not the client, if it has no connection to the server.
    code = 6 if error.sqlstate == "55P03" else 3 if (error.sqlstate or "08").startswith("08") else 4
    return [*_format_message(text), *_format_hint(error.diag.message_hint)], code


def _format_message(text: str) -> list[str]:
    from confiture.escape import escape_lines
    from confiture.output.format import indent_lines, style_bad

    first, *rest = escape_lines(text)
    return [f"{style_bad('error:')} {first}", *indent_lines(rest, 7)]


def _format_hint(text: str | None) -> list[str]:
    from confiture.escape import escape_lines
    from confiture.output.format import indent_lines

    if not text:
        return []
    first, *rest = escape_lines(text)
    return [f"hint: {first}", *indent_lines(rest, 6)]


def shorten_path(path: str) -> str:
    """Return ``path`` relative to the working directory if it is inside it."""
    with contextlib.suppress(OSError):
        return path.removeprefix(f"{os.getcwd()}{os.sep}")
    return path


def say(lines: list[str], *, event: str = "notice.given", **facts: object) -> None:
    """Print lines on stderr; ignore a stderr that cannot be written.

    With ``--log-format json``, print one object: the ``event``, its ``facts``, and the lines as ``message``.
    """
    from confiture.logs import get_logger, is_json

    # Flush stdout first, so that both streams keep their order at a terminal. Either may be closed; the exit
    # code must not depend on it.
    # A ValueError: the code of a plugin or a migration has closed it.
    with contextlib.suppress(OSError, ValueError):
        find_stdout().flush()
    with contextlib.suppress(OSError, ValueError):
        if is_json():
            log = get_logger("confiture")
            emit = log.error if event.endswith(".failed") else log.warning
            emit(event, message=click.unstyle("\n".join(lines)), **facts)
        else:
            stderr = find_stderr()
            click.echo("\n".join(lines), file=stderr, color=wants_colour(stderr))


def say_line(text: str) -> None:
    """Print one line on stderr."""
    say([text])


def say_wait(text: str) -> None:
    """Print what a command waits for; it may quote what another session calls itself."""
    from confiture.escape import escape_control

    say([escape_control(text)], event="wait.begun")


def wants_colour(stream: object) -> bool:
    """Return True if ``stream`` is a terminal, and neither ``NO_COLOR`` nor ``TERM=dumb`` is set."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _discard_stdout() -> None:
    """Redirect stdout to the null device, so that Python's flush at exit does not fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
