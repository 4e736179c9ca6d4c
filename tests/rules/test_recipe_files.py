"""A recipe is a list of files: what stays in the file at hand, and what is committed separately."""

from __future__ import annotations

import pytest

from confiture.rules.explain import read_example
from confiture.rules.recipe_files import write_files
from confiture.rules.recipes import read_recipe
from confiture.rules.rule import Example
from tests.rules.examples import linted, of

INDEX = "CREATE INDEX orders_qty_idx ON orders (qty);\n"
CONCURRENTLY = "CREATE INDEX CONCURRENTLY orders_qty_idx ON orders (qty);\n"
OUTSIDE = "-- confiture: no-transaction"


def recipe_files(files, name, text, rule="index-not-concurrent"):
    """Write a migration, and return the files of the recipe of a rule."""
    files.write(name, text)
    (finding,) = of(linted(files), rule)
    return [(file.name, file.directives, file.sql) for file in finding.files]


def test_a_file_with_nothing_else_keeps_its_name(files):
    written = recipe_files(files, "20260101120000_add.up.sql", INDEX)

    assert written == [("20260101120000_add.up.sql", (OUTSIDE,), CONCURRENTLY)]


def test_the_index_leaves_the_file_whose_rest_stays_in_a_transaction(files):
    written = recipe_files(
        files, "20260101120000_add.up.sql", f"ALTER TABLE orders ADD COLUMN qty int;\n\n{INDEX}"
    )

    assert written == [
        ("20260101120000_add.up.sql", (), "ALTER TABLE orders ADD COLUMN qty int;\n"),
        ("20260101120001_add_build_index.up.sql", (OUTSIDE,), CONCURRENTLY),
    ]


def test_a_rest_that_needs_nothing_of_it_stays(files):
    written = recipe_files(
        files,
        "20260101120059_add.up.sql",
        f"CREATE TABLE a (id int);\n{INDEX}-- the second table\nCREATE TABLE b (id int);\n",
    )

    assert written == [
        (
            "20260101120059_add.up.sql",
            (),
            "CREATE TABLE a (id int);\n-- the second table\nCREATE TABLE b (id int);\n",
        ),
        ("20260101120100_add_build_index.up.sql", (OUTSIDE,), CONCURRENTLY),
    ]


@pytest.mark.parametrize(
    "rest", ["ALTER TABLE orders ADD COLUMN b int;\n", "DO $$ BEGIN PERFORM 1; END $$;\n", "SELECT jam();\n"]
)
def test_a_rest_that_may_need_it_runs_after_it(rest, files):
    written = recipe_files(files, "0004_add.sql", f"CREATE TABLE a (id int);\n{INDEX}{rest}")

    assert written == [
        ("0004_add.sql", (), "CREATE TABLE a (id int);\n"),
        ("0004_1_add_build_index.sql", (OUTSIDE,), CONCURRENTLY),
        ("0004_2_add_rest.sql", (), rest),
    ]


def test_a_step_that_needs_no_file_of_its_own_is_written_in_place(files):
    written = recipe_files(
        files,
        "1_add.sql",
        "CREATE TABLE a (id int);\nALTER TABLE orders ADD COLUMN code text NOT NULL;\nCREATE TABLE b (id int);\n",
        "add-column-not-null-no-default",
    )

    assert [name for name, _, _ in written] == ["1_add.sql"]
    assert "DEFAULT '';" in written[0][2]
    assert written[0][2].startswith("CREATE TABLE a (id int);\n")
    assert written[0][2].endswith("CREATE TABLE b (id int);\n")


def test_settings_are_made_again_in_every_file(files):
    written = recipe_files(
        files,
        "1_add.sql",
        f"SET LOCAL search_path = app;\nALTER TABLE orders ADD COLUMN qty int;\n{INDEX}",
    )

    assert written[1] == (
        "1_1_add_build_index.sql",
        (OUTSIDE,),
        f"SET search_path = app;\n{CONCURRENTLY.replace(' ON ', ' ON app.')}",
    )


def test_timeouts_and_the_down_part_stay_with_the_file(files):
    text = (
        "-- confiture: lock_timeout=2s\n-- migrate:up\nALTER TABLE orders ADD COLUMN qty int;\n"
        f"-- fast lookups\n{INDEX}\n-- migrate:down\nDROP TABLE a;\n"
    )

    written = recipe_files(files, "1_add.sql", text)

    assert written == [
        (
            "1_add.sql",
            ("-- confiture: lock_timeout=2s",),
            "-- migrate:up\nALTER TABLE orders ADD COLUMN qty int;\n-- migrate:down\nDROP TABLE a;\n",
        ),
        ("1_1_add_build_index.sql", (OUTSIDE,), CONCURRENTLY),
    ]


