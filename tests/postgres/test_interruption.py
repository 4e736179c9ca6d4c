"""CONTRACT, exit codes 130 and 143: rolled back, and what was applied before is named."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from confiture.exceptions import Interrupted
from confiture.postgres.session import Session
from confiture.server import open_temporary_server
from tests import published
from tests.project import Project, exists, keeper_of, only, plugin, running, until

pytestmark = pytest.mark.slow

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
NAMES = ["SIGINT", "SIGTERM"]
PYTHON = """
    import pathlib, sys, time

    from confiture.core import Hook, HookPhase
    from confiture.models.migration import Migration

    def wait(here):
        (pathlib.Path(__file__).parent / "here").write_text(here)
        time.sleep(600)

    {body}
"""
HOOK = PYTHON.format(
    body="""
    class Slow(Hook):
        phase = HookPhase.{phase}

        def execute(self, conn, context):
            conn.execute("CREATE TABLE pot ()")
            wait("{phase}")

    class Jam(Migration):
        {attribute} = [Slow()]
        transactional = {transactional}

        def up(self):
            self.execute("CREATE TABLE jam ()")
    """
)


@pytest.fixture
def lid(project):
    """A first migration, which is applied before anything is interrupted."""
    project.write("1_lid.sql", "CREATE TABLE lid ();")
    return project


def interrupted(
    project: Project, condition: Any, number: signal.Signals, *words: str
) -> tuple[int, str, str]:
    """Start a run, send it a signal once the condition holds; return its exit code and what it said."""
    with project.running(*(words or ("run",))) as process:
        until(condition, "the point to interrupt at")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def here(project: Project) -> Any:
    """Return a condition: the migration says that it waits."""
    return lambda: (project.migrations / "here").exists()


@pytest.mark.parametrize("number, code", SIGNALS, ids=NAMES)
def test_during_a_long_statement(lid, database, number, code):
    lid.write("2_jam.sql", "CREATE TABLE jam ();\nSELECT pg_sleep(600);\n")
    lid.write("3_pot.sql", "CREATE TABLE pot ();")

    ended, out, err = interrupted(lid, running(database, "pg_sleep"), number)

    assert ended == code
    assert "interrupted" in out + err
    assert "1  lid" in out
    assert "applied" in out
    assert "Traceback" not in out + err
    assert lid.states() == {"1": "applied", "2": "pending", "3": "pending"}
    assert exists(database, "lid")
    assert not exists(database, "jam")
    until(lambda: running(database, "pg_sleep")() is None, "the end of the statement")
    until(lambda: keeper_of(database) is None, "the end of the session that held the lock")


@pytest.mark.parametrize("number, code", SIGNALS, ids=NAMES)
@pytest.mark.parametrize(
    "phase, attribute", [("BEFORE_DDL", "before_ddl_hooks"), ("CLEANUP", "cleanup_hooks")]
)
def test_during_a_hook(lid, database, number, code, phase, attribute):
    lid.write("2_jam.py", HOOK.format(phase=phase, attribute=attribute, transactional=True))

    ended, out, err = interrupted(lid, here(lid), number)

    assert ended == code
    assert "1  lid" in out
    assert "Traceback" not in out + err
    assert lid.states() == {"1": "applied", "2": "pending"}
    assert not exists(database, "jam")
    assert not exists(database, "pot")


def test_during_a_hook_of_a_no_transaction_migration_its_transaction_is_rolled_back(lid, database):
    lid.write("2_jam.py", HOOK.format(phase="BEFORE_DDL", attribute="before_ddl_hooks", transactional=False))

    ended, out, err = interrupted(lid, here(lid), signal.SIGINT)

    assert ended == 130
    assert "Traceback" not in out + err
    assert lid.states() == {"1": "applied", "2": "pending"}
    assert not exists(database, "pot")


@pytest.mark.parametrize("number, code", SIGNALS, ids=NAMES)
def test_between_two_statements_of_a_python_migration(lid, database, number, code):
    lid.write(
        "2_jam.py",
        PYTHON.format(
            body="""
    class Jam(Migration):
        def up(self):
            self.execute("CREATE TABLE jam ()")
            wait("up")
    """
        ),
    )

    ended, out, err = interrupted(lid, here(lid), number)

    assert ended == code
    assert "1  lid" in out
    assert "Traceback" not in out + err
    assert not exists(database, "jam")


@pytest.mark.parametrize("number, code", SIGNALS, ids=NAMES)
def test_between_two_migrations(lid, database, number, code):
    """An on_commit callback is called when one is applied and the next has not begun."""
    lid.write(
        "2_jam.py",
        PYTHON.format(
            body="""
    class Late(Hook):
        phase = HookPhase.CLEANUP

        def execute(self, conn, context):
            context.on_commit(lambda: wait("committed"))

    class Jam(Migration):
        cleanup_hooks = [Late()]

        def up(self):
            self.execute("CREATE TABLE jam ()")
    """
        ),
    )
    lid.write("3_pot.sql", "CREATE TABLE pot ();")

    ended, out, err = interrupted(lid, here(lid), number)

    assert ended == code
    assert "1  lid" in out
    assert "2  jam" in out
    assert "Traceback" not in out + err
    assert "rolled back" not in out + err
    assert "interrupted between two migrations" in out
    assert "interrupted; applied before: 1 lid, 2 jam" in out
    assert "was interrupted after the commit" in out
    assert lid.states() == {"1": "applied", "2": "applied", "3": "pending"}
    assert exists(database, "jam")
    assert not exists(database, "pot")


AFTER_THE_LAST = """
    import pathlib
    import time

    from confiture.core import Hook, HookPhase
    from confiture.models.migration import Migration


    def first():
        pass


    def second():
        (pathlib.Path(__file__).parent / "here").write_text("second")
        time.sleep(600)


    def third():
        (pathlib.Path(__file__).parent / "third").touch()


    class Late(Hook):
        phase = HookPhase.{phase}

        def execute(self, conn, context):
            for callback in (first, second, third):
                context.on_commit(callback)


    class Jam(Migration):
        {attribute} = [Late()]

        def up(self):
            self.execute("{sql}")
