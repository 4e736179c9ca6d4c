"""The command line without a database: help, versions, what is unknown, and what is not imported."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from confiture import __version__
from confiture.cli import main
from confiture.cli.commands import COMMANDS, OTHER_NAMES, confiture

HEAVY = ("psycopg", "structlog", "rich", "importlib.metadata", "tomllib", "postgast", "jinja2", "difflib")


def imported_by(*arguments: str) -> str:
    """Return what ``python -m confiture`` imports, as ``-X importtime`` tells it."""
    command = [sys.executable, "-X", "importtime", "-m", "confiture", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def user_seconds(*arguments: str) -> float:
    """Return the least user CPU time of several runs."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    return min(once() for _ in range(7))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help"), ("plugins", "--help")])
def test_help_imports_neither_driver_nor_plugins(arguments):
    imported = {line.rpartition("|")[2].strip() for line in imported_by(*arguments).splitlines()}

    assert "click" in imported
    assert not imported & set(HEAVY)


@pytest.mark.slow
def test_help_is_about_as_quick_as_the_libraries_it_cannot_do_without():
    libraries = user_seconds("-c", "import click, attrs, pluggy")

    ours = user_seconds("-m", "confiture", "--help")

    # 1.3 is the aim; a busy machine measures in steps, hence half as much again.
    assert ours < 2 * libraries


def test_version(capsys):
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"confiture {__version__}\n"


def test_help_lists_every_command_in_order(capsys):
    assert main(["--help"]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines if line[0] in COMMANDS] == list(COMMANDS)


def test_two_reports_for_stdout_are_refused_in_the_first_ones_format(capsys):
    assert main(["run", "--output", "json", "--output", "text"]) == 2

    said = capsys.readouterr()
    assert said.err == "error: --output text: stdout already takes another report\n"
    assert json.loads(said.out)["error"]["message"] == "--output text: stdout already takes another report"


@pytest.mark.parametrize("group", [[], ["stats"]])
def test_without_a_command_there_is_help_and_no_error(group, capsys):
    assert main([*group, "--help"]) == 0
    asked = capsys.readouterr()

    assert main(group) == 0

    assert capsys.readouterr() == asked


@pytest.mark.parametrize(
    "name, ours",
    [
        *((name, "run") for name in ("up", "migrate", "upgrade", "apply", "Up")),
        *((name, "down") for name in ("rollback", "downgrade", "revert")),
        ("create", "new"),
        ("stamp", "baseline"),
        ("info", "status"),
    ],
)
def test_another_tools_word_is_an_error_that_names_ours(name, ours, capsys):
    assert main([name]) == 2

    first, hint = capsys.readouterr().err.splitlines()
    assert first == f"error: there is no command {name!r}"
    assert hint.startswith("hint: to ")
    assert hint.endswith(f": confiture {ours}")


def test_another_tools_words_are_none_of_ours():
    words = [word for others in OTHER_NAMES.values() for word in others]

    assert not set(words) & set(COMMANDS)
    assert set(OTHER_NAMES) <= set(COMMANDS)
    assert len(words) == len(set(words))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_own_help_says_what_the_table_says(name):
    context = confiture.make_context("confiture", [name], resilient_parsing=True)

    command = confiture.get_command(context, name)

    assert command is not None
    assert command.name == name
    assert command.help is not None
    assert command.help.splitlines()[0] == COMMANDS[name]


def test_python_dash_m_is_the_same():
    answer = subprocess.run(
        [sys.executable, "-m", "confiture", "--version"], capture_output=True, text=True, check=True
    )

    assert answer.stdout == f"confiture {__version__}\n"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
        (["jam"], "there is no command 'jam'; there are init, new,"),
        (["run", "--urll", "x"], "--urll"),
        (["run", "extra"], "unexpected extra argument"),
        (["run", "--lock-wait", "soon"], "'soon' is not a time"),
        (["run", "--wait", "-5"], "'-5' is not a time"),
        (["run", "--wait", "nan"], "'nan' is not a time"),
        (["run", "--wait-concurrently", "5 minutes"], "'5 minutes' is not a time"),
        (["run", "--wait-concurrently", "5"], "5 has no unit; write 5s, 5ms or 5min"),
        (["run", "--wait-concurrently", "0.5ms"], "'0.5ms' is shorter than PostgreSQL's shortest timeout"),
        (["down", "--steps", "0"], "--steps"),
        (["down", "--steps", "1", "--to", "5"], "cannot both be given"),
        (["run", "--output", "xml"], "there is no format 'xml'"),
        (["run", "--output", "json="], "the file's name is missing"),
        (["run", "--output", "text", "--output", "json"], "stdout already takes another report"),
        (["new"], "missing argument 'NAME'"),
    ],
)
def test_what_cannot_be_understood_ends_in_two_and_the_next_step(arguments, words, capsys):
    assert main(arguments) == 2

    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert words in said.err
    assert "hint: " in said.err or "did you mean" in said.err or "already takes" in said.err
    assert said.out == ""
