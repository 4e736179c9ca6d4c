"""What the fixtures of all the tests promise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import IMPORTS

pytestmark = pytest.mark.slow


def test_both_connections_are_to_the_same_new_database(database, second):
    database.execute("CREATE TABLE jam AS SELECT 'plum' AS fruit")

    assert second.execute("SELECT fruit FROM jam").fetchall() == [("plum",)]
    assert database.info.backend_pid != second.info.backend_pid


def test_the_database_is_empty_again_for_the_next_test(database):
    assert database.execute("SELECT to_regclass('jam')").fetchone() == (None,)


def test_the_server_names_its_programs(server):
    assert (server.bindir / "psql").is_file()


_SUITE = """
import os, psycopg

def test_one(confiture_database, confiture_server):
    confiture_database.execute("CREATE TABLE jam ()")
    with open(os.environ["NOTE"], "w") as note:
        note.write(confiture_server.conninfo("postgres"))
"""


def test_a_named_server_is_used_instead_and_keeps_nothing(server, database, tmp_path):
    (tmp_path / "test_one.py").write_text(_SUITE)
    environment = {
        **os.environ,
        "CONFITURE_TEST_URL": server.conninfo("postgres"),
        "NOTE": str(tmp_path / "note"),
        "PYTHONPATH": IMPORTS,
    }
    count = "SELECT count(*) FROM pg_database"
    before = database.execute(count).fetchone()

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "confiture.testing",
            str(tmp_path),
        ],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "note").read_text()
    assert database.execute(count).fetchone() == before
