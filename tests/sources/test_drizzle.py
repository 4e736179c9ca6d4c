"""Drizzle's folder and ledger are taken over as they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import psycopg
import pytest

from tests.project import Project, applied, exists, tables
from tests.tools import build_node_url, find_node_packages, find_tool, run_tool
from tests.tools.schema import describe_schema

LEDGER = """
    CREATE SCHEMA drizzle;
    CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint)
"""
SCRIPTS = {
    "0000_jams": 'CREATE TABLE "jams" (\n\t"id" serial PRIMARY KEY NOT NULL,\n\t"fruit" text\n);\n',
    # As people write them by hand: neither statement has a semicolon.
    "0001_index": 'CREATE INDEX "jams_fruit" ON "jams" ("fruit")\n--> statement-breakpoint\nCREATE VIEW "v" AS SELECT 1',
    "0002_function": "CREATE FUNCTION stir() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$;--> statement-breakpoint\n"
    'ALTER TABLE "jams" ADD COLUMN "sugar" int;--> statement-breakpoint\n'
    'ALTER TABLE "jams" ADD COLUMN "pectin" int;\nCREATE INDEX "jams_sugar" ON "jams" ("sugar");',
    "0003_empty": "-- Custom SQL migration file, put your code below! --",
}


def write(
    project: Project, scripts: dict[str, str], *, times: dict[str, int] | None = None, **journal: str
) -> None:
    """Write these migrations and the journal that drizzle-kit would write, a second between two."""
    (project.migrations / "meta").mkdir(parents=True, exist_ok=True)
    for tag, script in scripts.items():
        project.write(f"{tag}.sql", script.encode())
    entries = [
        {
            "idx": place,
            "version": "7",
            "when": (times or {}).get(tag, 1000 * (place + 1)),
            "tag": tag,
            "breakpoints": True,
        }
        for place, tag in enumerate(scripts)
    ]
    whole = {"version": "7", "dialect": "postgresql", "entries": entries, **journal}
    project.write("meta/_journal.json", json.dumps(whole, indent=2))


def record(database, script: str, when: int) -> None:
    """Write one row of Drizzle's ledger."""
    database.execute(
        "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES (%s, %s)",
        (hashlib.sha256(script.encode()).hexdigest(), when),
    )


@pytest.fixture
def half_applied(project, database):
    """A project with four migrations, of which Drizzle has applied the first."""
    write(project, SCRIPTS)
    database.execute(SCRIPTS["0000_jams"])
    database.execute(LEDGER)
    record(database, SCRIPTS["0000_jams"], 1000)
    return project


def migrate(folder: Path, conninfo: str) -> None:
    """Let Drizzle apply what it finds to be pending."""
    script = Path(__file__).parents[1] / "tools" / "drizzle.cjs"
    packages = find_node_packages()
    run_tool(
        find_tool("node"),
        str(script),
        str(packages),
        str(folder),
        folder=folder,
        url=build_node_url(conninfo),
    )


def read_ledger(database) -> list[tuple[str, int]]:
    """Return the rows of Drizzle's ledger."""
    return database.execute(
        "SELECT hash, created_at FROM drizzle.__drizzle_migrations ORDER BY id"
    ).fetchall()


@pytest.mark.slow
def test_drizzle_and_confiture_make_the_same_schema_and_go_on_from_each_other(
    project, database, database_url, alone
):
    write(project, dict(list(SCRIPTS.items())[:2]))
    migrate(project.migrations, database_url)
    write(project, SCRIPTS)
    migrate(project.migrations, alone)

    adopted = project("adopt", "--mirror")
    run = project("run")

    assert "ledger drizzle.__drizzle_migrations" in adopted.out
    assert run.code == 0, run.err
    with psycopg.connect(alone) as other:
        assert describe_schema(database) == describe_schema(other)
        assert read_ledger(database) == read_ledger(other)
    # Drizzle would fail if it found anything to do, and here it goes on.
    write(project, {**SCRIPTS, "0004_more": "CREATE TABLE more (id int);"})
    migrate(project.migrations, database_url)
    assert exists(database, "more")
    assert project("run").code == 7
    assert project("adopt").code == 0
    assert applied(database) == [*SCRIPTS, "0004_more"]


