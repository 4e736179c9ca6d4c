"""Progress is told on stderr, and telling it never stops the work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from confiture.cli.flags import Flags
from confiture.cli.progress import open_progress


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys):
    with open_progress(Flags()) as tell:
        assert tell is not None
        tell("1 jam: applied\x1b[2J")

    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "1 jam: applied\\x1b[2J\n")


def test_a_long_plan_is_told_now_and_then(capsys):
    for flags in (Flags(), Flags(verbose=True)):
        with open_progress(flags) as tell:
            assert tell is not None
            for number in range(1, 351):
                tell(f"{number} jam: rehearsed")

    told = capsys.readouterr().err.splitlines()
    assert len(told) == 20 + 7 + 350
    assert told[19:22] == ["20 jam: rehearsed", "50 jam: rehearsed", "100 jam: rehearsed"]


def test_quiet_has_no_progress():
    with open_progress(Flags(quiet=True)) as tell:
        assert tell is None


def test_a_stderr_that_takes_nothing_more_does_not_stop_the_work():
    script = """
from confiture.cli.flags import Flags
from confiture.cli.progress import open_progress
with open_progress(Flags()) as tell:
    tell("1 jam: applied")
print("went on")
"""

    with open("/dev/full", "w") as full:
        answer = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, text=True
        )

    assert answer.stdout == "went on\n"


def test_at_a_terminal_it_is_one_passing_line(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")

    with open_progress(Flags()) as tell:
        assert tell is not None
        tell("1 jam: waiting for somebody else")

    assert capsys.readouterr().err == "\r\x1b[K1 jam: waiting for \r\x1b[K"


def test_other_text_at_a_terminal_starts_on_an_empty_line(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    with open_progress(Flags()) as tell:
        assert tell is not None
        tell("1 jam: applied")
        print("a warning", file=sys.stderr)
        tell("2 fig: applied")

    erase = "\r\x1b[K"
    assert capsys.readouterr().err == f"{erase}1 jam: applied{erase}a warning\n{erase}2 fig: applied{erase}"


@pytest.mark.slow
def test_where_both_streams_go_to_one_log_an_error_is_printed_once(project):
    project.write("1_jam.sql", "SELECT * FROM no_such_jam")

    done = subprocess.run(
        [sys.executable, "-m", "confiture", "run"],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 4
    assert done.stdout.count('"no_such_jam" does not exist') == 1
