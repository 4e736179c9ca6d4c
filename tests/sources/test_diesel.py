"""diesel's folder and ledger are taken over as they are."""

from __future__ import annotations

import pytest

from tests.project import Project, applied, exists, tables

pytestmark = pytest.mark.slow

LEDGER = """
    CREATE TABLE __diesel_schema_migrations (
        version varchar(50) PRIMARY KEY NOT NULL,
        run_on timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
    )
"""


def write(project: Project, name: str, up: str | bytes, down: str | None = None, **others: str) -> None:
    """Write the folder of one migration; ``others`` are further files, a ``_`` for each dot."""
    (project.migrations / name).mkdir(parents=True)
    project.write(f"{name}/up.sql", up)
    if down is not None:
        project.write(f"{name}/down.sql", down)
    for file, text in others.items():
        project.write(f"{name}/{file.replace('_', '.')}", text)


@pytest.fixture
def half_applied(project, database):
    """A project with two migrations, of which diesel has applied the first."""
    write(project, "2026-01-01-000000_jams", "CREATE TABLE jams (id int);", "DROP TABLE jams;")
    write(project, "2026-01-02-000000_fruits", "CREATE TABLE fruits (id int);", "DROP TABLE fruits;")
    database.execute("CREATE TABLE jams (id int)")
    database.execute(LEDGER)
    database.execute("INSERT INTO __diesel_schema_migrations VALUES ('20260101000000', '2026-01-05 10:00')")
    return project


def read_ledger(database) -> list[str]:
    """Return the versions in diesel's ledger."""
    return [
        version
        for (version,) in database.execute("SELECT version FROM __diesel_schema_migrations ORDER BY 1")
    ]


def test_adopt_records_what_diesel_applied_and_run_goes_on(half_applied, database):
    answer = half_applied("adopt")

    assert answer.code == 0, answer.err
    assert "of diesel, as 2026-01-01-000000_jams/up.sql shows" in answer.out
    assert half_applied("run").code == 0
    assert applied(database) == ["20260101000000", "20260102000000"]
    assert half_applied("down", "--to", "20260101000000").code == 0
    assert not exists(database, "fruits")
    assert exists(database, "jams")


def test_the_time_of_the_ledger_is_kept(half_applied, database):
    half_applied("adopt")

    ((kept,),) = database.execute(
        "SELECT l.applied_at = d.run_on::timestamptz FROM confiture.ledger l"
        " JOIN __diesel_schema_migrations d USING (version)"
    )
    assert kept


def test_without_mirror_the_ledger_of_diesel_stays_as_it_is(half_applied, database):
    half_applied("adopt")
    half_applied("run")

    assert read_ledger(database) == ["20260101000000"]


def test_with_mirror_the_ledger_of_diesel_follows(half_applied, database):
    half_applied("adopt", "--mirror")
    half_applied("run")
    after_run = read_ledger(database)
    half_applied("down", "--steps", "2")

    assert after_run == ["20260101000000", "20260102000000"]
    assert read_ledger(database) == []


def test_versions_sort_as_text_without_their_dashes(project, database):
    """Real histories mix 8, 14 and 18 digits; number by number the shortest would come first."""
    write(project, "2017-08-31-230457_second", "CREATE TABLE b AS SELECT * FROM a;")
    write(project, "20170804200817_first", "CREATE TABLE a (id int);")
    write(project, "20180101_third", "CREATE TABLE c AS SELECT * FROM b;")
    write(project, "201701010000000000_earliest", "CREATE TABLE z (id int);")
    write(project, "00000000000000_diesel_initial_setup", "CREATE SCHEMA setup;")

    answer = project("adopt", "--from", "diesel", "--output", "json")

    assert [step["version"] for step in answer.json["migrations"]] == [
        "00000000000000",
        "201701010000000000",
        "20170804200817",
        "20170831230457",
        "20180101",
    ]
    run = project("run")
    assert run.code == 0, run.err
    assert exists(database, "c")