def test_adopt_records_what_drizzle_applied_and_run_goes_on(half_applied, database):
    answer = half_applied("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of Drizzle, as meta/_journal.json shows" in answer.out
    run = half_applied("run")
    assert run.code == 0, run.err
    assert applied(database) == list(SCRIPTS)
    assert len(read_ledger(database)) == 1


def test_with_mirror_the_ledger_of_drizzle_follows(half_applied, database):
    half_applied("adopt", "--mirror")
    half_applied("run")

    assert read_ledger(database) == [
        (hashlib.sha256(script.encode()).hexdigest(), 1000 * place)
        for place, script in enumerate(SCRIPTS.values(), 1)
    ]


def test_the_order_is_that_of_the_journal(project, database):
    write(project, {"0001_first": "CREATE TABLE a ();", "0000_second": "CREATE TABLE b AS TABLE a;"})
    project("adopt")

    assert project("run").code == 0
    assert [line.split()[1] for line in project("status").out.splitlines()[:2]] == [
        "0001_first",
        "0000_second",
    ]


def test_what_stands_before_the_first_row_is_applied_to_drizzle_and_is_named(half_applied, database):
    """Databases that were there before Drizzle get one row only, that of the newest migration."""
    database.execute("TRUNCATE drizzle.__drizzle_migrations")
    record(database, SCRIPTS["0002_function"], 3000)

    answer = half_applied("adopt", "--output", "json")

    assert [step["outcome"] for step in answer.json["migrations"]] == ["recorded"] * 3 + ["pending"]
    assert answer.json["notes"] == ["without a row, but applied to Drizzle: 0000_jams, 0001_index"]


def test_a_migration_that_was_merged_late_is_named_and_left_to_the_user(half_applied, database):
    """Drizzle passes over it for ever, as its time is before that of the last row."""
    record(database, SCRIPTS["0002_function"], 3000)

    answer = half_applied("adopt", "--output", "json")
    refused = half_applied("run")
    run = half_applied("run", "--allow-out-of-order")

    assert [step["outcome"] for step in answer.json["migrations"]] == [
        "recorded",
        "pending",
        "recorded",
        "pending",
    ]
    assert answer.json["notes"] == [
        "older than its last row, so Drizzle passes over it; pending here: 0001_index"
    ]
    assert refused.code == 7
    assert run.code == 0, run.err
    assert exists(database, "v")


def test_a_changed_script_is_refused(half_applied, database):
    half_applied.write("0000_jams.sql", "CREATE TABLE marmalades (id int);")

    answer = half_applied("adopt")

    assert answer.code == 7
    assert "changed since it was applied: 0000_jams" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_line_ends_are_no_change(half_applied):
    half_applied.write("0000_jams.sql", SCRIPTS["0000_jams"].replace("\n", "\r\n").encode())

    assert half_applied("adopt").code == 0


def test_a_journal_that_was_written_again_is_matched_by_the_hashes(half_applied, database):
    write(half_applied, SCRIPTS, times={"0000_jams": 1234})

    answer = half_applied("adopt", "--output", "json")

    assert [step["outcome"] for step in answer.json["migrations"]] == ["recorded"] + ["pending"] * 3


def test_a_row_of_no_file_is_refused(half_applied, database):
    record(database, "SELECT 'gone'", 1500)

    answer = half_applied("adopt")

    assert answer.code == 7
    assert "applied, but its file is missing: the row of created_at 1500" in answer.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"entries": [\n<<<<<<< HEAD\n]}', "_journal.json:2"),
        ('{"version": "7"}', "has no list of entries"),
        ('{"entries": [{"tag": "0000_jams"}]}', "entry 0 of _journal.json has no tag or no time"),
        ('{"dialect": "sqlite", "entries": []}', "the dialect is 'sqlite', and not 'postgresql'"),
        ('{"entries": [{"tag": "0009_x", "when": 1}]}', "there is no 0009_x.sql"),
    ],
)
def test_a_journal_that_cannot_be_followed_is_refused(half_applied, text, words):
    half_applied.write("meta/_journal.json", text)

    answer = half_applied("adopt", "--from", "drizzle")

    assert answer.code == 4
    assert words in answer.err


def test_a_folder_without_a_journal_is_refused(project):
    project.write("0000_jams.sql", SCRIPTS["0000_jams"])

    answer = project("adopt", "--from", "drizzle")

    assert answer.code == 2
    assert "there is no meta/_journal.json" in answer.err


def test_files_that_the_journal_does_not_name_are_passed_over(half_applied):
    for name in ("0009_loose.sql", "schema.ts", "meta/0000_snapshot.json"):
        half_applied.write(name, "nonsense")

    assert half_applied("adopt").code == 0
    assert half_applied("run").code == 0


def test_a_fault_names_the_line_of_the_file(project):
    write(project, {"0000_jams": "CREATE TABLE a ()\n--> statement-breakpoint\nCREATE TABLEAU b;"})
    project("adopt")

    answer = project("run")

    assert answer.code == 4
    assert "0000_jams.sql:3:8" in answer.err


def test_drizzle_knows_no_way_back(half_applied):
    half_applied("adopt")
    half_applied("run")

    answer = half_applied("down", "--steps", "2")

    assert answer.code == 4
    assert "a new migration that undoes it" in answer.err
