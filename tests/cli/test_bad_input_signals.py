"""Ctrl-C, SIGTERM and a server that stops: rolled back, what was applied before is named."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from confiture.server import open_temporary_server
from confiture.server.postmaster import read_postmaster
from tests.project import Answer, Project, applied, ended, tables, wait_until

pytestmark = pytest.mark.slow

CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
both = pytest.mark.parametrize("number, code", CODES, ids=["SIGINT", "SIGTERM"])

MIGRATION = """\
import time
from pathlib import Path
from typing import Any

from confiture.models.migration import Migration


class Long(Migration):
    def up(self):
        self.execute("CREATE TABLE long (i int)")
        Path({reached!r}).touch()
        time.sleep(600)
"""
HOOK = """\
import time
from pathlib import Path
from typing import Any

from confiture import hookimpl


@hookimpl
def {phase}():
    Path({reached!r}).touch()
    time.sleep(600)
"""


@pytest.fixture
def sound(project: Project) -> Project:
    """A project whose first migration goes well."""
    project.write("1_sound.sql", "CREATE TABLE sound (i int)")
    return project


def sleeping(database: psycopg.Connection[Any]) -> object:
    """Whether a session sleeps in the server."""
    return database.execute(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    ).fetchone()


def sessions(database: psycopg.Connection[Any]) -> int:
    """Return how many sessions confiture has left."""
    found = database.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'confiture'"
    )
    return found.rowcount


def assert_rolled_back(answer: Answer, code: int, database: psycopg.Connection[Any]) -> None:
    """The first migration stays and is named, the second has left nothing, no session is left."""
    assert answer.code == code, answer
    assert "interrupted" in answer.err + answer.out
    assert "applied before: 1 sound" in answer.err + answer.out
    assert applied(database) == ["1"]
    assert "public.long" not in tables(database)
    wait_until(lambda: not sessions(database))


INTERRUPTING = """\
import os
import sys


def interrupt(event, arguments):
    if event == "import" and arguments[0] == os.environ["INTERRUPTED_AT"]:
        os.kill(os.getpid(), int(os.environ.get("INTERRUPTED_WITH", "2")))


sys.addaudithook(interrupt)
"""


@pytest.mark.parametrize(
    "module",
    [
        "confiture.cli.command_line",
        "confiture.exceptions",
        "click",
        "click.types",
        "confiture.cli.commands",
        "confiture.cli.context",
        "attrs",
        "confiture.config.settings",
        "confiture.api.operations",
        "psycopg",
    ],
)
def test_interrupted_in_the_first_moment(sound, database, tmp_path, module):
    """Signals that arrive while a module is imported: the interpreter tells when, through an audit hook."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    sound.installed.append(tmp_path)

    answer = sound.call_process("status", INTERRUPTED_AT=module)

    assert (answer.code, answer.out, answer.err) == (130, "", "interrupted\n")


def test_a_second_interruption_does_not_replace_the_message_of_the_first(sound, database, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        INTERRUPTING.replace('== os.environ["INTERRUPTED_AT"]', 'in ("psycopg", "confiture.logs")')
    )
    sound.installed.append(tmp_path)

    answer = sound.call_process("status")

    assert (answer.code, answer.out, answer.err) == (130, "", "interrupted\n")


def test_an_interruption_after_the_work_leaves_the_exit_code(sound, database, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit\nimport os\n\natexit.register(os.kill, os.getpid(), 2)\n"
    )
    sound.installed.append(tmp_path)

    answer = sound.call_process("status")

    assert (answer.code, answer.err) == (0, "")


def test_an_interruption_in_a_destructor_is_no_traceback(sound):
    sound.write(
        "2_end.py",
        "from confiture.models.migration import Migration\n\n\nclass Thing:\n    def __del__(self):\n"
        "        raise KeyboardInterrupt\n\n\nclass End(Migration):\n    def up(self):\n        Thing()\n",
    )

    answer = sound.call_process("run")

    assert answer.code == 0
    assert "KeyboardInterrupt" not in answer.err