def test_versions_that_differ_in_zeros_only_are_two_versions(project, database):
    """A server with migrations of its own keeps the command line out with one zero more than diesel's setup."""
    write(project, "00000000000000_diesel_initial_setup", "CREATE SCHEMA setup;", "DROP SCHEMA setup;")
    write(project, "000000000000000_forbid_diesel_cli", "SELECT 1;", "SELECT 1;")
    database.execute("CREATE SCHEMA setup")
    database.execute(LEDGER)
    database.execute("INSERT INTO __diesel_schema_migrations VALUES ('00000000000000')")

    adopted = project("adopt", "--mirror", "--output", "json")
    run = project("run")
    after_run = read_ledger(database)
    down = project("down")

    assert [step["outcome"] for step in adopted.json["migrations"]] == ["recorded", "pending"]
    assert run.code == 0, run.err
    assert applied(database) == ["00000000000000"]
    assert after_run == ["00000000000000", "000000000000000"]
    assert down.code == 0
    assert read_ledger(database) == ["00000000000000"]


def test_a_folder_without_an_underscore_is_all_version(project, database):
    write(project, "2026-01-01-000000", "CREATE TABLE jams (id int);")
    write(project, "initial", "CREATE TABLE fruits (id int);", "DROP TABLE fruits;")
    project("adopt", "--from", "diesel")

    assert project("run").code == 0
    assert project("down").code == 0
    assert applied(database) == ["20260101000000"]


def test_files_without_a_statement_do_and_undo_nothing(project, database):
    write(project, "1_empty", "", "")
    write(project, "2_remark", "-- Your SQL goes here\r\n", "-- This file should undo anything in `up.sql`\n")
    write(project, "3_blank", "\n  \n", "/* nothing */")
    project("adopt", "--from", "diesel")

    up = project("run")
    down = project("down", "--steps", "3")

    assert up.code == 0, up.err
    assert down.code == 0, down.err
    assert applied(database) == []


def test_other_files_and_folders_are_passed_over(project, database):
    write(project, "1_jams", "CREATE TABLE jams (id int);", README_md="jam", down_sql_bak="DROP")
    write(project, ".hidden", "nonsense")
    (project.migrations / "2_notes").mkdir()
    for name in (".keep", ".gitkeep", ".diesel_lock", "3_loose.sql", "2_notes/readme.txt"):
        project.write(name, "nonsense")
    project("adopt", "--from", "diesel")

    answer = project("run")

    assert answer.code == 0, answer.err
    assert applied(database) == ["1"]


def test_a_migration_outside_a_transaction_says_so_in_its_metadata(project, database):
    index = (
        "CREATE INDEX CONCURRENTLY jams_id ON jams (id);\nCREATE INDEX CONCURRENTLY jams_id2 ON jams (id);"
    )
    drop = "DROP INDEX CONCURRENTLY jams_id;\nDROP INDEX CONCURRENTLY jams_id2;"
    write(project, "1_jams", "CREATE TABLE jams (id int);", metadata_toml="run_in_transaction = true\n")
    write(project, "2_index", index, drop, metadata_toml="run_in_transaction = false\n")
    project("adopt", "--from", "diesel")

    up = project("run")
    made = exists(database, "jams_id2")
    down = project("down")

    assert up.code == 0, up.err
    assert made
    assert down.code == 0, down.err
    assert not exists(database, "jams_id2")


def test_metadata_without_the_word_means_no_transaction_as_diesel_reads_it(project):
    write(project, "1_jams", "CREATE TABLE jams (id int);", metadata_toml="")
    write(project, "2_index", "CREATE INDEX CONCURRENTLY jams_id ON jams (id);", metadata_toml="note = 'x'")
    project("adopt", "--from", "diesel")

    answer = project("run")

    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("metadata", "words"),
    [("run_in_transaction: false", "is not TOML"), ("run_in_transaction = 'no'", "not true or false")],
)
def test_metadata_that_cannot_be_read_is_refused_with_its_file(project, metadata, words):
    write(project, "1_jams", "CREATE TABLE jams (id int);", metadata_toml=metadata)

    answer = project("adopt", "--from", "diesel")

    assert answer.code == 4
    assert "1_jams/metadata.toml" in answer.err
    assert words in answer.err


def test_a_transaction_by_itself_is_passed_over_and_functions_stay_whole(project, database):
    write(
        project,
        "1_jams",
        "BEGIN;\r\nCREATE TABLE jams (id int, fruit text DEFAULT 'groseille à maquereau');\r\n"
        "CREATE FUNCTION stir() RETURNS trigger LANGUAGE plpgsql AS $$\r\nBEGIN\r\n"
        "  NEW.id := 1; -- ; and\r\n  RETURN NEW;\r\nEND;\r\n$$;\r\n"
        "CREATE TRIGGER stir BEFORE INSERT ON jams FOR EACH ROW EXECUTE FUNCTION stir();\r\nCOMMIT;\r\n",
        "BEGIN;\nDROP TABLE jams;\nDROP FUNCTION stir;\nEND;\n",
    )
    project("adopt", "--from", "diesel")

    up = project("run")
    database.execute("INSERT INTO jams (id) VALUES (7)")
    stirred = database.execute("SELECT id, fruit FROM jams").fetchall()
    down = project("down")

    assert up.code == 0, up.err
    assert stirred == [(1, "groseille à maquereau")]
    assert down.code == 0, down.err
    assert "public.jams" not in tables(database)


