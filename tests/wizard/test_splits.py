"""The split of each pattern, through the real flags: nothing is blocked for long, and the end is the same."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from attrs import frozen

from confiture.catalog.compare_schemas import compare_schemas
from confiture.catalog.read_schema import read_objects
from tests.catalog import normalise, read_rows
from tests.project import Project, applied

pytestmark = pytest.mark.slow

SCHEMA = """
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, note text NOT NULL DEFAULT '', qty int CHECK (qty > 0), c bigint);
CREATE INDEX orders_note ON orders (note);
"""
ROWS = """
INSERT INTO customers SELECT generate_series(1, 1000);
INSERT INTO orders SELECT g, 'x' || g, g, g FROM generate_series(1, 1000) g;
ANALYZE;
"""


@frozen
class Pattern:
    """A migration and its split.

    Attributes:
        sql: The migration.
        files: The names of what the wizard writes.
        reorders: True if a column is the last one afterwards: its last file drops the old one, for ever.
    """

    sql: str
    files: tuple[str, ...]
    reorders: bool = False


PATTERNS = {
    "set-not-null": Pattern(
        "ALTER TABLE orders ALTER COLUMN c SET NOT NULL;\n",
        ("2_change.sql", "2_1_change_set_not_null.sql"),
    ),
    "change-of-type": Pattern(
        "ALTER TABLE orders ALTER COLUMN qty TYPE bigint;\n",
        (
            "2_change.sql",
            "2_1_change_backfill.sql",
            "2_2_change_add_constraint.sql",
            "2_3_change_contract.sql",
        ),
        reorders=True,
    ),
    "volatile-default": Pattern(
        "ALTER TABLE orders ADD COLUMN n float NOT NULL DEFAULT random() * 0;\n",
        (
            "2_change.sql",
            "2_1_change_backfill.sql",
            "2_2_change_add_constraint.sql",
            "2_3_change_set_not_null.sql",
        ),
    ),
    "foreign-key": Pattern(
        "ALTER TABLE orders ADD CONSTRAINT orders_c FOREIGN KEY (c) REFERENCES customers (id);\n",
        ("2_change.sql", "2_1_change_validate.sql"),
    ),
    "unique": Pattern(
        "ALTER TABLE orders ADD CONSTRAINT orders_note_key UNIQUE (note);\n",
        ("2_change.sql", "2_1_change_add_constraint.sql"),
    ),
    "rename": Pattern(
        "ALTER TABLE orders RENAME COLUMN note TO remark;\n",
        (
            "2_change.sql",
            "2_1_change_build_index.sql",
            "2_2_change_add_constraint.sql",
            "2_3_change_contract.sql",
        ),
        reorders=True,
    ),
}
TWO = Pattern(
    "ALTER TABLE orders ALTER COLUMN c SET NOT NULL;\n"
    "CREATE INDEX orders_c ON orders (c);\n"
    "COMMENT ON INDEX orders_c IS 'by customer';\n",
    (),
)


def make(folder, url, sql) -> Project:
    """Return a project with rows, and a pending migration."""
    (folder / ".git").mkdir(parents=True)
    project = Project(folder, url)
    project.write("1_orders.sql", SCHEMA)
    assert project("run").code == 0
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(ROWS)
    project.write("2_change.sql", sql)
    return project


def read_schema(url: str, *, reorders: bool) -> list[Any]:
    """Return the schema; with ``reorders``, with the lines of each object sorted."""
    with psycopg.connect(url) as conn:
        objects = read_objects(conn, "confiture")
    return [
        type(item)(item.kind, item.identity, normalise(item.ddl)) if reorders else item for item in objects
    ]


def run_one_by_one(project: Project) -> dict[str, list[str]]:
    """Rehearse and run each pending migration; return what it blocks for long, by version."""
    blocked = {}
    pending = [version for version, state in project.states().items() if state == "pending"]
    for version in pending:
        (rehearsed,) = project("dry-run", "--to", version, "--output", "json").json["migrations"]
        blocked[version] = rehearsed["long_blocks"]
        assert project("run", "--to", version).code == 0
    return blocked


def undo_all(project: Project, before: list[Any]) -> None:
    """Undo all files of a split, and apply them again."""
    undone = project.down(to="1")
    assert list(compare_schemas(before, read_schema(project.url, reorders=False))) == []
    assert [report.error for report in (undone, project.run()) if report.exit_code] == []


@pytest.mark.parametrize("name", PATTERNS)
def test_a_split_ends_as_the_migration_does_and_blocks_nothing_for_long(
    name, tmp_path, database_url, second_url
):
    pattern = PATTERNS[name]
    original = make(tmp_path / "original", second_url, pattern.sql)
    split = make(tmp_path / "split", database_url, pattern.sql)
    database = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]

    answer = split(
        *("wizard", "--choose", "2=split", "--choose", "all=run", "--database", str(database), "--no-apply")
    )
    written = sorted(path.name for path in split.migrations.iterdir())
    before = read_schema(split.url, reorders=False)
    last = split.migrations / pattern.files[-1]
    text = last.read_text()
    if pattern.reorders:
        last.unlink()
    blocked = run_one_by_one(split)
    undo_all(split, before)
    if pattern.reorders:
        last.write_text(text)
        blocked |= run_one_by_one(split)
    undone = split("down")
    if undone.code == 0:
        assert split("run").code == 0
    assert original("run").code == 0

    assert answer.code == 0, answer.err
    assert "no long block" in " ".join(answer.err.replace("│", " ").split()), answer.err
    assert written == sorted(("1_orders.sql", *pattern.files))
    assert set(map(tuple, blocked.values())) == {()}
    assert read_rows(database_url) == read_rows(second_url)
    ends = [read_schema(url, reorders=pattern.reorders) for url in (second_url, database_url)]
    assert [difference.diff for difference in compare_schemas(*ends)] == []
    assert ("has no down part" in undone.err) == pattern.reorders
    assert ("its columns are in another order" in " ".join(answer.err.split())) == pattern.reorders


def test_each_dangerous_statement_of_a_file_is_split_in_turn(tmp_path, database_url, second_url):
    original = make(tmp_path / "original", second_url, TWO.sql)
    split = make(tmp_path / "split", database_url, TWO.sql)

    answer = split("wizard", "--choose", "2=split", "--choose", "all=run", "--no-apply")
    blocked = run_one_by_one(split)
    assert original("run").code == 0

    words = " ".join(answer.err.replace("│", " ").split())
    assert answer.code == 0, answer.err
    assert answer.err.count("rehearsing again") == 2
    assert "its other parts get their own cards" in words
    assert set(map(tuple, blocked.values())) == {()}
    assert (
        list(compare_schemas(*(read_schema(url, reorders=False) for url in (second_url, database_url)))) == []
    )
    assert read_rows(database_url) == read_rows(second_url)


def test_splitting_all_runs_what_has_no_split(tmp_path, database_url, database):
    project = make(tmp_path / "split", database_url, "CREATE INDEX orders_c ON orders (c);\n")
    project.write("3_notes.sql", "CREATE TABLE notes (id int);\n")

    answer = project("wizard", "--choose", "all=split", "--apply")

    assert answer.code == 0, answer.err
    assert (project.migrations / "2_change.sql").read_text().startswith("-- confiture: no-transaction\n")
    assert applied(database) == ["1", "2", "3"]


def test_a_flag_for_a_split_that_does_not_exist_says_why(tmp_path, database_url, database):
    project = make(tmp_path / "split", database_url, "ALTER TABLE orders RENAME COLUMN note TO remark;\n")
    database.execute("CREATE VIEW notes AS SELECT note FROM orders")

    answer = project("wizard", "--choose", "2=split", "--choose", "all=run", "--apply")

    assert answer.code == 2
    assert "--choose 2=split: there is no split of it" in answer.err
    assert "view notes would have to move to a new column" in " ".join(answer.err.replace("│", " ").split())
    assert applied(database) == ["1"]


def test_a_plan_of_a_split_runs_all_its_files(tmp_path, database_url, database):
    project = make(tmp_path / "split", database_url, PATTERNS["set-not-null"].sql)

    project("wizard", "--choose", "2=split", "--choose", "all=run", "--no-apply")
    plan = json.loads((project.folder / "confiture-plan.json").read_text())
    ran = project("run", "--plan", "confiture-plan.json")

    assert [migration["version"] for migration in plan["migrations"]] == ["2", "2_1"]
    assert ran.code == 0, ran.err
    assert applied(database) == ["1", "2", "2_1"]
