"""A COPY or a result left open: the hook has failed, exit 5, never a hang."""

from __future__ import annotations

import gc
import threading
import uuid
from itertools import cycle
from typing import Any

import pytest

from confiture.core import Hook, HookPhase, register_hook
from tests.hooks.ways import spread_over_ways

pytestmark = pytest.mark.slow

KEPT: list[Any] = []
"""What must not be garbage collected: psycopg would end it then."""


@pytest.fixture(autouse=True)
def _forgotten():
    """What was kept is let go while its server is still there."""
    yield
    KEPT.clear()
    gc.collect()


def copy_in(conn: Any) -> None:
    copying = conn.cursor().copy("COPY jam FROM STDIN")
    copying.__enter__().write_row(("plum",))
    KEPT.append(copying)


def copy_out(conn: Any) -> None:
    copying = conn.cursor().copy("COPY (SELECT generate_series(1, 100000)) TO STDOUT")
    copying.__enter__().read()
    KEPT.append(copying)


def raw_copy_in(conn: Any) -> None:
    conn.pgconn.exec_(b"COPY jam FROM STDIN")


def raw_copy_out(conn: Any) -> None:
    conn.pgconn.exec_(b"COPY (SELECT generate_series(1, 100000)) TO STDOUT")


def stream(conn: Any) -> None:
    rows = conn.cursor().stream("SELECT generate_series(1, 100000)")
    next(rows)
    KEPT.append(rows)


def raw_query(conn: Any) -> None:
    conn.pgconn.send_query(b"SELECT generate_series(1, 100000)")


def pipeline(conn: Any) -> None:
    piping = conn.pipeline()
    piping.__enter__()
    conn.execute("SELECT 1")
    KEPT.append(piping)


WAYS_TO_LEAVE = [copy_in, copy_out, raw_copy_in, raw_copy_out, stream, raw_query, pipeline]
RUN_OR_REHEARSE = [
    pytest.param(leave, dry_run, id=f"{leave.__name__}-{'dry-run' if dry_run else 'run'}")
    for leave, dry_run in zip(WAYS_TO_LEAVE, cycle([False, True]), strict=False)
]


def within_a_minute(function: Any, *args: Any) -> Any:
    """Return what the function returns; a hang fails the test instead of hanging it."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function(*args)), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    return answers[0]


@spread_over_ways("leave", WAYS_TO_LEAVE)
def test_a_hook_that_leaves_it_open_has_failed_with_5(scene, jam, leave):
    def careless(conn, context):
        conn.execute("INSERT INTO jam VALUES ('fig')")
        leave(conn)

    report = within_a_minute(scene.report, careless)

    (migration,) = report.migrations
    assert report.exit_code == 5
    assert [hook.outcome for hook in migration.hooks] == ["undone"]
    assert migration.error.hook
    assert jam() == []
    assert not scene.recorded


@pytest.mark.parametrize("leave, dry_run", RUN_OR_REHEARSE)
def test_a_hook_that_leaves_it_open_and_raises_has_failed_with_5(project, jam, leave, dry_run):
    def careless(conn, context):
        leave(conn)
        raise ValueError("burnt")

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("careless", after_ddl=careless)
    report = within_a_minute(lambda: project.run(dry_run=dry_run))

    assert report.exit_code == 5
    assert report.migrations[0].outcome == "failed"
    assert jam() == []


@pytest.mark.parametrize(
    "leave, ask",
    [
        (copy_in, "set_local"),
        (copy_out, "relations"),
        (raw_copy_in, "relations"),
        (raw_copy_out, "set_local"),
    ],
)
def test_asking_the_context_for_sql_beside_an_open_copy_does_not_hang(project, jam, leave, ask):
    def careless(conn, context):
        leave(conn)
        context.set_local("lock_timeout", "3s") if ask == "set_local" else context.relations()

    project.write("1_a.sql", "SELECT 1;")
    project.plugin("careless", after_ddl=careless)
    report = within_a_minute(project.run)

    assert report.exit_code == 5


LEAVING = """\
from confiture.core import get_hook
from confiture.models.migration import Migration


class Careless(Migration):
    transactional = {transactional}

    def up(self):
        get_hook({name!r})().execute(self.connection, None)
"""


@pytest.mark.parametrize("leave, dry_run", RUN_OR_REHEARSE)
@pytest.mark.parametrize("transactional", [True, False], ids=["transactional", "no-transaction"])
def test_a_migration_that_leaves_it_open_fails_with_4(project, database, jam, leave, transactional, dry_run):
    class Leave(Hook):
        phase = HookPhase.BEFORE_DDL

        def execute(self, conn, context):
            leave(conn)

    name = uuid.uuid4().hex
    register_hook(name, Leave)
    project.write("1_a.py", LEAVING.format(transactional=transactional, name=name))
    report = within_a_minute(lambda: project.run(dry_run=dry_run))

    (migration,) = report.migrations
    assert report.exit_code == 4
    assert migration.outcome == "failed"
    assert "left a COPY or a result open" in migration.error.message
    assert jam() == []


def test_with_on_failure_continue_the_next_hook_runs_on_the_same_connection(project, jam):
    """A COPY can be ended from outside; the connection lives on."""
    project.write("1_a.sql", "SELECT 1;")
    project.plugin("careless", after_ddl=lambda conn: raw_copy_in(conn), config={"on_failure": "continue"})
    project.plugin("next", after_ddl=lambda conn: conn.execute("INSERT INTO jam VALUES ('fig')") and None)

    report = within_a_minute(project.run)

    assert report.exit_code == 0
    assert [hook.outcome for hook in report.migrations[0].hooks] == ["undone", "kept"]
    assert jam() == ["fig"]


@pytest.mark.parametrize("ending", ["", "\n        raise ValueError('burnt')"], ids=["returns", "raises"])
def test_a_begin_left_open_by_a_no_transaction_migration_is_rolled_back_and_fails_with_4(
    project, jam, ending
):
    up = 'self.execute("BEGIN")\n        self.execute("INSERT INTO jam VALUES (\'fig\')")' + ending
    project.write(
        "1_a.py",
        "from confiture.models.migration import Migration\n\n\nclass Careless(Migration):\n"
        f"    transactional = False\n\n    def up(self):\n        {up}\n",
    )

    report = project.run()

    assert report.exit_code == 4
    assert ("burnt" if ending else "left a transaction open") in report.migrations[0].error.message
    assert jam() == []
