"""Between the files of a split the running application writes: old code and new code, by either name."""

from __future__ import annotations

import pytest

from tests.rules.examples import of, rehearsed

pytestmark = pytest.mark.slow


@pytest.fixture
def start(project, database):
    """Return a function that makes a table, and the files that replace a statement about it."""

    def make(schema: str, statement: str, rule: str) -> list[str]:
        database.execute(schema)
        project.write("1_change.up.sql", f"{statement};\n")
        (finding,) = of(rehearsed(project), rule)
        (project.migrations / "1_change.up.sql").unlink()
        return ["\n".join((*file.directives, file.sql)) for file in finding.files]

    return make


def apply(project, number, text):
    """Write one more file and run it."""
    project.write(f"{number}_step.sql", text)
    assert project.run().outcome == "ok"


def write_by(database, column, key, value):
    """Insert a row by one name, and change another row by it."""
    database.execute(f"INSERT INTO jam (id, {column}) VALUES (%s, %s)", (key, value))
    database.execute(f"UPDATE jam SET {column} = %s WHERE id = %s", (f"{value}!", key - 1))


def test_rows_written_by_either_name_are_the_same_by_both(start, project, database):
    *files, last = start(
        "CREATE TABLE jam (id int PRIMARY KEY, name text NOT NULL UNIQUE);"
        "INSERT INTO jam SELECT g, 'jam ' || g FROM generate_series(1, 50) g",
        "ALTER TABLE jam RENAME name TO label",
        "rename-column",
    )
    for number, text in enumerate(files, 1):
        apply(project, number, text)
        for column in ("name", "label"):
            write_by(database, column, number * 100 + 10 * (column == "label"), f"{column} {number}")
            write_by(database, column, number * 100 + 10 * (column == "label") + 1, f"{column} {number}b")

    both = database.execute("SELECT id, name, label FROM jam WHERE id > 50").fetchall()
    differ = database.execute("SELECT count(*) FROM jam WHERE name IS DISTINCT FROM label").fetchone()
    apply(project, 9, last)
    left = database.execute("SELECT id, label FROM jam WHERE id > 50").fetchall()

    assert all(name == label for _, name, label in both)
    assert dict(left) == {
        number * 100 + shift + more: f"{column} {number}{'b' if more else 'b!'}"
        for number in range(1, len(files) + 1)
        for column, shift in (("name", 0), ("label", 10))
        for more in (0, 1)
    }
    assert differ == (0,)


def test_a_row_that_is_not_filled_yet_keeps_its_value(start, project, database):
    """Old code changes something else in a row that the backfill has not reached."""
    first, *_ = start(
        "CREATE TABLE jam (id int PRIMARY KEY, name text, qty int); INSERT INTO jam VALUES (1, 'fig', 1)",
        "ALTER TABLE jam RENAME name TO label",
        "rename-column",
    )
    apply(project, 1, first)

    database.execute("UPDATE jam SET qty = 2")

    assert database.execute("SELECT name, label FROM jam").fetchall() == [("fig", "fig")]


def test_a_null_written_by_the_new_name_empties_the_old_one(start, project, database):
    *files, _ = start(
        "CREATE TABLE jam (id int PRIMARY KEY, name text); INSERT INTO jam VALUES (1, 'fig'), (2, 'plum')",
        "ALTER TABLE jam RENAME name TO label",
        "rename-column",
    )
    for number, text in enumerate(files, 1):
        apply(project, number, text)

    database.execute("UPDATE jam SET label = NULL WHERE id = 1")
    database.execute("UPDATE jam SET name = NULL WHERE id = 2")

    assert database.execute("SELECT name, label FROM jam").fetchall() == [(None, None)] * 2


def test_a_default_counts_for_both_names(start, project, database):
    *files, _ = start(
        "CREATE TABLE jam (id int PRIMARY KEY, name text DEFAULT 'fig' NOT NULL)",
        "ALTER TABLE jam RENAME name TO label",
        "rename-column",
    )
    for number, text in enumerate(files, 1):
        apply(project, number, text)

    database.execute("INSERT INTO jam (id) VALUES (1)")
    database.execute("INSERT INTO jam (id, label) VALUES (2, 'plum')")

    assert database.execute("SELECT name, label FROM jam ORDER BY id").fetchall() == [
        ("fig", "fig"),
        ("plum", "plum"),
    ]


def test_values_that_a_type_calls_equal_are_copied_too(start, project, database):
    *files, _ = start(
        "CREATE TABLE jam (id int PRIMARY KEY, price numeric); INSERT INTO jam VALUES (1, 1.5)",
        "ALTER TABLE jam RENAME price TO amount",
        "rename-column",
    )
    for number, text in enumerate(files, 1):
        apply(project, number, text)

    database.execute("UPDATE jam SET amount = 1.50")

    assert database.execute("SELECT price::text, amount::text FROM jam").fetchall() == [("1.50", "1.50")]


def test_a_rename_without_a_recipe_says_what_is_in_the_way(project, database):
    database.execute("CREATE TABLE jam (id int, name text); CREATE VIEW names AS SELECT name FROM jam")
    project.write("1_change.sql", "ALTER TABLE jam RENAME name TO label;\n")

    (finding,) = of(rehearsed(project), "rename-column")

    assert finding.files == ()
    assert "no recipe, because view names would have to move" in finding.message


def test_a_measured_change_of_type_without_a_recipe_says_so_too(project, database):
    database.execute("CREATE TABLE jam (id int GENERATED ALWAYS AS IDENTITY, name text)")
    database.execute("INSERT INTO jam (name) VALUES ('plum')")
    project.write("1_change.sql", "ALTER TABLE jam ALTER id TYPE bigint;\n")

    (finding,) = of(rehearsed(project), "change-type-rewrite")

    assert finding.basis == "measured"
    assert "no recipe, because its identity would have to move" in finding.message


def test_old_code_writes_while_a_type_changes_and_no_trigger_is_left(start, project, database):
    files = start(
        "CREATE TABLE jam (id int PRIMARY KEY, qty int NOT NULL);"
        "INSERT INTO jam SELECT g, g FROM generate_series(1, 50) g",
        "ALTER TABLE jam ALTER qty TYPE bigint",
        "change-type-rewrite",
    )
    for number, text in enumerate(files, 1):
        apply(project, number, text)
        database.execute("INSERT INTO jam VALUES (%s, %s)", (number * 100, number))
        database.execute("UPDATE jam SET qty = qty + 1000 WHERE id = %s", (number,))
    rows = dict(database.execute("SELECT id, qty FROM jam").fetchall())
    left = database.execute(
        "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal),"
        " (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),"
        " (SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'jam'::regclass AND attname = 'qty')"
    ).fetchone()

    written = range(1, len(files) + 1)
    assert {key: rows[key] for key in (*written, *(n * 100 for n in written))} == {
        **{number: number + 1000 for number in written},
        **{number * 100: number for number in written},
    }
    assert left == (0, 0, "bigint")
