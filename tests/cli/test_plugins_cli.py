"""The contract's table *Plugins*, row by row, as the command line shows it."""

from __future__ import annotations

import pytest

from tests.project import Project, applied, tables

HOOK = "from confiture import hookimpl\n\n\n"
SOUND = HOOK + "@hookimpl\ndef after_ddl(conn):\n    conn.execute('INSERT INTO jam VALUES (1)')\n"
BROKEN = "import nosuch\n"

REFUSED = {
    "import error": (BROKEN, "ModuleNotFoundError: No module named 'nosuch'"),
    "syntax error": ("def f(\n", "SyntaxError"),
    "exit on import": ("raise SystemExit(3)\n", "SystemExit: 3"),
    "no hooks": ("x = 1\n", "has no hooks"),
    "unmarked": ("def after_ddl(conn):\n    pass\n", "after_ddl is not marked @hookimpl"),
    "unknown hook": (HOOK + "@hookimpl\ndef after_dll():\n    pass\n", "did you mean 'after_ddl'?"),
    "unknown argument": (HOOK + "@hookimpl\ndef after_ddl(con):\n    pass\n", "did you mean 'conn'?"),
    "defaulted argument": (HOOK + "@hookimpl\ndef after_ddl(conn=None):\n    pass\n", "has a default"),
    "async def": (HOOK + "@hookimpl\nasync def after_ddl(conn):\n    pass\n", "is async def"),
    "raising property": (
        HOOK + "class Plum:\n    @property\n    def jam(self):\n        raise ValueError('burnt')\n\n"
        "    @hookimpl\n    def after_ddl(self):\n        pass\n\n\nplugin = Plum()\n",
        "'jam' raises ValueError: burnt",
    ),
    "class": (HOOK + "class plugin:\n    @hookimpl\n    def after_ddl(self):\n        pass\n", "is a class"),
}


@pytest.fixture
def jam(project: Project) -> Project:
    """A project that makes a table for hooks to write to."""
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")
    return project


def entry(name: str, source: str) -> str | None:
    """Return the entry point of a plugin whose object is not its module."""
    return f"{name}:plugin" if "plugin" in source else None


# used


def test_used_plain_none_where_none_is_configured_and_the_unused_are_named_in_one_line(jam, database):
    jam.install("plum", SOUND)
    jam.install("fig", SOUND)

    answer = jam("run")

    assert answer.code == 0
    (line,) = [line for line in answer.err.splitlines() if "not used" in line]
    assert "fig" in line
    assert "plum" in line
    assert "--plugins" in line
    assert database.execute("SELECT FROM jam").rowcount == 0


def test_used_plain_those_of_the_configuration(jam):
    jam.install("plum", SOUND)
    jam.install("fig", SOUND)
    jam.configure('plugins = ["plum"]\n')

    answer = jam("run", "--output", "json")

    assert [item["name"] for item in answer.json["plugins"]] == ["plum"]
    (line,) = [line for line in answer.err.splitlines() if "not used" in line]
    assert "fig" in line
    assert "plum" not in line


def test_used_all_installed_with_the_flag_alone(jam, database):
    jam.install("plum", SOUND)
    jam.install("fig", SOUND)

    answer = jam("run", "--plugins", "--output", "json")

    assert {"fig", "plum"} <= {item["name"] for item in answer.json["plugins"]}
    assert "not used" not in answer.err
    assert database.execute("SELECT FROM jam").rowcount == 2


def test_used_those_named_in_the_order_named(jam):
    for name in ("plum", "fig", "kiwi"):
        jam.install(name, SOUND)
    jam.configure('plugins = ["kiwi"]\n')

    answer = jam("run", "--plugins", "plum,fig", "--output", "json")

    assert [item["name"] for item in answer.json["plugins"]] == ["plum", "fig"]
    assert [item["plugin"] for item in answer.json["migrations"][0]["hooks"]] == ["plum", "fig"]


def test_used_none_with_no_plugins(jam, database):
    jam.install("plum", SOUND)
    jam.configure('plugins = ["plum"]\n')

    answer = jam("run", "--no-plugins", "--output", "json")

    assert answer.json["plugins"] == []
    assert database.execute("SELECT FROM jam").rowcount == 0


# --locked


def pins(project: Project, **instead: str) -> str:
    """Return a configuration that pins all that is installed, some of it otherwise."""
    installed = {
        item["name"]: item["version"] for item in project("plugins", "--output", "json").json["plugins"]
    }
    return f"plugins = {[f'{name}=={version}' for name, version in (installed | instead).items()]}\n"


