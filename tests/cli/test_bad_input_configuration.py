"""Flags and settings that cannot be used: exit code 2, and the nearest that can."""

from __future__ import annotations

import pytest

from tests.project import Project, tables


@pytest.fixture
def sound(project: Project) -> Project:
    """A project with one pending migration."""
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")
    return project


@pytest.mark.parametrize(
    "text, message",
    [
        ("migrationz = 'x'\n", "confiture.toml:1: unknown key 'migrationz'\nhint: did you mean"),
        (
            "\n[env.prod]\nurll = 'x'\n",
            "confiture.toml:3: unknown key 'urll' in env.prod\nhint: did you mean 'url'?",
        ),
        (
            "[tool.confiture]\nurl = 'x'\n",
            "confiture.toml:1: [tool.confiture] is for pyproject.toml\nhint: write it so: url = …",
        ),
        ("lock_timeout = 'soon'\n", "confiture.toml:1: lock_timeout must be a time such as"),
        ("lock_retries = -1\n", "confiture.toml:1: lock_retries must be a whole number"),
        ("plugins = 'backfill'\n", "confiture.toml:1: plugins must be a list of names"),
        ("schema = ''\n", "confiture.toml:1: schema must be the name of a schema, not an empty string"),
        (
            f"schema = '{'x' * 64}'\n",
            "confiture.toml:1: schema must be the name of a schema: PostgreSQL's names have at most 63 bytes",
        ),
        ("[plugin]\nx = 1\n", "plugin.x must be a table, not a number"),
        ("url = = 1\n", "confiture.toml:1:7: this is not TOML"),
        (
            "stats = 'x'\n",
            "confiture.toml:1: stats has no effect here\nhint: write it below [env.production] in confiture.toml",
        ),
        ("[env.prodution]\nstats = 'x'\n", "confiture.toml:2: stats has no effect here"),
    ],
)
def test_an_unknown_or_wrong_configuration_key_is_two_and_names_the_line(sound, database, text, message):
    sound.configure(text)

    answer = sound("run")

    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""
    assert tables(database) == []


def test_an_unknown_key_of_pyproject_is_named_with_its_line(sound):
    (sound.folder / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.confiture]\nshcema = 'x'\n")

    answer = sound("status")

    assert answer.code == 2
    assert "pyproject.toml:4: unknown key 'shcema'" in answer.err
    assert "did you mean 'schema'?" in answer.err


def test_a_broken_configuration_stops_neither_help_nor_version(sound):
    sound.configure("= = =")

    assert sound("--help").code == 0
    assert sound("--version").code == 0
    assert sound("run", "--help").code == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("run", "--urll", "x"), "no such option '--urll'"),
        (("run", "--steps", "1"), "no such option '--steps'"),
        (("rnu",), "did you mean 'run'?"),
        (("run", "extra"), "unexpected extra argument"),
        (("run", "--to", "7"), "there is no migration of version '7'"),
        (("run", "--to", "jam"), "no migration of version 'jam'"),
        (("dry-run", "--to", "7"), "there is no migration of version '7'"),
        (("plan", "--to", "7"), "there is no migration of version '7'"),
        (("down", "--to", "7"), "there is no migration of version '7'"),
        (("down", "--steps", "0"), "--steps"),
        (("run", "--env", "prod"), "--env prod"),
        (("run", "--url", ""), "--url is empty"),
        (("run", "--migrations", ""), "--migrations is empty"),
        (("run", "--output", "xml"), "there is no format 'xml'"),
        (("run", "--output", "json=nosuch/folder/x"), "nosuch/folder/x cannot be written"),
        (("run", "--plugins", ""), "--plugins '' contains an empty name"),
        (("run", "--plugins="), "--plugins '' contains an empty name"),
        (("run", "--plugins", "a,,b"), "contains an empty name"),
        (("run", "--plugins", "nosuch-plugin"), "no installed plugin is called 'nosuch-plugin'"),
        (("run", "--plugins", "a", "--no-plugins"), "cannot both be given"),
    ],
)
def test_an_unknown_flag_version_or_plugin_is_two_and_runs_nothing(sound, database, arguments, message):
    answer = sound(*arguments)

    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert message in answer.err
    assert answer.out == ""
    assert tables(database) == []


def test_an_unknown_plugin_of_the_configuration_is_two_and_names_the_nearest(sound, database):
    sound.install("plum", "from confiture import hookimpl\n\n\n@hookimpl\ndef cleanup():\n    pass\n")
    sound.configure("plugins = ['plumm']\n")

    answer = sound("run")

    assert answer.code == 2
    assert "no installed plugin is called 'plumm'" in answer.err
    assert "did you mean 'plum'?" in answer.err
    assert tables(database) == []


