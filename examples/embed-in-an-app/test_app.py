"""The application is started as a person starts it, and asked over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest

pytestmark = pytest.mark.slow

APP = Path(__file__).with_name("app.py")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(confiture_database_url, tmp_path) -> Iterator[Start]:
    """Start the application on a port that is free; it is stopped when the test is over."""
    started = []
    # Away from the example's folder: the application finds its migrations from wherever it is started.
    environment = {**os.environ, "DATABASE_URL": confiture_database_url}

    def start(*flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(APP), "--port", "0", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def get(process: subprocess.Popen[str], path: str = "/jams"):
    """Wait until the application listens, and return what it answers."""
    said = process.stdout.readline()
    assert said.startswith("listening on http://127.0.0.1:"), process.stderr.read()
    with build_opener(ProxyHandler({})).open(said.split()[-1] + path, timeout=10) as answer:
        return json.load(answer)


def test_it_refuses_to_start_while_migrations_are_pending(start, confiture_database):
    process = start()

    said, complaint = process.communicate(timeout=60)

    assert process.returncode == 1
    assert said == ""
    assert "0001 jams is pending, 0002 jars is pending" in complaint
    assert confiture_database.execute("SELECT to_regclass('jams')").fetchone() == (None,)


def test_it_applies_them_where_it_is_told_to_and_serves(start):
    answer = get(start("--migrate"))

    assert answer == [{"fruit": "fig", "jars": 0}, {"fruit": "plum", "jars": 0}]


def test_it_starts_without_being_told_once_they_are_applied(start):
    get(start("--migrate"))

    answer = get(start())

    assert [jam["fruit"] for jam in answer] == ["fig", "plum"]


def test_of_two_that_start_at_once_one_migrates_and_both_serve(start, confiture_database):
    both = [start("--migrate"), start("--migrate")]

    answers = [get(process) for process in both]

    assert answers[0] == answers[1]
    assert len(answers[0]) == 2
    applied = confiture_database.execute("SELECT version FROM confiture.ledger ORDER BY version").fetchall()
    assert applied == [("0001",), ("0002",)]


def test_a_migration_that_fails_keeps_it_from_starting_and_is_named(start, confiture_database):
    confiture_database.execute("CREATE TABLE jams (in_the_way int)")

    process = start("--migrate")
    complaint = process.communicate(timeout=60)[1]

    assert process.returncode == 1
    assert 'migration 0001 jams failed: relation "jams" already exists' in complaint
    assert "Traceback" not in complaint


def test_an_unknown_page_is_not_found(start):
    process = start("--migrate")

    with pytest.raises(HTTPError) as refused:
        get(process, "/pickles")

    assert refused.value.code == 404
    refused.value.close()
