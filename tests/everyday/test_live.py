"""Live progress: at a terminal, for anything over a second; a plain line a step elsewhere."""

from __future__ import annotations

import os
import pty
import select
import sys
import time

import pytest

from confiture.cli.live_display import render_activity
from confiture.engine.blockers import Activity
from tests.project import ended

pytestmark = pytest.mark.slow

_PATIENCE_S = 60.0


@pytest.fixture
def terminal(project):
    """Start a command at a terminal of its own; its process and the terminal's other end."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "confiture", *arguments]
        environ = project.environment(TERM="xterm", COLUMNS="300")
        pid, terminal = pty.fork()
        if pid == 0:
            try:
                os.chdir(project.folder)
                os.execve(command[0], command, environ)
            finally:
                # A child that could not become the command must not go on as a second test run.
                os._exit(127)
        started.append((pid, terminal))
        return terminal

    yield start
    for pid, number in started:
        os.close(number)
        os.waitpid(pid, 0)


def read_until(terminal: int, text: str | None) -> str:
    """Return what is shown until ``text`` is, or without one until the command ends."""
    shown, deadline = "", time.monotonic() + _PATIENCE_S
    while text is None or text not in shown:
        assert time.monotonic() < deadline, shown
        ready, _, _ = select.select([terminal], [], [], 0.2)
        try:
            part = os.read(terminal, 65536) if ready else None
        except OSError:
            part = b""
        if part == b"":
            assert text is None, shown
            return shown
        shown += (part or b"").decode(errors="replace")
    return shown


@pytest.mark.parametrize("command, outcome", [("run", "applied"), ("dry-run", "rehearsed")])
def test_a_terminal_shows_the_statement_the_time_and_who_it_waits_for(
    project, terminal, second, command, outcome
):
    second.execute("CREATE TABLE jam (i int)")
    second.execute("BEGIN; LOCK TABLE jam")
    pid = second.info.backend_pid
    project.write("1_fig.sql", "-- confiture: lock_timeout=50s\n\nALTER TABLE jam ADD COLUMN fig int;\n")

    number = terminal(command)
    shown = read_until(number, f"waits for pid {pid}")
    second.execute("COMMIT")
    rest = read_until(number, None)

    assert "1 fig: up, 1." in shown
    assert "line 3: ALTER TABLE jam ADD COLUMN fig int" in shown
    assert outcome in rest


def test_what_takes_less_than_a_second_is_not_drawn(project, terminal):
    project.write("1_fig.sql", "CREATE TABLE fig (i int);")

    shown = read_until(terminal("run"), None)

    assert "1 migration applied" in shown
    assert "1 fig: up" not in shown
    assert "\x1b[?25l" not in shown


def test_elsewhere_there_is_a_plain_line_a_step(project, second):
    project.write("1_jam.sql", "SELECT pg_sleep(1.5);")
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")

    answer = ended(project.start("run", "--no-plugins"))

    assert [line.split(" in ")[0] for line in answer.err.splitlines()] == ["1 jam: applied", "2 fig: applied"]


def test_hostile_text_is_drawn_inert():
    now = Activity(
        "1", "1 e\x1b[2Jvil", "up", 1500.0, 3, "SELECT '\x1b[31m'\nFROM jam", "pid 4 (user e\x07vil)"
    )

    drawn = render_activity(now)

    assert drawn == [
        "1 e\\x1b[2Jvil: up, 1.5 s",
        "  line 3: SELECT '\\x1b[31m'",
        "  waits for pid 4 (user e\\x07vil)",
    ]


def test_between_statements_the_phase_alone_is_drawn():
    assert render_activity(Activity("1", "1 jam", "after_ddl", 61_000.0)) == ["1 jam: after_ddl, 1 min 1 s"]