@both
def test_interrupted_while_the_server_works(sound, database, number, code):
    sound.write("2_long.sql", "CREATE TABLE long (i int);\nSELECT pg_sleep(600);")
    run = sound.start("run")
    wait_until(lambda: sleeping(database), run)

    answer = ended(run, number)

    assert_rolled_back(answer, code, database)


@both
def test_interrupted_while_python_works(sound, database, tmp_path, number, code):
    reached = tmp_path / "reached"
    sound.write("2_long.py", MIGRATION.format(reached=str(reached)))
    run = sound.start("run")
    wait_until(reached.exists, run)

    answer = ended(run, number)

    assert_rolled_back(answer, code, database)


@pytest.mark.parametrize("phase", ["before_validation", "after_ddl", "cleanup"])
@both
def test_interrupted_while_a_hook_works(sound, database, tmp_path, number, code, phase):
    reached = tmp_path / "reached"
    sound("run")
    sound.write("2_long.sql", "CREATE TABLE long (i int)")
    sound.install("plum", HOOK.format(reached=str(reached), phase=phase))
    run = sound.start("run", "--plugins", "plum")
    wait_until(reached.exists, run)

    answer = ended(run, number)

    assert answer.code == code, answer
    assert applied(database) == ["1"]
    assert "public.long" not in tables(database)
    wait_until(lambda: not sessions(database))


@both
def test_interrupted_while_a_lock_is_waited_for(sound, database, second, number, code):
    second.execute("BEGIN; CREATE TABLE jam (i int); COMMIT; BEGIN; LOCK TABLE jam")
    sound.write("2_long.sql", "CREATE TABLE long (i int);\nALTER TABLE jam ADD COLUMN t text;")
    run = sound.start("run")
    wait_until(
        lambda: database.execute(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'jam'::regclass"
        ).fetchone(),
        run,
    )

    answer = ended(run, number)

    assert_rolled_back(answer, code, database)


@both
def test_interrupted_while_another_run_is_waited_for(sound, database, second, number, code):
    second.execute("BEGIN")
    sound.write("2_long.sql", "SELECT pg_sleep(600)")
    first = sound.start("run")
    wait_until(lambda: sleeping(database), first)
    run = sound.start("run", "--lock-wait", "600")
    wait_until(lambda: sessions(database) == 4, run)

    answer = ended(run, number)

    ended(first, signal.SIGTERM)
    assert answer.code == code
    assert applied(database) == ["1"]


@both
def test_interrupted_while_a_starting_server_is_waited_for(folder, tmp_path, number, code):
    """A plugin tells when it has been imported, which is after the signals are caught."""
    reached = tmp_path / "reached"
    folder.write("1_sound.sql", "SELECT 1")
    folder.install(
        "plum",
        f"from pathlib import Path\n\nfrom confiture import hookimpl\n\nPath({str(reached)!r}).touch()\n\n\n"
        "@hookimpl\ndef cleanup():\n    pass\n",
    )
    run = folder.start(
        "run", "--plugins", "plum", "--wait", "600", "--url", f"postgresql:///x?host={tmp_path}"
    )
    wait_until(reached.exists, run)

    answer = ended(run, number)

    assert answer.code == code
    assert answer.err.endswith("interrupted\n")


@both
def test_interrupted_in_a_no_transaction_migration(sound, database, number, code):
    sound.write(
        "2_long.sql", "-- confiture: no-transaction\nCREATE TABLE long (i int);\nSELECT pg_sleep(600);\n"
    )
    run = sound.start("run")
    wait_until(lambda: sleeping(database), run)

    answer = ended(run, number)

    assert answer.code == code
    assert "applied before: 1 sound" in answer.out
    assert applied(database) == ["1"]
    assert [item["state"] for item in sound("status", "--output", "json").json["migrations"]] == [
        "applied",
        "unfinished",
    ]


@both
def test_an_interrupted_rehearsal_leaves_nothing(sound, database, number, code):
    sound.write("2_long.sql", "CREATE TABLE long (i int);\nSELECT pg_sleep(600);")
    run = sound.start("dry-run")
    wait_until(lambda: sleeping(database), run)

    answer = ended(run, number)

    assert answer.code == code
    assert tables(database) == []


