"""``confiture init`` makes what is missing and overwrites nothing."""

from __future__ import annotations

import re

import pytest

from confiture.cli import main
from confiture.config.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_configuration_and_a_folder_are_made(tmp_path, capsys):
    assert main(["init"]) == 0

    assert (tmp_path / "migrations").is_dir()
    assert "wrote confiture.toml" in capsys.readouterr().out
    assert load_settings(environ={}) == Settings(
        root=tmp_path, file=tmp_path / "confiture.toml", migrations=tmp_path / "migrations"
    )


def test_every_line_of_the_new_configuration_may_be_uncommented(tmp_path):
    main(["init"])
    file = tmp_path / "confiture.toml"

    file.write_text(re.sub(r"(?m)^# (?=[\w\[]+.*(=|\]$))", "", file.read_text()))

    settings = load_settings(environ={"USER": "me"})
    assert settings.url == "postgresql://me@localhost/app"
    assert settings.plugin_tables == {"guard": {"role": "owner"}}


def test_twice_changes_nothing(tmp_path, capsys):
    main(["init"])
    (tmp_path / "confiture.toml").write_text('schema = "mine"\n')

    assert main(["init"]) == 0

    assert (tmp_path / "confiture.toml").read_text() == 'schema = "mine"\n'
    assert capsys.readouterr().out.count("already exists; not changed") == 2


def test_a_project_that_is_configured_gets_its_folder_only(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.confiture]\nmigrations = "db/sql"\n')

    assert main(["init"]) == 0

    assert (tmp_path / "db" / "sql").is_dir()
    assert not (tmp_path / "confiture.toml").exists()


def test_a_file_in_the_folders_place_is_a_message(tmp_path, capsys):
    (tmp_path / "migrations").write_text("")

    assert main(["init"]) == 2

    assert capsys.readouterr().err == "error: migrations: File exists\n"


def test_a_faulty_configuration_is_a_message_and_stays(tmp_path, capsys):
    (tmp_path / "confiture.toml").write_text("urll = 1\n")

    assert main(["init"]) == 2

    assert (
        capsys.readouterr().err == "error: confiture.toml:1: unknown key 'urll'\nhint: did you mean 'url'?\n"
    )
