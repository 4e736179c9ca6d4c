"""Started by the first command, stopped by the last one out."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from confiture.exceptions import ServerFault
from confiture.server import open_embedded_server, open_temporary_server
from confiture.server.account import choose_server_account

from .conftest import TEMPORARY, gone, postmaster, processes_of

pytestmark = pytest.mark.slow


def ask(url: str, query: str) -> object:
    with psycopg.connect(url) as conn:
        row = conn.execute(query).fetchone()
    assert row
    return row[0]


def supervisor(root: Path) -> int:
    return next(
        pid for pid in processes_of(root) if b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def test_the_first_command_makes_the_data_beside_the_configuration(empty, pg):
    with open_embedded_server(empty) as url:
        where = ask(url, "SHOW data_directory")

    assert where == str(empty / ".confiture" / pg)
    assert (empty / ".confiture" / f"{pg}.log").read_text()
    assert not (empty / ".confiture" / "embedded.json").exists()


def test_nothing_is_left_running_when_the_only_command_ends(project):
    with open_embedded_server(project) as url:
        ask(url, "SELECT 1")

    assert processes_of(project) == []


def test_what_one_command_commits_the_next_one_finds(project):
    with open_embedded_server(project) as url, psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE jam AS SELECT 'plum' AS fruit")

    with open_embedded_server(project) as url:
        found = ask(url, "SELECT fruit FROM jam")

    assert found == "plum"


def test_the_server_is_utf8_in_the_c_locale_with_a_database_of_our_own(project):
    with open_embedded_server(project) as url:
        found = ask(
            url,
            "SELECT format('%s %s %s', datname, pg_encoding_to_char(encoding), datcollate)"
            " FROM pg_database WHERE datname = current_database()",
        )

    assert found == "app UTF8 C"


def test_it_listens_on_no_tcp_port_and_syncs_to_disk(project):
    with open_embedded_server(project) as url:
        listens = ask(url, "SHOW listen_addresses")
        syncs = ask(url, "SHOW fsync")
        sockets = [os.readlink(fd) for fd in Path(f"/proc/{postmaster_of(url)}/fd").iterdir()]

    tcp = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    inodes = {line.split()[9] for line in tcp.splitlines() if " 0A " in line}
    assert listens == ""
    assert syncs == "on"
    assert not inodes & {name.strip("socket:[]") for name in sockets if name.startswith("socket:")}


def postmaster_of(url: str) -> int:
    return postmaster(Path(str(ask(url, "SHOW data_directory"))))


def test_the_callers_environment_does_not_lead_elsewhere(project, monkeypatch):
    for name, value in {
        "PGHOST": "nowhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATABASE": "nothing",
        "PGDATA": "/nowhere",
        "LC_ALL": "xx_YY.UTF-8",
        "LANG": "xx_YY.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)

    with open_embedded_server(project) as url:
        found = ask(url, "SELECT current_user || ' ' || current_database()")

    assert found == "postgres app"


def test_two_commands_share_one_server_and_the_last_one_out_stops_it(project, pg, command):
    first, other = command(project), command(project)
    first.url()
    url = other.url()
    servers = {postmaster(project / ".confiture" / pg)}

    first.end()
    servers.add(postmaster(project / ".confiture" / pg))
    answer = ask(url, "SELECT 1")
    other.end()

    assert answer == 1
    assert len(servers) == 1
    assert processes_of(project) == []


def test_two_first_commands_at_once_make_one_server(empty, command):
    both = [command(empty), command(empty)]

    one, other = (item.url() for item in both)

    assert one == other
    assert ask(one, "SELECT 1") == 1
    assert [item.end() for item in both] == ["", ""]
    assert processes_of(empty) == []


def test_commands_that_come_and_go_at_once_never_meet_a_stopping_server(project, command):
    for _ in range(4):
        leaving = command(project)
        leaving.url()
        coming = [command(project), command(project)]
        leaving.end()

        assert all(ask(item.url(), "SELECT 1") == 1 for item in coming)
        assert [item.end() for item in coming] == ["", ""]

    assert processes_of(project) == []


def test_two_of_one_process_share_it_too(project):
    with open_embedded_server(project) as outer:
        with open_embedded_server(project) as inner:
            pass
        answer = ask(outer, "SELECT 1")

    assert answer == 1
    assert inner == outer
    assert processes_of(project) == []


def test_a_killed_command_leaves_nothing_running(project, command):
    only = command(project)
    only.url()

    only.kill()

    assert gone(project, within_s=2)


def test_a_killed_command_takes_the_server_from_nobody_else(project, command):
    killed, other = command(project), command(project)
    killed.url()
    url = other.url()

    killed.kill()
    time.sleep(0.3)

    assert ask(url, "SELECT 1") == 1
    other.end()
    assert processes_of(project) == []


def test_ctrl_c_in_the_terminal_reaches_the_command_alone(project, command):
    only = command(project, start_new_session=True)
    only.url()

    os.killpg(only.process.pid, signal.SIGINT)
    complaint = only.process.communicate(timeout=30)[1]

    assert "KeyboardInterrupt" in complaint
    assert processes_of(project) == []
    with open_embedded_server(project) as url:
        assert ask(url, "SELECT 1") == 1


def test_without_its_supervisor_the_last_one_out_stops_the_server(project):
    with open_embedded_server(project) as url:
        os.kill(supervisor(project), signal.SIGKILL)
        answer = ask(url, "SELECT 1")

    assert answer == 1
    assert processes_of(project) == []


def test_a_server_that_nobody_would_stop_is_started_anew(project, pg, command):
    lost = command(project)
    lost.url()
    left_over = postmaster(project / ".confiture" / pg)
    os.kill(supervisor(project), signal.SIGKILL)
    lost.kill()

    with open_embedded_server(project) as url:
        found = postmaster_of(url)

    assert found != left_over
    assert processes_of(project) == []


def test_a_crashed_server_is_started_by_the_next_command(project, pg, command):
    victim = command(project)
    victim.url()
    os.kill(postmaster(project / ".confiture" / pg), signal.SIGKILL)
    assert gone(project)

    with open_embedded_server(project) as url:
        answer = ask(url, "SELECT 1")
        victim.end()

    assert answer == 1
    assert processes_of(project) == []


def test_a_postmaster_pid_of_a_strangers_process_is_not_believed(project, pg):
    data = project / ".confiture" / pg
    account = choose_server_account()
    stranger = subprocess.Popen(["sleep", "60"], **account.identity)
    pid_file = data / "postmaster.pid"
    pid_file.write_text(f"{stranger.pid}\n{data}\n1700000000\n5432\n{data}\n\n  1 2\nready   \n")
    account.give(pid_file)

    with open_embedded_server(project) as url:
        answer = ask(url, "SELECT 1")

    assert answer == 1
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_postmaster_pid_of_no_process_is_not_believed(project, pg):
    data = project / ".confiture" / pg
    pid_file = data / "postmaster.pid"
    pid_file.write_text(f"{2**22 + 1}\n{data}\n1700000000\n5432\n{data}\n\n  1 2\nready   \n")
    choose_server_account().give(pid_file)

    with open_embedded_server(project) as url:
        answer = ask(url, "SELECT 1")

    assert answer == 1


def test_a_start_that_fails_shows_the_end_of_the_servers_log(project, pg):
    settings = project / ".confiture" / pg / "postgresql.conf"
    settings.write_text("shared_buffers = plum\n")

    with (
        pytest.raises(ServerFault, match=r"(?s)shared_buffers.*plum") as caught,
        open_embedded_server(project),
    ):
        pass

    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert gone(project)


def test_a_folder_that_takes_no_data_is_a_fault_that_names_it():
    with pytest.raises(ServerFault, match="/proc") as caught, open_embedded_server(Path("/proc")):
        pass

    assert caught.value.hint


def test_a_temporary_server_leaves_no_folder():
    with open_temporary_server(Path("/tmp")) as server:
        home = Path(str(ask(server.conninfo("postgres"), "SHOW data_directory"))).parent
        unsynced = ask(server.conninfo("postgres"), "SHOW fsync")

    assert unsynced == "off"
    assert not home.exists()
    assert processes_of(home) == []


def test_a_temporary_server_of_a_killed_process_leaves_no_folder(command):
    killed = command(Path("/tmp"), script=TEMPORARY)
    home = Path(str(ask(killed.url(), "SHOW data_directory"))).parent

    killed.kill()

    assert gone(home)
    assert not home.exists()


def making(parent: Path) -> Path | None:
    """Return the folder of a temporary server whose data is being made."""
    return next((found.parent.parent for found in parent.glob("confiture-*/.pg*-*/PG_VERSION")), None)


def wait_for_making(parent: Path) -> Path:
    deadline = time.monotonic() + 60
    while (home := making(parent)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return home


def test_the_folder_of_a_server_that_was_killed_while_it_was_made_is_swept_by_the_next(empty, command):
    killed = command(empty, script=TEMPORARY)
    home = wait_for_making(empty)
    killed.kill()

    with open_temporary_server(empty) as server:
        answer = ask(server.conninfo("postgres"), "SELECT 1")

    assert answer == 1
    assert not home.exists()
    assert [found.name for found in empty.glob("*confiture-*")] == []
    assert gone(empty)


def test_a_server_whose_command_and_supervisor_were_killed_is_stopped_by_the_next(empty, command):
    killed = command(empty, script=TEMPORARY)
    home = Path(str(ask(killed.url(), "SHOW data_directory"))).parent
    os.kill(next(pid for pid in processes_of(home) if is_supervisor(pid)), signal.SIGKILL)
    killed.kill()
    assert processes_of(home)

    with open_temporary_server(empty):
        left = home.exists()

    assert not left
    assert gone(home)


def is_supervisor(pid: int) -> bool:
    return b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_servers_of_others_are_not_swept(empty, command):
    """Neither one that is used, nor one that is being made, nor a folder that only has such a name."""
    used, stranger = command(empty, script=TEMPORARY), empty / "confiture-notes"
    url = used.url()
    stranger.mkdir()
    (stranger / "kept").touch()
    (empty / "confiture-link").symlink_to(stranger)
    made = command(empty, script=TEMPORARY)
    wait_for_making(empty)

    with open_temporary_server(empty):
        pass

    assert ask(url, "SELECT 1") == 1
    assert ask(made.url(), "SELECT 1") == 1
    assert (stranger / "kept").exists()
    used.end()
    made.end()


def test_a_temporary_server_is_stopped_without_a_checkpoint(empty):
    with open_temporary_server(empty, fsync=True) as server:
        log = Path(str(ask(server.conninfo("postgres"), "SHOW data_directory"))).parent / "server.log"
        kept = os.open(log, os.O_RDONLY)

    with os.fdopen(kept) as file:
        said = file.read()
    assert "immediate shutdown request" in said
    assert "checkpoint starting: shutdown" not in said
