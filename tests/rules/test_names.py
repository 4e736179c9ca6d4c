"""Names: how long they may be in bytes, and which index serves a foreign key."""

from __future__ import annotations

import pytest

from confiture.rules.parse_tree import derive_name
from tests.rules.examples import linted, of, rehearsed


@pytest.mark.parametrize("name", ["ü" * 32, "漢" * 22, "😀" * 16, f"a${'b' * 62}", '""' * 16 + "ä" * 24])
def test_a_name_is_measured_in_bytes(name, files):
    files.write("1_a.sql", f'CREATE TABLE jam (id bigint, "{name}" text);')

    assert of(linted(files), "identifier-too-long")


@pytest.mark.parametrize("name", ["ü" * 31, "漢" * 21, "a" * 63])
def test_a_name_that_fits_is_not_reported(name, files):
    files.write("1_a.sql", f'CREATE TABLE jam (id bigint, "{name}" text);')

    assert of(linted(files), "identifier-too-long") == []


@pytest.mark.parametrize(
    ("table", "column"),
    [("t" * 60, "c" * 40), ("ü" * 40, "c" * 20), ("a" + "漢" * 20, "ö" * 30), ("t", "c" * 90), ("o", "qty")],
)
def test_a_name_is_derived_as_postgresql_does(table, column, database):
    table, column = (name.encode()[:63].decode(errors="ignore") for name in (table, column))
    database.execute(f'CREATE TABLE "{table}" ("{column}" int CHECK ("{column}" > 0))')

    (name,) = database.execute(
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0"
    ).fetchone()

    assert derive_name(table, column, "check") == name


@pytest.mark.parametrize(
    ("index", "found"),
    [
        ("CREATE INDEX ON item (part_of, id)", False),
        ("CREATE INDEX ON item ((part_of + 1), part_of)", True),
        ("CREATE INDEX ON item (id, part_of)", True),
        ("CREATE INDEX ON item (id) INCLUDE (part_of)", True),
        ("CREATE INDEX ON item (part_of) WHERE id > 5", True),
        ("CREATE INDEX ON item (part_of) WHERE part_of IS NOT NULL", False),
    ],
)
def test_only_an_index_that_begins_with_the_key_serves_a_foreign_key(index, found, project, database):
    database.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY); CREATE TABLE item (id bigint, part_of bigint)"
    )
    database.execute(index)
    project.write("1_a.sql", "ALTER TABLE item ADD FOREIGN KEY (part_of) REFERENCES orders (id);")

    report = rehearsed(project)

    assert bool(of(report, "fk-missing-index")) is found


def test_the_names_in_a_created_table_are_taken(files):
    files.write(
        "1_a.sql",
        "CREATE TABLE jam (a int CHECK (a > 0), b int UNIQUE, CONSTRAINT jam_b_key1 CHECK (b > 0));",
    )
    files.write("2_b.sql", "ALTER TABLE jam ADD CHECK (a < 9), ADD UNIQUE (b);")

    (finding,) = of(linted(files), "add-check-validated")

    assert "jam_a_check1 CHECK (a < 9)" in (finding.recipe or "")
    assert "jam_b_key2 UNIQUE USING INDEX" in (finding.recipe or "")
