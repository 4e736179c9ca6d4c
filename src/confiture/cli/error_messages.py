"""Turn an exception into a message on stderr and an exit code; no other module does."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from confiture.exceptions import Interrupted, UserFault

if TYPE_CHECKING:
    from confiture.exceptions import MigrationFault


def report_error(error: BaseException) -> int:
    """Say what went wrong and return the exit code.

    Raises:
        BaseException: The error itself, if it is a bug in confiture.
    """
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        _discard_stdout()
        return 0
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say(["interrupted"])
        return error.exit_code if isinstance(error, Interrupted) else 130
    lines, code = explain_error(error)
    say(lines, event="command.failed", exit_code=code)
    return code


def explain_error(error: BaseException) -> tuple[list[str], int]:
    """Return what to say about ``error``, and the exit code.

    Raises:
        BaseException: The error itself, if it is a bug in confiture.
    """
    if isinstance(error, UserFault):
        return _explain_fault(error), error.exit_code
    if isinstance(error, click.ClickException):
        return _explain_usage_error(error), 2
    if isinstance(error, OSError):
        return _explain_os_error(error), 2
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
    text = text[:1].lower() + text[1:]
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
    code = 6 if error.sqlstate == "55P03" else 3 if error.sqlstate is None else 4
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
    """Print on stderr; a stderr that takes nothing more never stops the work.

    With ``--log-format json`` it is one object: the ``event``, its ``facts``, and the lines as its message.
    """
    from confiture.logs import get_logger, is_json

    # The other end of stdout may be gone and stderr's as well; the exit code still counts.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        if is_json():
            log = get_logger("confiture")
            tell = log.error if event.endswith(".failed") else log.warning
            tell(event, message=click.unstyle("\n".join(lines)), **facts)
        else:
            click.echo("\n".join(lines), err=True, color=wants_colour(sys.stderr))


def wants_colour(stream: object) -> bool:
    """Return whether ``stream`` is a terminal whose owner did not ask for plain text."""
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _discard_stdout() -> None:
    """Keep Python from failing once more when it flushes stdout at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
