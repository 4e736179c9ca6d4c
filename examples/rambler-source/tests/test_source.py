"""Tests of the plugin: files are divided as rambler does, and its ledger is read on a real server."""

from __future__ import annotations

from pathlib import Path

import confiture_rambler as rambler
import pytest

from confiture.sources.source import SourceOptions

TEXT = """\
-- rambler up
CREATE TABLE jam (fruit text);
-- rambler down
DROP TABLE jam;
-- rambler up
CREATE INDEX jam_fruit ON jam (fruit);
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "01_jam.sql").write_text(TEXT)
    return tmp_path


def test_sections_may_alternate_and_keep_their_lines(folder):
    (migration,) = rambler.read_folder(folder, SourceOptions())

    section = migration.divide("forward")

    lines = section.text.splitlines()
    assert (lines[1], lines[5]) == (
        "CREATE TABLE jam (fruit text);",
        "CREATE INDEX jam_fruit ON jam (fruit);",
    )
    assert "DROP" not in section.text


def test_the_ledger_is_read_and_kept_up_to_date(folder, confiture_database):
    confiture_database.execute("CREATE TABLE migrations (migration varchar(255))")
    (migration,) = rambler.read_folder(folder, SourceOptions())

    confiture_database.execute(rambler.render_applied("migrations", migration, ()))

    history = rambler.read_history(confiture_database, "migrations", ())
    assert [record.version for record in history.applied] == ["01_jam.sql"]
