"""Each command once in a process of its own: exit code, encoding and a clean end; other tests run in process."""

from __future__ import annotations

import shutil

import pytest

from confiture.cli.commands import COMMANDS

pytestmark = pytest.mark.slow

CALLS = {
    "new": ["jam ✓"],
    "completion": ["bash"],
    "baseline": ["1"],
    "stats": ["export"],
    # Its text has a dot that latin-1 knows too.
    "adopt": ["--from", "golang-migrate", "--output", "json"],
    "diff": ["1", "1"],
    "wizard": ["--choose", "all=skip", "--no-apply"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_by_itself_and_escapes_what_the_terminal_cannot_show(project, command):
    project.write("1_fruit ✓.up.sql", 'CREATE TABLE "fruit ✓" (i int)')
    project.write("1_fruit ✓.down.sql", 'DROP TABLE "fruit ✓"')
    if command == "init":
        shutil.rmtree(project.migrations)
    if command in ("down", "redo", "history", "verify"):
        assert project("run").code == 0

    answer = project.call_process(command, *CALLS.get(command, []), PYTHONIOENCODING="latin-1")

    assert answer.code == 0, answer
    assert answer.out.isascii()
    assert answer.err.isascii()
    assert "error" not in answer.err
    assert answer.out + answer.err