"""


def test_in_a_callback_of_the_last_migration_nothing_is_called_rolled_back(lid, database):
    lid.write(
        "2_jam.py",
        AFTER_THE_LAST.format(phase="CLEANUP", attribute="cleanup_hooks", sql="CREATE TABLE jam ()"),
    )

    ended, out, err = interrupted(
        lid, here(lid), signal.SIGINT, "run", "--output", "json=report.json", "--output", "text"
    )

    report = published.read_file(lid.folder / "report.json")
    assert ended == 130 == report["exit_code"]
    assert [migration["outcome"] for migration in report["migrations"]] == ["applied", "applied"]
    assert report["error"]["message"] == "interrupted after the last migration"
    assert "on_commit callback second was interrupted after the commit; not called: third" in out
    assert "interrupted; applied before: 1 lid, 2 jam" in out
    assert "rolled back" not in out + err
    assert not (lid.migrations / "third").exists()
    assert exists(database, "jam")


def test_in_a_callback_of_on_error_the_failure_is_still_reported(lid, database):
    lid.write("2_jam.py", AFTER_THE_LAST.format(phase="ON_ERROR", attribute="error_hooks", sql="SELECT 1/0"))

    ended, out, err = interrupted(lid, here(lid), signal.SIGINT)

    assert ended == 4
    assert "division by zero" in out
    assert "on_commit callback second was interrupted after the commit; not called: third" in out
    assert "rolled back; applied before: 1 lid" in out
    assert "Traceback" not in out + err


@pytest.mark.parametrize("number, code", SIGNALS, ids=NAMES)
def test_during_a_no_transaction_migration_what_was_recorded_stays(lid, database, number, code):
    text = "-- confiture: no-transaction\nCREATE TABLE jam ();\nSELECT pg_sleep({});\nCREATE TABLE pot ();\n"
    lid.write("2_jam.sql", text.format(600))

    ended, out, err = interrupted(lid, running(database, "pg_sleep"), number)
    lid.write("2_jam.sql", text.format(0))
    state = lid.states()
    again = lid.run()

    assert ended == code
    assert "Traceback" not in out + err
    assert state == {"1": "applied", "2": "unfinished"}
    assert again.exit_code == 0, only(again).error
    assert exists(database, "pot")


@pytest.mark.parametrize("number, code", SIGNALS, ids=NAMES)
def test_while_waiting_for_the_migration_lock(lid, database, number, code):
    ended = []

    def before_ddl():
        def polls() -> bool:
            found = database.execute(
                "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%pg_try_advisory_xact_lock%%'"
                " AND datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)",
                (keeper_of(database),),
            ).fetchone()
            return found is not None

        ended.append(interrupted(lid, polls, number, "run", "--output", "json=report.json"))

    lid.run(plugin(before_ddl=before_ddl))

    ((returned, out, err),) = ended
    assert returned == code
    assert "interrupted" in err
    assert "Traceback" not in out + err
    assert published.read_file(lid.folder / "report.json")["exit_code"] == code


@pytest.mark.parametrize("number, code", SIGNALS, ids=NAMES)
def test_while_it_waits_to_try_again(lid, database, second, number, code):
    """The signal comes after the first attempt has failed for want of a lock: four are made in all."""
    database.execute("CREATE TABLE jam ()")
    second.execute("BEGIN; LOCK TABLE jam")
    lid.write(
        "2_jam.py",
        PYTHON.format(
            body="""
    class Tell(Hook):
        phase = HookPhase.BEFORE_DDL

        def execute(self, conn, context):
            if context.attempt == 3:
                (pathlib.Path(__file__).parent / "here").write_text("third")

    class Jam(Migration):
        lock_timeout = "50ms"
        before_ddl_hooks = [Tell()]

        def up(self):
            self.execute("ALTER TABLE jam ADD fruit text")
    """
        ),
    )

    ended, out, err = interrupted(lid, here(lid), number)

    assert ended == code
    assert "1  lid" in out
    assert "Traceback" not in out + err


def test_during_a_rehearsal_nothing_is_left(lid, database):
    lid.write("2_jam.sql", "SELECT pg_sleep(600);")

    ended, out, err = interrupted(lid, running(database, "pg_sleep"), signal.SIGINT, "dry-run")

    assert ended == 130
    assert "Traceback" not in out + err
    assert not exists(database, "lid")


def test_during_a_down_it_stays_applied(project, database):
    project.write("1_jam.up.sql", "CREATE TABLE jam ();")
    project.write("1_jam.down.sql", "DROP TABLE jam; SELECT pg_sleep(600);")
    project.run()

    ended, out, err = interrupted(project, running(database, "pg_sleep"), signal.SIGTERM, "down")

    assert ended == 143
    assert "Traceback" not in out + err
    assert exists(database, "jam")
    assert project.states() == {"1": "applied"}


@pytest.mark.parametrize("at", ["statement", "between"])
def test_the_report_is_written_all_the_same(lid, database, at):
    if at == "statement":
        lid.write("2_jam.sql", "SELECT pg_sleep(600);")
        condition = running(database, "pg_sleep")
        expected = ["applied", "failed"]
    else:
        lid.write(
            "2_jam.py",
            PYTHON.format(
                body="""
    class Late(Hook):
        phase = HookPhase.CLEANUP

        def execute(self, conn, context):
            context.on_commit(lambda: wait("committed"))

    class Jam(Migration):
        cleanup_hooks = [Late()]

        def up(self):
            pass
    """
            ),
        )
        lid.write("3_pot.sql", "CREATE TABLE pot ();")
        condition = here(lid)
        expected = ["applied", "applied", "pending"]

    ended, _, _ = interrupted(lid, condition, signal.SIGINT, "run", "--output", "json=report.json")

    report = published.read_file(lid.folder / "report.json")
    assert ended == 130
    assert report["exit_code"] == 130
    assert [item["outcome"] for item in report["migrations"]] == expected


def test_the_server_stopped_in_the_middle(lid):
    """A server of its own, stopped while a statement runs: what was applied is named."""
    with open_temporary_server(Path(tempfile.gettempdir())) as server:
        there = Project(lid.folder, server.conninfo("postgres"))
        there.write("2_jam.sql", "CREATE TABLE jam ();\nSELECT pg_sleep(600);\n")
        there.write("3_pot.sql", "CREATE TABLE pot ();")
        with psycopg.connect(there.url, autocommit=True) as conn, there.running("run") as process:
            until(running(conn, "pg_sleep"), "the long statement")
            stop(conn)
            out, err = process.communicate(timeout=60)

    assert process.returncode == 4, out + err
    assert "1  lid" in out
    assert "terminating connection" in out
    assert "Traceback" not in out + err


def stop(conn: psycopg.Connection[Any]) -> None:
    """Stop the server as an administrator does in a hurry."""
    found = conn.execute("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int").fetchone()
    assert found is not None
    os.kill(found[0], signal.SIGINT)


def test_a_signal_just_before_a_commit_leaves_no_transaction_open(database, monkeypatch):
    """Whatever is committed next, such as the event of the failure, would commit it."""

    @contextmanager
    def interrupt(_conn):
        raise Interrupted(130)
        yield

    monkeypatch.setattr("confiture.postgres.session.hold_signals", interrupt)

    # Kept, as a report's error is: with it, Python would close the transaction's block too.
    with pytest.raises(Interrupted) as kept, Session(database, owned=True).transaction():
        database.execute("CREATE TABLE jam ()")

    assert kept.value
    assert database.info.transaction_status == TransactionStatus.IDLE
    assert not exists(database, "jam")
