"""``--env``, ``--wait`` and ``--log-format``: what a deployment needs."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pytest

from confiture.server import open_temporary_server
from tests.project import applied, ended

pytestmark = pytest.mark.slow

JAM = "CREATE TABLE jam (i int);"
LOUD = """
from confiture import hookimpl


@hookimpl
def after_ddl(conn, context):
    context.log.warning("jam.spread", spoons=3)
"""


def test_env_uses_its_own_database_and_folder(project, database, database_url):
    project.url = ""
    project.write("1_jam.sql", JAM)
    project.migrations.rename(project.folder / "staged")
    project.configure(
        'url = "postgresql://nobody@127.0.0.1:1/none"\n'
        f'[env.staging]\nurl = "{database_url}"\nmigrations = "staged"\n'
    )

    answer = project("run", "--env", "staging")
    history = project("history", "--env", "staging")
    without = project("history")

    assert answer.code == 0, answer.err
    assert applied(database) == ["1"]
    assert " jam " in history.out
    assert without.code == 3


@pytest.mark.parametrize("command", ["verify", "history", "repair", "dump", "redo"])
def test_an_unknown_env_is_two_and_names_those_there_are(project, command):
    project.configure('[env.staging]\nurl = "x"\n')

    answer = project(command, "--env", "stagign")

    assert answer.code == 2
    assert "it has staging" in answer.err


def test_wait_waits_for_a_server_that_starts_late(project):
    """Its socket is not there yet when the command begins."""
    with open_temporary_server(Path(tempfile.gettempdir())) as server:
        project.url = server.conninfo("postgres")
        project.write("1_jam.sql", JAM)
        (socket,) = server.socket.glob(".s.PGSQL.*[0-9]")
        hidden = socket.with_name("hidden")
        socket.rename(hidden)

        at_once = project("status")
        waiting = project.start("run", "--wait", "60")
        time.sleep(1.5)
        still = waiting.poll()
        hidden.rename(socket)
        answer = ended(waiting)

    assert at_once.code == 3
    assert still is None
    assert answer.code == 0, answer.err


def test_wait_gives_up_when_its_time_is_over(project):
    project.url = "postgresql://nobody@127.0.0.1:1/none"
    project.write("1_jam.sql", JAM)
    began = time.monotonic()

    answer = project("status", "--wait", "1")

    assert answer.code == 3
    assert time.monotonic() - began >= 1


def test_a_database_that_does_not_exist_is_not_waited_for(project, database_url):
    project.url = database_url.replace("/test_", "/no_test_")
    project.write("1_jam.sql", JAM)
    began = time.monotonic()

    answer = project("status", "--wait", "50")

    assert answer.code == 3
    assert "does not exist" in answer.err
    assert time.monotonic() - began < 40


def events(answer):
    return [json.loads(line) for line in answer.err.splitlines()]


def test_logs_as_json_are_one_object_a_line(project):
    project.install("loud", LOUD)
    project.write("1_jam.sql", JAM)

    answer = project("run", "--plugins", "--log-format", "json")

    assert answer.code == 0
    found = {event["event"]: event for event in events(answer)}
    assert found["jam.spread"] == found["jam.spread"] | {
        "level": "warning",
        "spoons": 3,
        "version": "1",
        "plugin": "loud",
        "phase": "after_ddl",
    }
    assert found["migration.applied"]["version"] == "1"
    assert found["migration.applied"]["duration_ms"] > 0


def test_a_failed_migration_is_an_object_with_its_error(project):
    project.write("1_jam.sql", "SELECT 1/0;")

    answer = project("run", "--no-plugins", "--log-format", "json")

    assert answer.code == 4
    (event,) = events(answer)
    assert (event["event"], event["level"]) == ("migration.failed", "error")
    assert (event["message"], event["sqlstate"]) == ("division by zero", "22012")


@pytest.mark.parametrize("command", ["run", "status", "verify", "repair", "dump", "history"])
def test_what_is_refused_is_an_object_too(project, command):
    project.url = "postgresql://plum:hush@127.0.0.1:1/none"
    project.write("1_jam.sql", JAM)

    answer = project(command, "--log-format", "json")

    assert answer.code == 3
    (event,) = events(answer)
    assert (event["event"], event["exit_code"]) == ("command.failed", 3)
    assert "cannot connect" in event["message"]
    assert "hush" not in answer.err


def test_the_machines_report_stays_on_stdout(project):
    project.write("1_jam.sql", JAM)

    answer = project("run", "--no-plugins", "--log-format", "json", "--output", "json")

    assert answer.json["outcome"] == "ok"
    assert [event["event"] for event in events(answer)] == ["migration.applied"]


def test_an_unknown_log_format_is_two(project):
    assert project("run", "--log-format", "xml").code == 2
