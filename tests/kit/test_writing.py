"""``confiture plugins new``: the names, the files, and what is never overwritten."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from confiture.cli import main
from confiture.exceptions import UsageFault
from confiture.plugins.scaffold import name_plugin, render_files, write_plugin

EXAMPLE = Path(__file__).parents[2] / "examples" / "first-plugin"
LEFT_BY_TOOLS = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Return the text of every file below ``folder``, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and not LEFT_BY_TOOLS & set(path.parts)
    }


@pytest.mark.parametrize(
    "given, name, module",
    [
        ("hello", "hello", "confiture_hello"),
        ("confiture-hello", "hello", "confiture_hello"),
        ("confiture_hello", "hello", "confiture_hello"),
        ("My Jam!", "my-jam", "confiture_my_jam"),
        ("Gelée Royale", "gelee-royale", "confiture_gelee_royale"),
        ("2fa", "2fa", "confiture_2fa"),
        ("class", "class", "confiture_class"),
        ('a"; rm -rf $HOME', "a-rm-rf-home", "confiture_a_rm_rf_home"),
    ],
)
def test_names_are_made_safe_for_pip_and_for_python(given, name, module):
    plugin = name_plugin(given)

    assert (plugin.name, plugin.distribution, plugin.module) == (name, f"confiture-{name}", module)
    assert plugin.module.isidentifier()


@pytest.mark.parametrize(
    "given, words",
    [
        ("", "cannot be the name of a package"),
        ("   ", "cannot be the name of a package"),
        ("果酱", "cannot be the name of a package"),
        ("confiture-", "is the name of confiture itself"),
        ("confiture", "is the name of confiture itself"),
        ("confiture-pg", "is the name of confiture itself"),
        ("../hello", "is a path"),
        ("a\\b", "is a path"),
    ],
)
def test_what_is_no_name_is_refused_with_a_hint(given, words):
    with pytest.raises(UsageFault, match=words) as refused:
        name_plugin(given)

    assert refused.value.hint


def test_the_first_plugin_of_the_examples_is_what_is_written(tmp_path):
    folder = write_plugin(name_plugin("hello"), tmp_path)

    assert folder.name == "confiture-hello"
    assert contents(folder) == contents(EXAMPLE)


def test_no_placeholder_is_left_in_any_file():
    plugin = name_plugin("My Jam")

    files = render_files(plugin)

    assert "src/confiture_my_jam/__init__.py" in files
    assert not any(sign in path + text for path, text in files.items() for sign in ("$name", "$module", "$$"))
    assert 'my-jam = "confiture_my_jam"' in files["pyproject.toml"]


def test_every_python_file_compiles_for_an_odd_name():
    files = render_files(name_plugin("2fa"))

    for path, text in files.items():
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_the_command_names_the_files_and_the_next_step(here, capsys):
    assert main(["plugins", "new", "hello"]) == 0

    said = capsys.readouterr()
    assert "confiture-hello/src/confiture_hello/__init__.py\n" in said.out
    assert "next: cd confiture-hello && pip install -e '.[test]' && pytest" in said.out
    assert said.err == ""


def test_what_is_there_already_stays_as_it_is(here, capsys):
    (here / "confiture-hello").mkdir()
    (here / "confiture-hello" / "mine.py").write_text("mine")

    assert main(["plugins", "new", "hello"]) == 2

    assert capsys.readouterr().err.startswith("error: confiture-hello exists already")
    assert contents(here) == {"confiture-hello/mine.py": "mine"}


def test_a_full_disk_leaves_no_half_package(here):
    """A limit on the size of files fails like a disk without room, in the middle of a file."""
    command = f"ulimit -f 0; exec {shlex.quote(sys.executable)} -m confiture plugins new hello"

    done = subprocess.run(["bash", "-c", command], cwd=here, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["plugins", "new"], "missing argument 'NAME'"),
        (["plugins", "new", "../x"], "is a path"),
        (["plugins", "nwe"], "no such command 'nwe'"),
        (["plugins", "new", "a", "b"], "unexpected extra argument"),
        (["plugins", "--order", "new", "a"], "plugins new takes no flags of plugins"),
        (["plugins", "new", "x" * 300], "File name too long"),
    ],
)
def test_what_cannot_be_written_ends_in_two_and_leaves_nothing(here, capsys, arguments, words):
    assert main(arguments) == 2

    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert list(here.iterdir()) == []


def test_plugins_alone_still_lists_what_is_installed(here, capsys, fake_distribution):
    fake_distribution("jam", "from confiture import hookimpl\n\n@hookimpl\ndef before_ddl(): ...\n")

    assert main(["plugins"]) == 0

    listed = capsys.readouterr().out
    assert "jam" in listed
    assert "before_ddl" in listed


def test_plugins_order_still_shows_who_is_called_when(here, capsys, fake_distribution):
    fake_distribution("jam", "from confiture import hookimpl\n\n@hookimpl\ndef before_ddl(): ...\n")

    assert main(["plugins", "--plugins", "jam", "--order"]) == 0

    assert "jam" in capsys.readouterr().out
