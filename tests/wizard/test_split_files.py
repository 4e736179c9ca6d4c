"""What undoes a split goes where the project keeps its down parts, in place of what undid the whole."""

from __future__ import annotations

import pytest

from confiture.exceptions import UsageFault
from confiture.models.report import RecipeFile
from confiture.wizard.split_files import write_split

CHECK = RecipeFile("2_jam.sql", (), "ADD CHECK;\n", down="DROP CHECK;\n")
REQUIRE = RecipeFile("2_1_jam.sql", ("-- confiture: no-transaction",), "SET;\n", down="UNSET;\n")


def pair(file: RecipeFile) -> RecipeFile:
    """Return the file as one of a pair."""
    return RecipeFile(file.name.replace(".sql", ".up.sql"), file.directives, file.sql, down=file.down)


def read(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_both_parts_are_in_one_file_and_the_directives_hold_for_both(tmp_path):
    (tmp_path / "2_jam.sql").write_text("SET;\n")

    write_split(tmp_path, (CHECK, REQUIRE))

    assert read(tmp_path) == {
        "2_jam.sql": "-- migrate:up\nADD CHECK;\n\n-- migrate:down\nDROP CHECK;\n",
        "2_1_jam.sql": "-- confiture: no-transaction\n-- migrate:up\nSET;\n\n-- migrate:down\nUNSET;\n",
    }


def test_what_undid_the_whole_is_replaced(tmp_path):
    hand = RecipeFile("2_jam.sql", (), "-- migrate:up\nADD CHECK;\n-- migrate:down\nUNSET;\n", down="DROP;\n")
    (tmp_path / "2_jam.sql").write_text("-- migrate:up\nSET;\n-- migrate:down\nUNSET;\n")

    write_split(tmp_path, (hand, REQUIRE))

    assert read(tmp_path)["2_jam.sql"] == "-- migrate:up\nADD CHECK;\n\n-- migrate:down\nDROP;\n"


def test_of_a_pair_the_down_files_are_written(tmp_path):
    (tmp_path / "2_jam.up.sql").write_text("SET;\n")
    (tmp_path / "2_jam.down.sql").write_text("UNSET;\n")

    written = write_split(tmp_path, (pair(CHECK), pair(REQUIRE)))

    assert {path.name for path in written} == read(tmp_path).keys()
    assert read(tmp_path) == {
        "2_jam.up.sql": "ADD CHECK;\n",
        "2_jam.down.sql": "DROP CHECK;\n",
        "2_1_jam.up.sql": "-- confiture: no-transaction\n\nSET;\n",
        "2_1_jam.down.sql": "-- confiture: no-transaction\nUNSET;\n",
    }


def test_what_undoes_other_statements_too_stays_with_a_reminder(tmp_path):
    hand = RecipeFile("2_jam.sql", (), "MORE;\n-- migrate:down\nUNSET; LESS;\n")
    (tmp_path / "2_jam.sql").write_text("MORE; SET;\n-- migrate:down\nUNSET; LESS;\n")

    write_split(tmp_path, (hand, REQUIRE))

    assert read(tmp_path)["2_jam.sql"].splitlines()[1:] == [
        "-- migrate:down",
        "-- remove what undoes the statement that was split: the files after this one undo it",
        "UNSET; LESS;",
    ]


def test_a_file_in_the_way_leaves_all_as_it_was(tmp_path):
    before = {"2_jam.up.sql": "SET;\n", "2_jam.down.sql": "UNSET;\n", "2_1_jam.down.sql": "mine\n"}
    for name, text in before.items():
        (tmp_path / name).write_text(text)

    with pytest.raises(UsageFault, match=r"2_1_jam\.down\.sql: File exists"):
        write_split(tmp_path, (pair(CHECK), pair(REQUIRE)))

    assert read(tmp_path) == before