def test_a_begin_and_commit_around_the_file_are_left_out(files):
    text = f"BEGIN;\nCREATE TABLE a (id int);\n{INDEX}SELECT jam();\nCOMMIT;\n"

    written = recipe_files(files, "1_add.sql", text)

    assert [sql for _, _, sql in written] == [
        "CREATE TABLE a (id int);\n",
        CONCURRENTLY,
        "SELECT jam();\n",
    ]


def test_a_do_block_above_the_statement_keeps_its_begin(files):
    block = "DO $$\nBEGIN\n  PERFORM jam();\nEND $$;\n"

    written = recipe_files(files, "1_add.sql", f"{block}{INDEX}")

    assert [sql for _, _, sql in written] == [block, CONCURRENTLY]


def test_the_files_of_a_recipe_are_migrations_that_run(project, database):
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, qty int)")
    text = "CREATE TABLE a (id int);\nALTER TABLE orders ADD CONSTRAINT few CHECK (qty < 9);\nSELECT 1;\n"
    files = recipe_files(project, "0004_add.sql", text, "add-check-validated")

    for name, directives, sql in files:
        project.write(name, "\n".join((*directives, sql)))
    ran = project.run()

    assert [migration.outcome for migration in ran.migrations] == ["applied"] * 3
    assert [migration.version for migration in ran.migrations] == ["0004", "0004_1", "0004_2"]
    assert of(linted(project), "add-check-validated") == []


def test_advice_in_a_comment_replaces_nothing():
    (statement,) = read_example(Example("", "CREATE EXTENSION citext;")).statements
    recipe = read_recipe("-- ask the database team")

    assert recipe is not None
    assert write_files(statement, recipe) == ()


def test_every_format_prints_the_files_with_their_names(files):
    files.write("0004_add.sql", f"ALTER TABLE orders ADD COLUMN qty int;\n{INDEX}")

    for output in ("text", "markdown", "html", "sarif", "github", "gitlab", "junit", "json"):
        answer = files("lint", "--output", output)

        assert "0004_1_add_build_index.sql" in answer.out, output
        assert "CREATE INDEX CONCURRENTLY" in answer.out, output


def test_json_has_the_files_of_a_recipe(files):
    files.write("0004_add.sql", f"ALTER TABLE orders ADD COLUMN qty int;\n{INDEX}")

    document = files("lint", "--output", "json").json

    (finding,) = [each for each in document["findings"] if each["rule"] == "index-not-concurrent"]
    assert finding["recipe"].endswith(CONCURRENTLY.strip())
    assert finding["files"] == [
        {"name": "0004_add.sql", "directives": [], "sql": "ALTER TABLE orders ADD COLUMN qty int;\n"},
        {"name": "0004_1_add_build_index.sql", "directives": [OUTSIDE], "sql": CONCURRENTLY},
    ]


def test_the_next_seconds_are_left_to_the_migrations_that_have_them(files):
    files.write("20260101120002_next.sql", "CREATE TABLE b (id int);")

    written = recipe_files(
        files, "20260101120000_add.sql", f"ALTER TABLE orders ADD COLUMN qty int;\n{INDEX}"
    )

    assert [name for name, _, _ in written] == [
        "20260101120000_add.sql",
        "20260101120000_1_add_build_index.sql",
    ]


@pytest.mark.parametrize(
    ("source", "script", "hand", "later", "names"),
    [
        (
            "prisma",
            "migration.sql",
            "20260101120000_add",
            "20260101120001_next",
            ["20260101120000_add_1_build_index", "20260101120000_add_2_rest"],
        ),
        (
            "diesel",
            "up.sql",
            "2026-01-01-120000_add",
            "2026-01-01-120001_next",
            ["2026-01-01-120000-0001_add_build_index", "2026-01-01-120000-0002_add_rest"],
        ),
    ],
)
def test_the_next_seconds_of_folders_are_left_to_those_that_have_them(
    project, source, script, hand, later, names
):
    """The new folders come behind the one at hand and before the next, as the tool sorts them."""
    texts = {hand: f"CREATE TABLE a (id int);\n{INDEX}SELECT jam();\n", later: "SELECT 1;\n"}
    for folder, text in texts.items():
        (project.migrations / folder).mkdir(parents=True)
        (project.migrations / folder / script).write_text(text)
    project.configure(f'source = "{source}"\n')

    answer = project("lint", "--output", "json")

    (finding,) = [each for each in answer.json["findings"] if each["rule"] == "index-not-concurrent"]
    assert [file["name"] for file in finding["files"]][1:] == [f"{name}/{script}" for name in names]
    assert sorted([later, *names])[-1] == later


