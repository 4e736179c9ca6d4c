"""The contract's table of exit codes: one test a code, each by the shortest way there."""

from __future__ import annotations

import signal

import pytest

from tests.project import Project, applied, ended, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def jam(project: Project) -> Project:
    """A project with one pending migration."""
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")
    return project


def test_0_done_or_nothing_to_do(jam):
    assert [jam("run").code, jam("run").code] == [0, 0]


def test_1_a_check_said_no(jam):
    assert jam("status", "--exit-code").code == 1


def test_2_usage_configuration_plugins_no_migrations_unknown_version(jam, folder):
    codes = [
        jam("run", "--jam").code,
        jam("run", "--plugins", "nosuch").code,
        jam("run", "--to", "9").code,
        jam("run", "--migrations", "nosuch").code,
    ]
    jam.configure("jam = 1")

    assert [*codes, jam("run").code] == [2] * 5


def test_3_cannot_connect(jam):
    assert jam("run", "--url", "postgresql:///x?host=/nosuch").code == 3


def test_4_a_migration_is_faulty_or_failed(jam):
    jam.write("2_bad.sql", "SELECT 1/0")
    failed = jam("run").code
    jam.write("2_bad.sql", "SELEC 1")

    assert [failed, jam("run").code] == [4, 4]


def test_5_a_hook_failed(jam):
    jam.install(
        "plum",
        "from confiture import hookimpl\n\n\n@hookimpl\ndef cleanup():\n    raise ValueError('burnt')\n",
    )

    assert jam("run", "--plugins", "plum").code == 5


def test_6_a_lock_was_not_granted(jam, database, second):
    database.execute("CREATE TABLE fig (i int)")
    jam.write("2_fig.sql", "-- confiture: lock_timeout=50ms\nDROP TABLE fig")
    second.execute("BEGIN; LOCK TABLE fig")

    assert jam("run").code == 6


def test_7_ledger_and_files_disagree(jam):
    jam("run")
    jam.write("1_jam.sql", "SELECT 1")

    assert jam("run").code == 7


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_and_143_interrupted(jam, database, number, code):
    jam.write("2_long.sql", "SELECT pg_sleep(600)")
    run = jam.start("run")
    wait_until(
        lambda: database.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone(),
        run,
    )

    assert ended(run, number).code == code

    assert applied(database) == ["1"]


def test_no_prompt_appears_without_a_terminal(jam):
    """Standard input is empty: a prompt would end in an error or wait for ever."""
    assert jam("run").code == 0
    assert jam("status").code == 0