PLUM = "from confiture import hookimpl\n\n\n@hookimpl\ndef cleanup():\n    pass\n"


@pytest.mark.parametrize("command", ["run", "dry-run", "plan", "status", "history", "lint", "rules", "dump"])
def test_a_table_of_a_plugin_that_is_not_installed_is_two_and_names_the_nearest(sound, database, command):
    sound.install("plum", PLUM)
    sound.configure("\n[plugin.plumm]\nrows = 5\n")

    answer = sound(command)

    assert answer.code == 2
    assert "confiture.toml:2: there is a table for the plugin 'plumm', which is not installed" in answer.err
    assert "did you mean 'plum'? pip install the package that provides it, or remove " in answer.err
    assert "[plugin.plumm] in confiture.toml" in answer.err
    assert tables(database) == []


def test_a_table_of_an_environment_counts_where_that_environment_is_used(sound):
    (sound.folder / "pyproject.toml").write_text("[tool.confiture.env.prod.plugin.fig]\nrows = 5\n")

    plain, prod = sound("status"), sound("status", "--env", "prod")

    assert (plain.code, prod.code) == (0, 2)
    assert "pyproject.toml:1: there is a table for the plugin 'fig'" in prod.err
    assert "remove [tool.confiture.plugin.fig] in pyproject.toml" in prod.err


def test_a_table_of_a_plugin_that_is_not_installed_hinders_neither_the_list_nor_a_run_without_plugins(sound):
    sound.configure("[plugin.fig]\nrows = 5\n")

    listed, run = sound("plugins", "--output", "json"), sound("run", "--no-plugins")

    assert (listed.code, run.code) == (0, 0)
    (fig,) = [plugin for plugin in listed.json["plugins"] if plugin["name"] == "fig"]
    assert fig["state"] == "broken"
    assert fig["faults"] == ["plugin 'fig' has a table of settings and is not installed"]


@pytest.mark.parametrize(
    "file, prefix", [("confiture.toml", ""), ("pyproject.toml", "tool.confiture.")], ids=["own", "shared"]
)
def test_a_hint_names_the_table_as_the_file_at_hand_has_it(sound, file, prefix):
    (sound.folder / file).write_text(f'[{prefix}gate]\nmax_wal = "1B"\n')

    gate, env = sound("dry-run"), sound("run", "--env", "prod")

    assert gate.code == 1
    assert f"raise the limit: [{prefix}gate] in {file}" in gate.out
    assert env.code == 2
    assert f"hint: write [{prefix}env.prod] in {file}, or choose another --env" in env.err


def test_the_url_is_looked_for_flag_first_then_variables_then_file(sound, database_url):
    nowhere = "postgresql:///nowhere?host=/nosuch"
    sound.configure(f"url = '{nowhere}'\n")

    codes = []
    for flag, own, common in (
        ((), None, None),
        ((), None, database_url),
        ((), database_url, nowhere),
        (("--url", database_url), nowhere, nowhere),
        (("--url", nowhere), database_url, database_url),
    ):
        sound.url = own
        sound.environ = {"DATABASE_URL": common} if common else {}
        codes.append(sound("status", *flag).code)

    assert codes == [3, 0, 0, 0, 3]


def test_a_url_in_the_file_has_its_variables_expanded(sound, database_url):
    sound.url = ""
    sound.environ = {"JAM_URL": database_url}
    sound.configure("url = '${JAM_URL}'\n")

    assert sound("status").code == 0


def test_a_variable_that_is_not_set_is_two_and_named_with_its_line(sound):
    sound.url = ""
    sound.configure("\nurl = 'postgresql://me:${NO_SUCH_JAM}@localhost/x'\n")

    answer = sound("status")

    assert answer.code == 2
    assert "confiture.toml:2: url: the environment variable NO_SUCH_JAM is not set" in answer.err


def test_an_environment_overrides_what_stands_above(sound, database):
    sound.configure("migrations = 'nosuch'\n[env.prod]\nmigrations = 'migrations'\n")

    assert sound("run").code == 2
    assert sound("run", "--env", "prod").code == 0

    assert "public.jam" in tables(database)


def test_the_configuration_above_the_working_directory_is_found(sound, database):
    sound.configure("migrations = 'migrations'\n")
    below = sound.folder / "src"
    below.mkdir()

    sound.folder = below

    assert sound("run").code == 0
    assert "public.jam" in tables(database)
