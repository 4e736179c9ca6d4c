"""What is refused before anything runs says why in every report that was asked for, whatever the format."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest

from confiture.cli.execute import execute
from confiture.cli.flags import Flags
from tests import published
from tests.project import Project, ended, wait_until

FORMATS = ("json", "junit", "sarif", "gitlab", "markdown", "html", "text")
FLAGS = [flag for name in FORMATS for flag in ("--output", f"{name}=out.{name}")]


def read(project: Project, name: str) -> str:
    return (project.folder / f"out.{name}").read_text(encoding="utf-8")


def check_reports(project: Project, code: int, reason: str, line: str = "") -> Any:
    """Check that each report gives the reason, and return the JSON report's error."""
    document = published.read_file(project.folder / "out.json")
    assert (document["outcome"], document["exit_code"]) == ("refused", code)
    assert reason in document["error"]["message"]
    (case,) = ElementTree.fromstring(read(project, "junit")).iter("testcase")
    assert reason in case[0].attrib["message"]
    run: Any = json.loads(read(project, "sarif"))["runs"][0]
    said = run["results"] + run["invocations"][0]["toolExecutionNotifications"]
    assert [reason in notice["message"]["text"] for notice in said] == [True]
    (entry,) = json.loads(read(project, "gitlab"))
    assert reason in entry["description"]
    first_screen = read(project, "html").split('<dl class="facts">')[0]
    assert reason.replace('"', "&#34;").replace("'", "&#39;") in first_screen
    assert reason in read(project, "text")
    assert "1 error" in read(project, "markdown")
    return document["error"]


@pytest.mark.parametrize("command", ["run", "dry-run", "down", "redo"])
def test_a_faulty_configuration_is_the_error_of_every_report(folder, command):
    folder.configure("urll = 1\n")

    answer = folder(command, *FLAGS, "--output", "github")

    assert answer.code == 2
    assert "unknown key 'urll'" in answer.out
    check_reports(folder, 2, "unknown key 'urll'")


@pytest.mark.parametrize("command", ["run", "dry-run", "down", "lint"])
def test_a_missing_folder_is_the_error_of_every_report(folder, command):
    folder.url = "postgresql://localhost:1/nowhere"

    answer = folder(command, *FLAGS)

    assert answer.code == 2
    assert check_reports(folder, 2, "migrations")["hint"]


@pytest.mark.parametrize("command", ["run", "dry-run", "down"])
def test_a_server_that_cannot_be_reached_is_the_error_of_every_report(folder, command):
    folder.url = "postgresql://localhost:1/nowhere"
    folder.write("1_jam.sql", "SELECT 1")

    assert folder(command, *FLAGS).code == 3
    check_reports(folder, 3, "refused")


@pytest.mark.parametrize("command", ["run", "dry-run", "lint"])
def test_a_faulty_file_is_named_with_its_line_in_every_report(project, command):
    project.write("1_jam.sql", "SELECT 1;\nSELEC 2;\n")

    assert project(command, *FLAGS).code == 4
    error = check_reports(project, 4, "syntax error")
    assert (error["file"].rpartition("/")[2], error["line"]) == ("1_jam.sql", 2)


def test_all_faulty_files_are_named_in_every_report(project):
    project.write("1_jam.sql", "SELEC 1")
    project.write("2_fig.sql", "SELECT 'x")

    assert project("run", *FLAGS).code == 4
    error = check_reports(project, 4, "2 migration files are faulty")
    assert "migrations/1_jam.sql:1:1: " in error["message"]
    assert "migrations/2_fig.sql:1:8: " in error["message"]


@pytest.mark.slow
def test_a_lock_that_is_not_granted_is_the_error_of_every_report(project, database):
    project.write("1_long.sql", "SELECT pg_advisory_xact_lock(4711)")
    database.execute("SELECT pg_advisory_lock(4711)")
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND objid = 4711"
    first = project.start("run")
    wait_until(lambda: database.execute(waiting).fetchone(), first)

    answer = project("run", "--lock-wait", "0.2", *FLAGS)

    database.execute("SELECT pg_advisory_unlock(4711)")
    ended(first)
    assert answer.code == 6
    check_reports(project, 6, "another run holds the migration lock")


