"""``--url embedded:``, as a user calls it in a folder of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from confiture.server.postmaster import is_alive, read_postmaster
from confiture.testing.servers import choose_fast_folder
from tests.project import Project, ended, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def shop() -> Iterator[Project]:
    """A project with one migration, in a folder that the server's user may enter when we are root."""
    with tempfile.TemporaryDirectory(dir=choose_fast_folder()) as place:
        Path(place).chmod(0o755)
        project = Project(Path(place))
        (project.folder / ".git").mkdir()
        project.write("1_jam.up.sql", "CREATE TABLE jam (i int)")
        project.write("1_jam.down.sql", "DROP TABLE jam")
        yield project
        project.end()
        wait_until(lambda: not runs(project))


def data_of(project: Project) -> Path | None:
    """Return where the data lies, ``None`` where there is none yet."""
    found = (project.folder / ".confiture").glob("pg*/PG_VERSION")
    return next((path.parent for path in found), None)


def runs(project: Project) -> bool:
    """Whether its server runs."""
    data = data_of(project)
    postmaster = read_postmaster(data) if data else None
    return bool(data and postmaster and is_alive(postmaster, data))


def test_commands_share_the_data_and_leave_nothing_running(shop):
    answers = [
        shop.call_process(command, "--url", "embedded:") for command in ("dry-run", "run", "status", "down")
    ]

    assert [answer.code for answer in answers] == [0, 0, 0, 0], answers
    assert "1 applied" in answers[2].out
    wait_until(lambda: not runs(shop))


def test_the_configuration_may_ask_for_it_and_the_flag_goes_first(shop):
    shop.configure('url = "embedded:"\n')

    assert shop.call_process("run").code == 0
    assert shop.call_process("status", "--url", "postgresql:///x?host=/nosuch").code == 3

    wait_until(lambda: not runs(shop))


def test_without_asking_for_it_by_name_no_server_is_started(shop):
    shop.environ = {"PGHOST": "/nosuch"}

    answer = shop.call_process("run")

    assert answer.code == 3
    assert not (shop.folder / ".confiture").exists()


def test_two_commands_share_one_server(shop):
    shop.write("2_long.sql", "SELECT pg_sleep(600)")
    first = shop.start("run", "--url", "embedded:")
    wait_until(lambda: runs(shop), first)

    second = shop.call_process("status", "--url", "embedded:")

    assert second.code == 0
    first.terminate()
    assert ended(first).code == 143
    wait_until(lambda: not runs(shop))


def test_a_killed_command_leaves_no_server_behind(shop):
    shop.write("2_long.sql", "SELECT pg_sleep(600)")
    run = shop.start("run", "--url", "embedded:")
    wait_until(lambda: runs(shop), run)

    with run:
        run.kill()

    wait_until(lambda: not runs(shop))


def test_a_missing_extension_is_named_with_the_way_on(shop):
    shop.write("2_crypto.sql", "SELECT 1;\nCREATE EXTENSION no_such_fruit;\n")

    answer = shop.call_process("run", "--url", "embedded:")

    assert answer.code == 4
    assert "no_such_fruit" in answer.err
    assert "migrations/2_crypto.sql:2:1" in answer.err
    assert "CONFITURE_PG_BINDIR" in answer.err


def test_binaries_that_are_none_are_named(shop):
    shop.environ = {"CONFITURE_PG_BINDIR": "/nosuch/bin"}

    answer = shop.call_process("run", "--url", "embedded:")

    assert answer.code == 3
    assert "/nosuch/bin" in answer.err
    assert "CONFITURE_PG_BINDIR" in answer.err


def test_another_major_versions_data_is_refused_with_the_ways_on(shop):
    shop.call_process("run", "--url", "embedded:")
    wait_until(lambda: not runs(shop))
    data = data_of(shop)
    assert data is not None
    other = data.with_name("pg13")
    data.rename(other)
    (other / "PG_VERSION").write_text("13\n")

    answer = shop.call_process("run", "--url", "embedded:")

    assert answer.code == 3
    assert "13" in answer.err
    assert "hint: " in answer.err


def test_a_folder_that_cannot_be_written_is_named(shop):
    (shop.folder / ".confiture").write_text("in the way")

    answer = shop.call_process("run", "--url", "embedded:")

    assert answer.code == 3
    assert ".confiture" in answer.err
