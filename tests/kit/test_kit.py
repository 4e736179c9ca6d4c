"""What ``confiture.testing`` promises to the tests of a plugin author."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from confiture.exceptions import PluginFault
from confiture.plugins.find import find_plugins
from confiture.testing import NamedServer, run_hook
from confiture.testing.databases import TemplateDatabases

pytestmark = pytest.mark.slow

FIRST_PLUGIN = Path(__file__).parents[2] / "examples" / "first-plugin"
HOOK = """
from confiture import hookimpl

@hookimpl
def before_ddl(conn):
    conn.execute("CREATE TABLE jam ()")
"""
HEAVY = {"psycopg", "structlog", "rich", "postgast", "confiture.server", "confiture.hooks.hook_runner"}


class TestWithASchema:
    """A class of a project that needs tables."""

    @pytest.fixture
    def confiture_schema(self):
        return "CREATE TABLE jam (fruit text); INSERT INTO jam VALUES ('plum')"

    @pytest.mark.parametrize("test", ["first", "second"])
    def test_each_test_begins_with_it_and_sees_nothing_of_the_other(self, confiture_database, test):
        before = confiture_database.execute("SELECT fruit FROM jam").fetchall()
        confiture_database.execute("INSERT INTO jam VALUES (%s)", [test])

        assert before == [("plum",)]


def test_without_one_the_database_is_empty(confiture_database):
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"

    assert confiture_database.execute(tables).fetchone() == (0,)


def test_both_sessions_are_on_the_database_that_the_url_names(
    confiture_database, confiture_second, confiture_database_url
):
    confiture_database.execute("CREATE TABLE jam ()")

    with psycopg.connect(confiture_database_url) as third:
        seen = [
            conn.execute("SELECT to_regclass('jam')::text").fetchone() for conn in (confiture_second, third)
        ]

    assert seen == [("jam",), ("jam",)]


def databases(conn: psycopg.Connection) -> list[str]:
    """Return the names of all databases of the server."""
    return [name for (name,) in conn.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()]


def test_a_schema_that_cannot_be_run_leaves_no_half_made_template(confiture_server, confiture_database):
    with psycopg.connect(confiture_server.conninfo("postgres"), autocommit=True) as conn:
        templates = TemplateDatabases(confiture_server, conn)
        before = databases(conn)

        with pytest.raises(psycopg.errors.SyntaxError):
            templates.get_template("CREATE TABEL jam ()")

        assert databases(conn) == before
        assert templates.template_names == {}


def test_a_schema_is_run_once_and_copied(confiture_server):
    with psycopg.connect(confiture_server.conninfo("postgres"), autocommit=True) as conn:
        templates = TemplateDatabases(confiture_server, conn)

        names = {templates.get_template("CREATE TABLE jam ()") for _ in range(3)}

        assert len(names) == 1
        templates.drop(names.pop())


def test_a_password_in_the_url_of_the_server_is_not_shown():
    server = NamedServer("postgresql://me:secret@localhost/app")

    assert "secret" not in repr(server)
    assert "secret" in server.conninfo("other")


def test_a_fake_distribution_is_found_and_its_hook_runs(confiture_fake_distribution, confiture_database):
    confiture_fake_distribution("jam", HOOK, version="2.1", distribution="confiture-jam")
    (found,) = (plugin for plugin in find_plugins() if plugin.name == "jam")

    run_hook(importlib.import_module("jam"), "before_ddl", conn=confiture_database)

    assert (found.distribution, found.version) == ("confiture-jam", "2.1")
    assert confiture_database.execute("SELECT to_regclass('jam')::text").fetchone() == ("jam",)


def test_a_fake_distribution_is_forgotten_after_its_test():
    assert "jam" not in sys.modules
    assert "jam" not in [plugin.name for plugin in find_plugins()]


def test_a_package_is_really_built_and_installed(confiture_install_plugin, tmp_path):
    folder = confiture_install_plugin.project(FIRST_PLUGIN)

    listed = subprocess.run(
        [sys.executable, "-m", "confiture", "plugins", "--output", "json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    (hello,) = (item for item in json.loads(listed)["plugins"] if item["name"] == "hello")
    assert hello["distribution"] == "confiture-hello"
    assert hello["state"] == "unused"
    assert hello["phases"] == ["after_ddl"]


def test_a_package_that_cannot_be_built_says_why(confiture_install_plugin, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'no_such_backend'\n"
    )

    with pytest.raises(PluginFault, match="no_such_backend") as refused:
        confiture_install_plugin.project(tmp_path)

    assert refused.value.hint


def test_the_kit_is_light_for_those_who_do_not_use_it():
    program = (
        "import sys, pytest, attrs\n"
        "before = set(sys.modules)\n"
        "import confiture.testing\n"
        "print(*(set(sys.modules) - before))"
    )

    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert "confiture.testing.databases" in printed.split()
    assert HEAVY & set(printed.split()) == set()


def test_no_name_of_the_kit_is_one_that_a_project_may_have(tmp_path):
    command = [sys.executable, "-m", "pytest", "--fixtures", "-p", "confiture.testing", str(tmp_path)]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    names = re.findall(r"^(\w+)\b.* -- .*confiture/testing/", listed, re.M)

    assert "confiture_database" in names
    assert [name for name in names if not name.startswith("confiture_")] == []


ONE_TEST = "def test_one(confiture_database): ...\n"


@pytest.mark.parametrize(
    "variables, words",
    [
        (
            {"CONFITURE_TEST_URL": "postgresql://me:secret@127.0.0.1:1/app"},
            "cannot use the test server",
        ),
        ({"CONFITURE_TEST_URL": "no url, secret"}, "cannot use the test server"),
        ({"CONFITURE_PG_BINDIR": "/nowhere"}, "find a test server"),
    ],
    ids=["unreachable", "not a URL", "no programs"],
)
def test_a_server_that_cannot_be_had_is_said_with_the_next_step(tmp_path, variables, words):
    (tmp_path / "test_one.py").write_text(ONE_TEST)
    environment = {key: value for key, value in os.environ.items() if key != "CONFITURE_TEST_URL"}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "confiture.testing", str(tmp_path)],
        env={**environment, **variables},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert words in done.stdout
    assert "CONFITURE_TEST_URL" in done.stdout
    assert "Traceback" not in done.stdout
    assert "secret" not in done.stdout