def test_a_changed_file_is_the_error_of_every_report(project):
    project.write("1_jam.sql", "SELECT 1")
    project("run")
    project.write("1_jam.sql", "SELECT 2")

    assert project("run", *FLAGS).code == 7
    check_reports(project, 7, "changed")


@pytest.mark.parametrize("arguments", [("run", "--dry-run", "--dump"), ("run", "--gate", "--no-gate")])
def test_flags_that_do_not_fit_together_are_the_error_of_every_report(folder, arguments):
    assert folder(*arguments, *FLAGS).code == 2
    check_reports(folder, 2, "cannot both be given")


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (("down", "--steps", "1", "--to", "1"), "--steps and --to cannot both be given"),
        (("down", "--steps", "0"), "--steps"),
        (("run", "--nosuch"), "--nosuch"),
        (("run", "--dry-run", "--wait", "x"), "--wait"),
        (("dry-run", "--in", "nowhere"), "nowhere"),
        (("redo", "extra"), "extra"),
        (("lint", "--nosuch"), "--nosuch"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_a_flag_that_cannot_be_parsed_is_the_error_of_every_report(folder, arguments, reason, before):
    name, *wrong = arguments
    answer = folder(name, *((*FLAGS, *wrong) if before else (*wrong, *FLAGS)))

    assert answer.code == 2
    assert reason in answer.err
    check_reports(folder, 2, reason)


def test_on_stdout_too_a_flag_that_cannot_be_parsed_leaves_one_report(folder):
    answer = folder("run", "--nosuch", "--output=json")

    assert answer.code == 2
    assert "--nosuch" in answer.json["error"]["message"]


def test_a_wrong_output_among_wrong_flags_does_not_replace_the_first_error(folder):
    answer = folder("run", "--nosuch", "--output", "nope", "--output", "json=out.json")

    assert answer.code == 2
    assert answer.err.startswith("error: no such option")
    assert "--nosuch" in published.read_file(folder.folder / "out.json")["error"]["message"]


@pytest.mark.parametrize("wanted", ["nope", "nope=out.nope", "json=missing/out.json"])
def test_a_report_that_cannot_be_opened_leaves_the_others(folder, wanted):
    answer = folder("run", *FLAGS[2:], "--output", "json=out.json", "--output", wanted)

    assert answer.code == 2
    check_reports(folder, 2, wanted.partition("=")[2] or "there is no format 'nope'")


def test_an_error_of_the_server_before_the_first_migration_is_the_error_of_every_report(project):
    def fail(*_: object) -> Any:
        import psycopg

        with psycopg.connect(project.url) as conn:
            conn.execute("SELECT 1/0")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        with pytest.raises(Exception, match="division by zero"):
            execute(Flags(output=tuple(FLAGS[1::2]), url=project.url), "run", fail)

    assert check_reports(project, 4, "division by zero")["sqlstate"] == "22012"


def call_on_full_disk(project: Project, *flags: str) -> tuple[int, str]:
    """Return the exit code of a run whose stdout takes nothing, and what it wrote to stderr."""
    command = [sys.executable, "-m", "confiture", "run", *flags]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            cwd=project.folder,
            env=project.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--output", "json"), ("--output", "json=/dev/full"), ("-q",)])
@pytest.mark.parametrize("sql, code", [("SELECT 1/0;", 4), ("SELECT 'x", 4)])
def test_a_full_disk_does_not_change_the_code_of_a_failure(project, sql, code, flags):
    project.write("1_jam.sql", sql)
    done, said = call_on_full_disk(project, *flags)

    assert done == code
    assert "Traceback" not in said
    assert "division by zero" in said or "unterminated" in said


@pytest.mark.slow
def test_a_full_disk_at_a_run_that_succeeded_is_a_fault_of_usage(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ()")
    done, said = call_on_full_disk(project)

    assert done == 2
    assert "the report cannot be written to stdout: No space left" in said
    assert project.states() == {"1": "applied"}
