"""A stdout or stderr that takes nothing more ends in a message and the command's own exit code.

In real processes, with and without buffering: Python flushes its streams once more when it exits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.project import Project, applied

pytestmark = pytest.mark.slow

BUFFERING = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
NO_SPACE = "error: No space left on device\n"
NO_SPACE_FOR_A_REPORT = "error: the report cannot be written to stdout: No space left on device\n"


@pytest.fixture
def full() -> Iterator[IO[bytes]]:
    """A file on a disk that has no room left."""
    with open("/dev/full", "wb", buffering=0) as file:
        yield file


@pytest.fixture
def unread() -> Iterator[IO[bytes]]:
    """A pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb", buffering=0) as file:
        yield file


def run(project: Project, *arguments: str, unbuffered: str = "", **streams: Any) -> tuple[int, str, str]:
    """Return the exit code and what was written to the streams that are not given."""
    done = subprocess.run(
        [sys.executable, "-m", "confiture", *arguments],
        cwd=project.folder,
        env=project.environment(PYTHONUNBUFFERED=unbuffered),
        text=True,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )
    return done.returncode, done.stdout, done.stderr


@BUFFERING
@pytest.mark.parametrize("words", ["init", "--help", "plugins", "completion bash", "new jam", "rules"])
def test_a_full_disk_is_a_message(folder, full, words, unbuffered):
    code, _, err = run(folder, *words.split(), unbuffered=unbuffered, stdout=full)

    assert code == 2
    assert err in (NO_SPACE, NO_SPACE_FOR_A_REPORT)


@BUFFERING
def test_a_full_disk_does_not_undo_what_was_applied(project, database, full, unbuffered):
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")

    code, _, err = run(project, "run", "--output", "json", unbuffered=unbuffered, stdout=full)

    assert code == 2
    assert err.endswith(NO_SPACE_FOR_A_REPORT)
    assert applied(database) == ["1"]


@BUFFERING
@pytest.mark.parametrize("words, expected", [("--help", 0), ("init", 0), ("jam", 2)])
def test_a_full_disk_for_stderr_leaves_the_exit_code(folder, full, words, expected, unbuffered):
    code, _, _ = run(folder, words, unbuffered=unbuffered, stderr=full)

    assert code == expected


@BUFFERING
def test_both_on_a_full_disk_leave_the_exit_code(folder, full, unbuffered):
    code, _, _ = run(folder, "--help", unbuffered=unbuffered, stdout=full, stderr=full)

    assert code == 2


@BUFFERING
@pytest.mark.parametrize("words", ["init", "--help", "plugins", "completion bash"])
def test_a_reader_that_goes_away_is_not_an_error(folder, unread, words, unbuffered):
    code, _, err = run(folder, *words.split(), unbuffered=unbuffered, stdout=unread)

    assert (code, err) == (0, "")


@BUFFERING
@pytest.mark.parametrize("sql, expected", [("SELECT 1", 0), ("SELECT 1/0", 4)])
def test_a_reader_that_goes_away_leaves_the_exit_code_of_a_run(project, unread, sql, expected, unbuffered):
    project.write("1_jam.sql", sql)

    code, _, err = run(project, "run", "--output", "json", unbuffered=unbuffered, stdout=unread)

    assert code == expected
    assert "Exception ignored" not in err
    assert "Broken pipe" not in err


@pytest.mark.parametrize(
    "what",
    [
        "sys.stdout.close()",
        "sys.stderr.close()",
        "sys.stdout = sys.stderr = None",
        "sys.stdout = sys.stderr = object()",
        "sys.stderr.detach()",
        "sys.__stderr__.close()",
    ],
)
def test_what_a_migration_does_to_the_streams_ends_with_it(project, what):
    project.write("1_jam.sql", "SELECT 1")
    project.write(
        "2_fig.py",
        "import sys\nfrom confiture.models.migration import Migration\n\n\nclass Fig(Migration):\n"
        f"    def up(self):\n        print('printed')\n        {what}\n",
    )
    project.write("3_kiwi.sql", "SELECT 1/0")

    answer = project.call_process("run", "--output", "json")

    assert answer.code == 4
    outcomes = [migration["outcome"] for migration in answer.json["migrations"]]
    assert outcomes == ["applied", "applied", "failed"]
    assert "__" in what or "error: division by zero" in answer.err


def test_a_stdout_that_a_hook_has_closed_for_good_is_a_message(project):
    project.write("1_jam.sql", "SELECT 1")
    source = "import sys\nfrom confiture import hookimpl\n\n\n@hookimpl\ndef cleanup():\n"
    project.install("closer", f"{source}    sys.__stdout__.close()\n")

    answer = project.call_process("run", "--plugins=closer", "--output", "json", "--output", "junit=out.xml")

    assert (answer.code, answer.out) == (2, "")
    assert "error: the report cannot be written to stdout: it was closed\n" in answer.err
    assert "testsuite" in (project.folder / "out.xml").read_text()


@pytest.mark.parametrize("command", [("plan",), ("drift", "--against", "migrations"), ("diff", "1", "1")])
def test_what_a_migration_prints_is_in_no_document(project, command):
    project.write(
        "1_jam.py",
        "from confiture.models.migration import Migration\n\nprint('printed')\n\n\nclass Jam(Migration):\n"
        "    def up(self):\n        print('printed')\n",
    )

    answer = project(*command, "--output", "json")

    assert answer.code == 0
    assert "printed" not in answer.out


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_a_stream_that_the_shell_closed_is_not_an_error(folder, closed):
    script = f"exec '{sys.executable}' -m confiture init {closed}"

    done = subprocess.run(
        ["bash", "-c", script], cwd=folder.folder, env=folder.environment(), capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert (folder.folder / "confiture.toml").exists()


def test_a_name_that_the_terminal_cannot_show_is_escaped(folder):
    answer = folder.call_process("new", "✓/", PYTHONIOENCODING="latin-1")

    assert answer.code == 2
    assert "error: '\\u2713/' is a path" in answer.err


def test_an_empty_environment_is_enough(folder):
    """Nothing is set, as in a container's first command."""
    done = subprocess.run(
        [sys.executable, "-m", "confiture", "init"], cwd=folder.folder, env={}, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert Path(folder.folder, "confiture.toml").exists()
