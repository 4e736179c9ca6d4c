"""One place turns every error into words and an exit code."""

from __future__ import annotations

from pathlib import Path

import click
import psycopg
import pytest

from confiture import exceptions
from confiture.cli.error_messages import explain_error, report_error
from confiture.exceptions import Interrupted, MigrationFault, MigrationFaults


def plain(error: Exception) -> tuple[list[str], int]:
    lines, code = explain_error(error)
    return [click.unstyle(line) for line in lines], code


@pytest.mark.parametrize(
    "fault, code",
    [
        (exceptions.UsageFault, 2),
        (exceptions.ConfigurationFault, 2),
        (exceptions.PluginFault, 2),
        (exceptions.SourceFault, 2),
        (exceptions.ConnectionFault, 3),
        (exceptions.ServerFault, 3),
        (exceptions.RightsFault, 4),
        (exceptions.LockFault, 6),
        (exceptions.LedgerFault, 7),
    ],
)
def test_a_fault_is_its_message_its_hint_and_its_code(fault, code, capsys):
    assert report_error(fault("it failed\nin two ways", hint="do this")) == code

    assert capsys.readouterr().err == "error: it failed\n       in two ways\nhint: do this\n"


def test_a_faulty_file_is_shown_with_line_and_caret(capsys):
    fault = MigrationFault(
        "syntax error",
        file=Path.cwd() / "m" / "1.sql",
        line=7,
        column=4,
        source_line="SELEC 1",
        hint="mend it",
    )

    assert report_error(fault) == 4

    assert capsys.readouterr().err == (
        "error: m/1.sql:7:4: syntax error\n  7 | SELEC 1\n    |    ^\nhint: mend it\n"
    )


def test_every_faulty_file_is_named(capsys):
    assert report_error(MigrationFaults([MigrationFault("one"), MigrationFault("two")])) == 4

    assert capsys.readouterr().err == "error: one\nerror: two\n"


@pytest.mark.parametrize(
    "error, code", [(Interrupted(143), 143), (Interrupted(130), 130), (KeyboardInterrupt(), 130)]
)
def test_an_interruption_has_its_own_code(error, code, capsys):
    assert report_error(error) == code

    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    "error, code",
    [
        (psycopg.OperationalError("the server is gone"), 3),
        (psycopg.errors.LockNotAvailable("no lock"), 6),
        (psycopg.errors.InsufficientPrivilege("no rights"), 4),
    ],
)
def test_a_server_error_that_escapes_is_a_message_too(error, code):
    assert plain(error) == ([f"error: {error}"], code)


def test_a_system_error_names_the_file():
    assert plain(FileExistsError(17, "File exists", "m/1_jam.sql")) == (
        ["error: m/1_jam.sql: File exists"],
        2,
    )


def test_a_usage_error_points_to_the_help_of_its_command():
    context = click.Context(click.Command("run"), info_name="run")

    assert plain(click.UsageError("No jam.", context)) == (["error: no jam", "hint: run --help"], 2)


def test_terminal_escapes_in_an_error_are_inert(capsys):
    report_error(exceptions.UsageFault("\x1b[2J\x9b gone", hint="\x07"))

    assert not set(capsys.readouterr().err) & set("\x1b\x9b\x07")


def test_a_fault_of_our_own_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        explain_error(ZeroDivisionError())