@pytest.mark.parametrize(
    ("source", "up", "down"),
    [("goose", "-- +goose Up", "-- +goose Down"), ("dbmate", "-- migrate:up", "-- migrate:down")],
)
@pytest.mark.parametrize(
    "change", [INDEX, "ALTER TABLE orders ADD COLUMN key uuid DEFAULT gen_random_uuid();\n"]
)
def test_a_recipe_has_the_dividers_of_its_tool(project, source, up, down, change):
    project.configure(f'source = "{source}"\n')
    project.write("20260101120000_a.sql", f"{up}\nCREATE TABLE orders (id int, qty int);\n{down}\n")
    project.write("20260101120100_b.sql", f"{up}\n{change}{down}\n")
    found = project("lint", "--output", "json").json["findings"]
    files = next(finding["files"] for finding in found if finding["files"])

    (project.migrations / "20260101120100_b.sql").unlink()
    for file in files:
        project.write(file["name"], "\n".join((*file["directives"], file["sql"])))

    assert [file["sql"].splitlines()[0] for file in files] == [up] * len(files)
    assert project("run").code == 0


def test_a_file_that_is_not_cut_says_what_to_take_out(files):
    written = recipe_files(
        files,
        "1_add.py",
        "from confiture.models.migration import Migration\n\n\nclass Add(Migration):\n    def up(self):\n"
        f'        self.execute("{INDEX.strip()}")\n',
    )

    assert written == [
        (
            "1_1_add_build_index.up.sql",
            (OUTSIDE,),
            f"-- in place of the statement in 1_add.py: remove it there\n{CONCURRENTLY}",
        )
    ]


TWO = f"CREATE TABLE a (id int);\n{INDEX}CREATE INDEX ON orders (id);\nCREATE TABLE b (id int);\n"


@pytest.mark.parametrize(
    ("source", "names", "wrap"),
    [
        ("", ("0001_a.sql", "0002_b.sql", "0003_c.sql"), "{}"),
        (
            "goose",
            ("20260101120000_a.sql", "20260101120100_b.sql", "20260101120200_c.sql"),
            "-- +goose Up\n{}-- +goose Down\n",
        ),
        (
            "dbmate",
            ("20260101120000_a.sql", "20260101120100_b.sql", "20260101120200_c.sql"),
            "-- migrate:up\n{}-- migrate:down\n",
        ),
        ("flyway", ("V1__a.sql", "V1_2__b.sql", "V1.2.2__c.sql"), "{}"),
    ],
)
def test_several_indexes_of_a_file_have_one_recipe(project, database, source, names, wrap):
    project.configure(f'source = "{source}"\n' if source else "")
    for name, text in zip(
        names, ("CREATE TABLE orders (id int, qty int);\n", TWO, "SELECT 1;\n"), strict=True
    ):
        project.write(name, wrap.format(text))

    first, second = project("lint", "--output", "json").json["findings"]
    if names[1] not in [file["name"] for file in first["files"]]:
        lines = [number for number, line in enumerate(wrap.format(TWO).splitlines(), 1) if "INDEX" in line]
        assert f"lines {lines[0]}, {lines[1]} of {names[1]}: remove them there" in first["files"][0]["sql"]
        kept = [line for line in wrap.format(TWO).splitlines(keepends=True) if "INDEX" not in line]
        project.write(names[1], "".join(kept))
    for file in first["files"]:
        project.write(file["name"], "\n".join((*file["directives"], file["sql"])))

    assert (second["recipe"], second["files"]) == (None, [])
    assert second["message"].endswith(f"; the recipe of line {first['line']} includes it")
    assert project("lint", "--output", "json").json["findings"] == []
    assert project("run").code == 0
    assert database.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'orders'::regclass AND indisvalid"
        " ORDER BY 1"
    ).fetchall() == [("orders_id_idx",), ("orders_qty_idx",)]


def test_an_index_that_may_not_move_down_to_another_waits_for_its_recipe(files):
    """What stands between the two may need the first, as ON CONFLICT does."""
    files.write(
        "1_add.sql", f"{INDEX}ALTER TABLE orders ADD COLUMN b int;\nCREATE INDEX orders_b ON orders (b);\n"
    )

    first, second = of(linted(files), "index-not-concurrent")

    assert [file.sql for file in first.files] == [
        CONCURRENTLY,
        "ALTER TABLE orders ADD COLUMN b int;\nCREATE INDEX orders_b ON orders (b);\n",
    ]
    assert second.message.endswith("; apply the recipe of line 1, then lint again for that of this line")
    assert second.files == ()


def test_an_index_that_is_ignored_is_in_no_recipe(files):
    text = f"CREATE TABLE a (id int);\n-- confiture: ignore index-not-concurrent\n{INDEX}"
    files.write(
        "1_add.sql", f"{text}CREATE INDEX orders_a ON orders (a);\nCREATE INDEX orders_b ON orders (b);\n"
    )

    ignored, first, _ = of(linted(files), "index-not-concurrent")

    assert ignored.ignored
    assert first.files[0].sql == text
    assert first.files[1].sql.count("CREATE INDEX CONCURRENTLY") == 2