def test_locked_runs_with_what_is_pinned(jam, database):
    jam.install("plum", SOUND, version="1.2")
    jam.configure(pins(jam))

    assert jam("run", "--locked").code == 0

    assert database.execute("SELECT FROM jam").rowcount == 1


@pytest.mark.parametrize(
    "instead, message",
    [
        ({"plum": "2.0"}, "'plum' is pinned to 2.0, but 1.2 is installed"),
        ({"fig": "1.0"}, "'fig' is listed, but not installed"),
    ],
)
def test_locked_refuses_what_differs(jam, database, instead, message):
    jam.install("plum", SOUND, version="1.2")
    jam.configure(pins(jam, **instead))

    answer = jam("run", "--locked")

    assert answer.code == 2
    assert message in answer.err
    assert '"plum==1.2"' in answer.err
    assert tables(database) == []


def test_locked_refuses_what_is_installed_beside(jam, database):
    before = pins(jam)
    jam.install("plum", SOUND, version="1.2")
    jam.configure(before)

    answer = jam("dry-run", "--locked")

    assert answer.code == 2
    assert "'plum' 1.2 is installed, but not listed" in answer.err
    assert tables(database) == []


# order


def test_order_is_as_listed_then_tryfirst_and_trylast(jam):
    jam.install("late", SOUND.replace("@hookimpl", "@hookimpl(trylast=True)"))
    jam.install("plum", SOUND)
    jam.install("fig", SOUND)
    jam.install("early", SOUND.replace("@hookimpl", "@hookimpl(tryfirst=True)"))
    chosen = ("--plugins", "late,plum,fig,early")

    shown = jam("plugins", "--order", *chosen, "--output", "json").json["order"]["after_ddl"]
    ran = jam("run", *chosen, "--output", "json").json["migrations"][0]["hooks"]

    assert [item["plugin"] for item in ran] == ["early", "plum", "fig", "late"]
    assert [item.partition(":")[0].partition(" ")[0] for item in shown] == ["early", "plum", "fig", "late"]


def test_order_of_all_installed_is_by_name(jam):
    for name in ("plum", "fig", "kiwi"):
        jam.install(name, SOUND)

    answer = jam("plugins", "--order")

    assert answer.code == 0
    (line,) = [line for line in answer.out.splitlines() if line.startswith("after_ddl")]
    assert line.index("fig") < line.index("kiwi") < line.index("plum")


# refused at load


@pytest.mark.parametrize("source, message", REFUSED.values(), ids=REFUSED)
def test_refused_at_load_with_two(jam, database, source, message):
    jam.install("plum", source, entry=entry("plum", source))

    answer = jam("run", "--plugins", "plum")

    assert answer.code == 2
    assert "plugin 'plum' (plum-package 1.0)" in answer.err
    assert message in answer.err
    assert "or run without plugins: --no-plugins" in answer.err
    assert answer.out == ""
    assert tables(database) == []


