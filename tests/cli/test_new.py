"""``confiture new`` writes a migration that confiture itself can read."""

from __future__ import annotations

import ast
import re

import pytest

from confiture.cli import main
from confiture.cli.new_command import make_safe_name, render_python, render_sql
from confiture.exceptions import UsageFault
from confiture.migrations.version import parse_filename


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_path_is_printed_and_the_folder_made(tmp_path, capsys):
    assert main(["new", "create orders"]) == 0

    path = capsys.readouterr().out.strip()
    assert re.fullmatch(r"migrations/\d{14}_create_orders\.sql", path)
    assert (tmp_path / path).read_text() == render_sql(no_transaction=False)


def test_a_numbered_folder_goes_on_counting(tmp_path, capsys):
    folder = tmp_path / "db"
    folder.mkdir()
    (folder / "0009_jam.sql").write_text("SELECT 1;")

    assert main(["new", "fig", "--migrations", "db", "--python", "--no-transaction"]) == 0

    assert capsys.readouterr().out == "db/0010_fig.py\n"
    assert "transactional = False" in (folder / "0010_fig.py").read_text()


def test_two_in_one_second_have_two_versions(tmp_path):
    assert main(["new", "jam"]) == main(["new", "jam"]) == 0

    assert len(list((tmp_path / "migrations").iterdir())) == 2


def test_no_transaction_is_the_first_line():
    assert render_sql(no_transaction=True).startswith("-- confiture: no-transaction\n")


@pytest.mark.parametrize(
    "name, class_name",
    [("create_orders", "CreateOrders"), ("x-y", "XY"), ("class", "Class"), ("_2fa", "M2fa"), ("été", "Été")],
)
def test_a_python_migration_is_python(name, class_name):
    module = ast.parse(render_python(name, no_transaction=False))

    assert [stmt.name for stmt in module.body if isinstance(stmt, ast.ClassDef)] == [class_name]


@pytest.mark.parametrize(
    "name, safe",
    [
        ("create orders", "create_orders"),
        ("  jam ", "jam"),
        ("a.up", "a_up"),
        ("x.check", "x_check"),
        ("""o'clock "now" $1;""", "o_clock_now_1"),
        ("line\nfeed", "line_feed"),
        ("2fa", "2fa"),
        ("été", "été"),
    ],
)
def test_a_name_becomes_fit_for_a_file(name, safe):
    assert make_safe_name(name) == safe

    said = parse_filename(f"20261123120000_{safe}.sql")
    assert said is not None
    assert (said.version, said.name) == ("20261123120000", safe)


@pytest.mark.parametrize("name", ["", " ", "..", "a/b", "../a", "a\\b", "2", "2_fa", "5 things", "!?"])
def test_a_name_that_would_be_something_else_is_refused(name, tmp_path):
    with pytest.raises(UsageFault):
        make_safe_name(name)

    assert main(["new", "--", name]) == 2
    assert not (tmp_path / "migrations").exists()


def test_a_name_too_long_for_the_file_system_is_a_message(capsys):
    assert main(["new", "j" * 300]) == 2

    assert "File name too long" in capsys.readouterr().err
