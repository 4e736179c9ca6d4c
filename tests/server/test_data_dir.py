"""Where the data goes, whose it is, and which data is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from confiture.exceptions import ServerFault
from confiture.server import find_binaries, open_embedded_server
from confiture.server.account import Account, choose_server_account
from confiture.server.data_dir import STATE_FOLDER

from .conftest import IMPORTS, gone, processes_of

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")


def modes(path: Path) -> dict[Path, int]:
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in (path, *path.parents)}


def rights(path: Path) -> tuple[int, str]:
    return stat.S_IMODE(path.stat().st_mode), path.owner()


def answer(url: str) -> object:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT 1").fetchone()
    assert row
    return row[0]


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        'it\'s "odd"',
        "$HOME `ls` %2F & ;",
        "à la crème 🍓",
        "a,b",
        "back\\slash",
        "x" * 120,
    ],
)
def test_a_folder_may_be_called_anything(empty, name):
    root = empty / name
    root.mkdir()

    with open_embedded_server(root) as url:
        found = answer(url)

    assert found == 1
    assert processes_of(root) == []


def test_a_path_too_long_for_a_socket_gets_a_short_private_folder_that_goes_again(empty):
    root = empty / ("x" * 120)
    root.mkdir()

    with open_embedded_server(root) as url:
        socket = Path(str(psycopg.conninfo.conninfo_to_dict(url)["host"]))
        found = rights(socket)

    assert len(str(socket)) < 60
    assert found == (0o700, choose_server_account().name)
    assert not socket.exists()


def test_nobodys_permissions_are_widened(empty):
    root = empty / "closed"
    root.mkdir(mode=0o700)
    before = modes(root)

    with open_embedded_server(root) as url:
        answer(url)

    assert modes(root) == before


@as_root
def test_roots_unreachable_folder_has_its_data_in_a_private_one(empty, pg):
    root = empty / "closed"
    root.mkdir(mode=0o700)

    with open_embedded_server(root) as url:
        answer(url)
    data = Path(json.loads((root / ".confiture" / "embedded.json").read_text())["data"])

    assert data.parent.parent == STATE_FOLDER
    assert data.name == pg
    assert rights(data.parent) == (0o700, choose_server_account().name)
    assert (data / "PG_VERSION").exists()
    assert not (root / ".confiture" / pg).exists()


@as_root
def test_what_lies_in_the_private_folder_is_found_again(empty):
    root = empty / "closed"
    root.mkdir(mode=0o700)
    with open_embedded_server(root) as url, psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE jam AS SELECT 'fig' AS fruit")

    moved = root.rename(empty / "moved")
    with open_embedded_server(moved) as url, psycopg.connect(url) as conn:
        found = conn.execute("SELECT fruit FROM jam").fetchall()

    assert found == [("fig",)]


@as_root
def test_a_note_that_names_a_folder_of_somebody_else_is_refused(empty):
    folder = empty / ".confiture"
    folder.mkdir()
    (folder / "embedded.json").write_text(json.dumps({"data": "/etc/ssl/pg18"}))

    with pytest.raises(ServerFault, match="/etc/ssl/pg18"), open_embedded_server(empty):
        pass

    (folder / "embedded.json").unlink()


@as_root
def test_programs_that_the_servers_user_cannot_run_are_copied_for_it(project, monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as closed:
        prefix = find_binaries().parent
        inside = Path(closed, prefix.parent.name)
        shutil.copytree(prefix, inside / prefix.name, symlinks=True)
        libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, inside.with_name(libraries.name))
        monkeypatch.setenv("CONFITURE_PG_BINDIR", str(inside / prefix.name / "bin"))

        with open_embedded_server(project) as url:
            found = answer(url)
            copy = next(path for path in STATE_FOLDER.glob("binaries-*") if program_in(path, project))
        copied = rights(copy)
        mode = stat.S_IMODE(os.stat(closed).st_mode)

    shutil.rmtree(copy)
    assert found == 1
    assert copied == (0o700, choose_server_account().name)
    assert mode == 0o700


def program_in(folder: Path, project: Path) -> bool:
    return any(
        os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(project)
    )


@as_root
def test_the_server_never_runs_as_root(project):
    with open_embedded_server(project) as url:
        answer(url)
        owners = {Path(f"/proc/{pid}").owner() for pid in servers(project)}

    assert owners == {choose_server_account().name}


def servers(project: Path) -> list[int]:
    return [
        pid for pid in processes_of(project) if b"supervisor" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def _python_of(account: Account) -> str | None:
    """Return a Python that this user can run and that finds all of ours."""
    plain = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
    words = ["-c", "import confiture.server, psycopg; confiture.server.find_binaries()"]
    for python in filter(None, (sys.executable, plain)):
        with contextlib.suppress(PermissionError):
            env = {"PYTHONPATH": IMPORTS}
            if not subprocess.run(
                [python, *words], env=env, cwd="/", check=False, **account.identity
            ).returncode:
                return python
    return None


def test_an_ordinary_user_runs_it_as_themselves(empty, pg, command):
    account = choose_server_account()
    python = _python_of(account)
    if python is None:
        pytest.skip(f"{account.name} has no Python that may read the sources: they lie in a private folder")
    home = empty / "home"
    home.mkdir(mode=0o700)
    account.give(home)

    user = command(home, python=python, environment={"HOME": str(home)}, **account.identity)
    user.url()
    owners = {Path(f"/proc/{pid}").owner() for pid in processes_of(home)}
    user.kill()

    assert owners == {account.name}
    assert rights(home / ".confiture" / pg) == (0o700, account.name)
    assert gone(home, within_s=2)


@as_root
def test_root_goes_on_with_an_ordinary_users_data_as_that_user(project, pg):
    data = project / ".confiture" / pg
    subprocess.run(["chown", "-R", "nobody", data], check=True)

    with open_embedded_server(project) as url:
        found = answer(url)
        owners = {Path(f"/proc/{pid}").owner() for pid in servers(project)}

    assert found == 1
    assert owners == {"nobody"}


@as_root
def test_data_of_root_is_refused_with_the_way_on(project, pg):
    data = project / ".confiture" / pg
    subprocess.run(["chown", "-R", "root", data], check=True)

    with pytest.raises(ServerFault, match="belongs to root") as caught, open_embedded_server(project):
        pass

    assert "chown" in str(caught.value.hint)


def test_another_major_versions_data_is_refused_with_the_ways_on(project, pg):
    folder = project / ".confiture"
    other = (folder / pg).rename(folder / "pg13")
    (other / "PG_VERSION").write_text("13\n")

    with pytest.raises(ServerFault, match="from PostgreSQL 13") as caught, open_embedded_server(project):
        pass

    assert caught.value.exit_code == 3
    assert all(way in str(caught.value.hint) for way in ("CONFITURE_PG_BINDIR", "pg_dump", "delete"))
    assert (other / "PG_VERSION").exists()
    assert not (folder / pg).exists()


def test_data_whose_version_is_not_what_its_folder_says_is_refused(project, pg):
    (project / ".confiture" / pg / "PG_VERSION").write_text("12\n")

    with pytest.raises(ServerFault, match="from PostgreSQL 12"), open_embedded_server(project):
        pass


def test_data_that_is_not_whole_is_refused_and_left_as_it_is(project, pg):
    (project / ".confiture" / pg / "global" / "pg_control").unlink()

    with pytest.raises(ServerFault, match="no global/pg_control") as caught, open_embedded_server(project):
        pass

    assert "delete" in str(caught.value.hint)
    assert (project / ".confiture" / pg / "base").exists()


def test_data_half_made_by_a_killed_command_is_not_taken_for_data(empty, pg, command):
    killed = command(empty)
    folder = empty / ".confiture"
    while not list(folder.glob(f".{pg}-*/base")):
        assert killed.process.poll() is None

    killed.kill()
    half_made = list(folder.glob(f".{pg}-*"))
    with open_embedded_server(empty) as url:
        found = answer(url)

    assert half_made
    assert found == 1
    assert gone(empty)
    assert not [item for item in half_made if item.exists()]