def test_refused_two_plugins_of_one_name(jam, database):
    jam.install("plum", SOUND)
    jam.installed.append(jam.folder / "twin")
    twin = jam.folder / "twin" / "other_package-3.0.dist-info"
    twin.mkdir(parents=True)
    (twin / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 3.0\n")
    (twin / "entry_points.txt").write_text("[confiture]\nplum = plum\n")

    answer = jam("run", "--plugins", "plum")

    assert answer.code == 2
    assert "2 plugins are called 'plum': " in answer.err
    assert "plum-package 1.0" in answer.err
    assert "other-package 3.0" in answer.err
    assert tables(database) == []


def test_refused_every_fault_of_every_plugin_in_one_message(jam, database):
    jam.install("plum", BROKEN)
    jam.install(
        "fig", HOOK + "@hookimpl\ndef after_ddl(con):\n    pass\n\n\n@hookimpl\ndef cleanup(x=1):\n    pass\n"
    )

    answer = jam("dry-run", "--plugins", "plum,fig")

    assert answer.code == 2
    for words in ("'plum'", "'nosuch'", "'fig'", "'con'", "has a default"):
        assert words in answer.err
    assert tables(database) == []


# broken plugin


def test_a_broken_plugin_stops_neither_help_nor_version(jam):
    jam.install("plum", BROKEN)
    jam.configure('plugins = ["plum"]\n')

    answers = [jam(*arguments) for arguments in (("--help",), ("run", "--help"), ("--version",), ("status",))]

    assert [answer.code for answer in answers] == [0, 0, 0, 0]


def test_a_broken_plugin_is_listed_on_stdout_with_zero(jam):
    jam.install("plum", BROKEN)
    jam.install("fig", SOUND)
    jam.configure('plugins = ["plum"]\n')

    text, machine = jam("plugins"), jam("plugins", "--output", "json")

    assert text.code == machine.code == 0
    assert "broken" in text.out
    assert "No module named 'nosuch'" in text.out
    listed = {item["name"]: item for item in machine.json["plugins"]}
    assert listed["plum"]["state"] == "broken"
    assert "nosuch" in listed["plum"]["faults"][0]
    assert listed["fig"]["state"] == "unused"


@pytest.mark.parametrize("command", ["run", "dry-run"])
def test_a_broken_plugin_that_would_be_used_is_refused(jam, database, command):
    jam.install("plum", BROKEN)
    jam.configure('plugins = ["plum"]\n')

    answer = jam(command)

    assert answer.code == 2
    assert tables(database) == []


def test_a_broken_plugin_is_no_hindrance_without_plugins(jam, database):
    jam.install("plum", BROKEN)
    jam.configure('plugins = ["plum"]\n')

    assert jam("run", "--no-plugins").code == 0

    assert applied(database) == ["1"]


def test_a_broken_plugin_that_is_not_used_is_no_hindrance(jam, database):
    jam.install("plum", BROKEN)
    jam.install("fig", SOUND)

    answer = jam("run", "--plugins", "fig")

    assert answer.code == 0
    assert applied(database) == ["1"]


# configuration


def test_configuration_reaches_the_hook(jam, database):
    jam.install(
        "plum",
        HOOK + "@hookimpl\ndef after_ddl(conn, context):\n"
        "    conn.execute('INSERT INTO jam VALUES (%s)', [context.config['how_many']])\n",
    )
    jam.configure("plugins = ['plum']\n[plugin.plum]\nhow_many = 7\n")

    assert jam("run").code == 0

    assert database.execute("SELECT i FROM jam").fetchall() == [(7,)]


def test_configuration_of_an_unknown_key_is_an_error_where_the_plugin_declares_its_keys(jam, database):
    jam.install("plum", SOUND + "\n\nconfig_keys = ['how_many']\n")
    jam.configure("plugins = ['plum']\n[plugin.plum]\nhow_may = 7\n")

    answer = jam("run")

    assert answer.code == 2
    assert "unknown key 'how_may'" in answer.err
    assert "did you mean 'how_many'?" in answer.err
    assert tables(database) == []


# recorded


def test_the_ledger_names_the_plugins_and_versions_of_each_migration(jam, database):
    jam.install("plum", SOUND, version="1.2")
    jam.install("fig", SOUND, version="0.3")
    jam("run", "--plugins", "plum,fig")
    jam.write("2_more.sql", "SELECT 1")
    jam("run", "--no-plugins")

    recorded = database.execute("SELECT plugins FROM confiture.ledger ORDER BY version").fetchall()

    (with_plugins,), (without,) = recorded
    assert ["plum" in str(plugin) and "1.2" in str(plugin) for plugin in with_plugins] == [True, False]
    assert ["fig" in str(plugin) and "0.3" in str(plugin) for plugin in with_plugins] == [False, True]
    assert without == []


# a hook that fails


def test_a_hook_that_fails_is_five_names_its_plugin_and_undoes_the_migration(jam, database):
    jam.install("plum", HOOK + "@hookimpl\ndef after_ddl():\n    raise ValueError('burnt')\n")
    jam.install("fig", SOUND)

    answer = jam("run", "--plugins", "fig,plum", "--output", "json")

    assert answer.code == 5
    assert "hook 'after_ddl' of plugin 'plum': ValueError: burnt" in answer.err
    error = answer.json["migrations"][0]["error"]
    assert (error["phase"], error["hook"]) == ("after_ddl", "after_ddl")
    assert {item["outcome"] for item in answer.json["migrations"][0]["hooks"]} == {"undone"}
    assert applied(database) == []
    assert "public.jam" not in tables(database)


def test_a_hook_that_may_fail_leaves_the_migration_applied(jam, database):
    jam.install("plum", HOOK + "@hookimpl\ndef after_ddl():\n    raise ValueError('burnt')\n")
    jam.configure("plugins = ['plum']\n[plugin.plum]\non_failure = 'continue'\n")

    answer = jam("run")

    assert answer.code == 0
    assert "'plum' failed and was rolled back: burnt" in answer.out
    assert applied(database) == ["1"]


def test_what_plugins_print_is_not_in_the_report(jam):
    jam.install("plum", "print('noise')\n" + SOUND + "    print('more noise')\n")

    answer = jam("run", "--plugins", "plum", "--output", "json")

    assert answer.json["outcome"] == "ok"
    assert "noise" in answer.err