def test_several_transactions_in_one_file_are_passed_over_and_named(project, database):
    write(
        project,
        "1_jams",
        "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\nSTART TRANSACTION;\nCREATE TABLE b ();\nEND;\n",
    )
    project("adopt", "--from", "diesel")

    answer = project("run")

    assert answer.code == 0, answer.err
    assert (
        "BEGIN in line 1, COMMIT in line 3, START TRANSACTION in line 4 and END in line 6 of 1_jams/up.sql"
        in (answer.out)
    )
    assert exists(database, "a")
    assert exists(database, "b")


def test_a_transaction_next_to_what_cannot_be_in_one_is_passed_over(project, database):
    text = "BEGIN;\nCREATE TABLE jams (id int);\nCOMMIT;\nCREATE INDEX CONCURRENTLY jams_id ON jams (id);\n"
    write(project, "1_jams", text, metadata_toml="run_in_transaction = false")
    project("adopt", "--from", "diesel")

    answer = project("run")

    assert answer.code == 0, answer.err
    assert exists(database, "jams_id")


def test_a_transaction_that_is_not_closed_is_refused_with_its_line(project, database):
    write(project, "1_jams", "CREATE TABLE jams (id int);\nCOMMIT;\nCREATE TABLE fruits (id int);\n")
    project("adopt", "--from", "diesel")

    answer = project("run")

    assert answer.code == 4
    assert "1_jams/up.sql:2:1: COMMIT in a migration" in answer.err
    assert not exists(database, "jams")


def test_a_missing_down_file_cannot_be_undone_and_the_hint_names_it(project, database):
    write(project, "1_jams", "CREATE TABLE jams (id int);")
    project("adopt", "--from", "diesel")
    project("run")

    answer = project("down")

    assert answer.code == 4
    assert "hint: write 1_jams/down.sql" in answer.err
    assert exists(database, "jams")


def test_a_folder_without_up_is_refused_as_diesel_refuses_it(project):
    write(project, "1_jams", "CREATE TABLE jams (id int);")
    (project.migrations / "2_lost").mkdir()
    project.write("2_lost/down.sql", "")

    answer = project("adopt", "--from", "diesel")

    assert answer.code == 4
    assert "2_lost has no up.sql" in answer.err


def test_two_folders_of_one_version_are_refused(project):
    write(project, "2026-01-01-000000_jams", "")
    write(project, "20260101000000_fruits", "")

    answer = project("adopt", "--from", "diesel")

    assert answer.code == 4
    assert "version 20260101000000 is used 2 times: 2026-01-01-000000_jams/up.sql and" in answer.err


def test_a_fault_names_the_file_and_the_line(project):
    write(project, "1_jams", "CREATE TABLE jams (id int);\n\nCREATE TABLEAU x;\n")
    project("adopt", "--from", "diesel")

    answer = project("run")

    assert answer.code == 4
    assert "1_jams/up.sql:3" in answer.err


def test_an_applied_migration_without_its_folder_is_refused(half_applied, database):
    database.execute("INSERT INTO __diesel_schema_migrations VALUES ('20250101000000')")

    answer = half_applied("adopt")

    assert answer.code == 7
    assert "applied, but its file is missing: 20250101000000" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_run_names_the_way_for_a_folder_that_was_not_adopted(project):
    write(project, "2026-01-01-000000_jams", "CREATE TABLE jams (id int);")

    answer = project("run")

    assert answer.code == 2
    assert "hint: confiture adopt --from diesel" in answer.err


def test_a_recipe_of_several_migrations_names_folders(project):
    project.configure('source = "diesel"\n')
    write(
        project,
        "2026-01-02-000000_jams",
        "ALTER TABLE jams ADD COLUMN sugar int;\nCREATE INDEX jams_sugar ON jams (sugar);\n",
    )

    answer = project("lint")

    assert "-- file: up.sql" in answer.out
    assert "-- file: 2026-01-02-000001_jams_build_index/up.sql" in answer.out
