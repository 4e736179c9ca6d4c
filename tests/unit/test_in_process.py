"""A command run inside a test has the state of a process to itself, and puts back what was there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import structlog

from tests.in_process import run_in_process
from tests.project import Project

GREEDY = """\
import os
import sys

from confiture import hookimpl

os.environ["FIG"] = "eaten"
sys.path.insert(0, "/nosuch")


@hookimpl
def before_ddl():
    pass
"""


def state() -> tuple[object, ...]:
    return (
        os.getcwd(),
        dict(os.environ),
        list(sys.path),
        (sys.stdin, sys.stdout, sys.stderr),
        structlog.is_configured(),
    )


def test_what_a_command_changed_is_put_back(tmp_path):
    project = Project(tmp_path)
    project.install("greedy", GREEDY)
    before = state()

    answer = project("plugins", "--plugins", "greedy", "--log-format", "json")

    assert answer.code in (0, 2)
    assert state() == before
    assert "greedy" not in sys.modules


def test_a_plugin_of_another_project_is_not_seen(tmp_path):
    first, second = Project(tmp_path / "first"), Project(tmp_path / "second")
    for project, version in ((first, "7.7"), (second, "8.8")):
        project.folder.mkdir()
        project.install("fig", GREEDY, version=version)

    shown = [project("plugins").out for project in (first, second)]

    assert ["7.7" in text for text in shown] == [True, False]
    assert ["8.8" in text for text in shown] == [False, True]


def test_the_environment_is_the_given_one_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFITURE_DATABASE_URL", "postgresql://nobody@localhost:1/x")

    Project(tmp_path).write("1_jam.sql", "SELECT 1")

    output = run_in_process(["status"], folder=tmp_path, environ={"PGHOST": str(tmp_path)})

    assert output.code == 3
    assert "localhost" not in output.err
    assert Path.cwd() != tmp_path