@both
def test_an_interrupted_down_leaves_it_applied(project, database, number, code):
    project.write("1_sound.up.sql", "CREATE TABLE sound (i int)")
    project.write("1_sound.down.sql", "DROP TABLE sound; SELECT pg_sleep(600);")
    project("run")
    down = project.start("down")
    wait_until(lambda: sleeping(database), down)

    answer = ended(down, number)

    assert answer.code == code
    assert applied(database) == ["1"]
    assert "public.sound" in tables(database)


@both
def test_an_interrupted_run_writes_its_report(sound, database, number, code):
    sound.write("2_long.sql", "SELECT pg_sleep(600)")
    run = sound.start("run", "--output", "json")
    wait_until(lambda: sleeping(database), run)

    answer = ended(run, number)

    assert answer.code == code
    assert answer.json["exit_code"] == code
    assert answer.json["outcome"] == "failed"
    assert [item["outcome"] for item in answer.json["migrations"]] == ["applied", "failed"]


@both
def test_an_interrupted_lint_writes_its_report(sound, tmp_path, number, code):
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    sound.installed.append(tmp_path)

    answer = sound.call_process(
        "lint",
        "--output",
        "json",
        INTERRUPTED_AT="confiture.rules.lint",
        INTERRUPTED_WITH=str(int(number)),
    )

    assert (answer.code, answer.err) == (code, "interrupted\n")
    assert (answer.json["outcome"], answer.json["exit_code"]) == ("refused", code)
    assert answer.json["error"]["message"] == "interrupted: nothing was begun"


def test_a_session_ended_by_the_server_is_four_and_names_what_was_applied(sound, database):
    sound.write("2_long.sql", "CREATE TABLE long (i int);\nSELECT pg_sleep(600);")
    run = sound.start("run")
    wait_until(lambda: sleeping(database), run)

    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")

    answer = ended(run)
    assert answer.code == 4
    assert "terminating connection due to administrator command" in answer.err
    assert "migrations/2_long.sql:2:1" in answer.err
    assert "applied before: 1 sound" in answer.out
    assert applied(database) == ["1"]
    assert "public.long" not in tables(database)


LOST = """\
import os
import socket

from confiture.models.migration import Migration


class Lost(Migration):
    def up(self):
        self.execute("CREATE TABLE lost (i int)")
        with socket.socket(fileno=os.dup(self.connection.fileno())) as torn:
            torn.shutdown(socket.{how})
        {then}
"""


@pytest.mark.parametrize("then", ["raise RuntimeError('torn')", "self.execute('SELECT 1')", "pass"])
@pytest.mark.parametrize("how", ["SHUT_RDWR", "SHUT_WR", "SHUT_RD"])
def test_a_connection_torn_in_the_middle_is_four_and_names_what_was_applied(sound, database, how, then):
    sound.write("2_lost.py", LOST.format(how=how, then=then))

    answer = sound("run")

    assert answer.code == 4
    assert answer.err.count("psycopg.") == 0
    assert "applied before: 1 sound" in answer.out
    assert applied(database) == ["1"]
    assert "public.lost" not in tables(database)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_the_server_stopped_in_the_middle_is_four_and_names_what_was_applied(folder, how):
    folder.write("1_sound.sql", "CREATE TABLE sound (i int)")
    folder.write("2_long.sql", "CREATE TABLE long (i int);\nSELECT pg_sleep(600);")
    with open_temporary_server(Path(tempfile.gettempdir())) as server:
        folder.url = server.conninfo("app")
        with psycopg.connect(folder.url, autocommit=True) as conn:
            (data,) = conn.execute("SHOW data_directory").fetchone() or ("",)
            run = folder.start("run")
            wait_until(lambda: sleeping(conn), run)
        postmaster = read_postmaster(Path(data))
        assert postmaster is not None

        os.kill(postmaster.pid, how)
        answer = ended(run)

    assert answer.code == 4
    assert "2 long" in answer.err
    assert "error: " in answer.err
    assert "applied before: 1 sound" in answer.out
