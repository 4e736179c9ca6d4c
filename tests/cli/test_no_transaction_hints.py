"""What fails only because it is in a transaction says how to run it outside of one."""

from __future__ import annotations

import pytest

from tests.project import Project, applied, tables

DIRECTIVE = "-- confiture: no-transaction"
PROCEDURE = (
    "CREATE PROCEDURE boil() LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE jam (i int); COMMIT; END $$;"
    "CREATE FUNCTION commit_it() RETURNS int LANGUAGE plpgsql AS $$ BEGIN COMMIT; RETURN 1; END $$;"
    "CREATE TABLE log (i int) PARTITION BY RANGE (i); CREATE INDEX log_i ON log (i);"
)
BATCHES = """\
DO $$
BEGIN
  FOR i IN 1..3 LOOP
    INSERT INTO log VALUES (i); -- commit each
    COMMIT;
  END LOOP;
END $$;
"""


@pytest.mark.parametrize("command", ["run", "dry-run", "plan"])
@pytest.mark.parametrize(
    "text, place, words",
    [
        (f"SELECT 1;\n{BATCHES}", "6:5", "DO with COMMIT"),
        ("DO 'BEGIN rollback; END'", "1:11", "DO with ROLLBACK"),
        ("DO $$ BEGIN IF true THEN COMMIT AND CHAIN; END IF; END $$", "1:26", "DO with COMMIT"),
    ],
)
def test_a_block_that_commits_is_refused_in_a_transaction_before_anything_runs(
    project: Project, database, command, text, place, words
):
    project.write("1_a.sql", text)

    answer = project(command)

    assert answer.code == 4
    assert f"migrations/1_a.sql:{place}: {words} cannot run inside a transaction" in answer.err
    assert DIRECTIVE in answer.err
    assert tables(database) == []


@pytest.mark.parametrize(
    "block",
    [
        "DO $$ BEGIN RAISE NOTICE 'commit'; END $$",
        "DO $$ BEGIN -- COMMIT;\n NULL; END $$",
        "DO $$ BEGIN BEGIN COMMIT; EXCEPTION WHEN OTHERS THEN NULL; END; END $$",
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'",
    ],
)
def test_a_block_that_does_not_commit_runs_in_a_transaction(project: Project, database, block):
    project.write("1_a.sql", block)

    assert project("run").code == 0

    assert applied(database) == ["1"]


def test_a_block_that_commits_runs_outside_a_transaction(project: Project, database):
    database.execute("CREATE TABLE log (i int)")
    project.write("1_a.sql", f"{DIRECTIVE}\n{BATCHES}")

    assert project("run").code == 0

    assert database.execute("SELECT count(*) FROM log").fetchone() == (3,)


@pytest.mark.parametrize(
    "sql, sqlstate",
    [
        ("CALL boil()", "2D000"),
        ("DO $$ BEGIN CALL boil(); END $$", "2D000"),
        ("REINDEX INDEX log_i", "25001"),
    ],
)
def test_what_only_the_server_knows_to_commit_gets_the_same_hint(project: Project, database, sql, sqlstate):
    database.execute(PROCEDURE)
    project.write("1_a.sql", sql)

    answer = project("run")

    assert answer.code == 4
    assert f"SQLSTATE {sqlstate}" in answer.err
    assert DIRECTIVE in answer.err
    assert applied(database) == []


def test_its_hint_works(project: Project, database):
    database.execute(PROCEDURE)
    project.write("1_a.sql", f"{DIRECTIVE}\nCALL boil();\nREINDEX INDEX log_i;\n")

    assert project("run").code == 0

    assert applied(database) == ["1"]
    assert "public.jam" in tables(database)


@pytest.mark.parametrize(
    "sql", ["CALL boil()", "CREATE INDEX CONCURRENTLY ON other (i)", "DO $$ BEGIN COMMIT; END $$", "VACUUM"]
)
def test_a_python_migration_is_told_its_own_way(project: Project, database, sql):
    database.execute(f"{PROCEDURE} CREATE TABLE other (i int)")
    source = (
        "from confiture.models.migration import Migration\n\n\n"
        f"class A(Migration):\n    def up(self):\n        self.execute('{sql}')\n"
    )
    project.write("1_a.py", source)

    answer = project("run")

    assert answer.code == 4
    assert "at migrations/1_a.py:6" in answer.err
    assert "transactional = False" in answer.err


@pytest.mark.parametrize("head", ["", f"{DIRECTIVE}\n"])
def test_a_function_that_commits_fails_anywhere_and_gets_no_such_hint(project: Project, database, head):
    database.execute(PROCEDURE)
    project.write("1_a.sql", f"{head}SELECT commit_it()")

    answer = project("run")

    assert answer.code == 4
    assert "SQLSTATE 2D000" in answer.err
    assert "no-transaction" not in answer.err


REFUSED = [
    "ALTER SYSTEM SET work_mem = '5MB'",
    "CREATE DATABASE other",
    "DROP DATABASE IF EXISTS other",
    "DISCARD ALL",
    "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p",
    "ALTER SUBSCRIPTION s REFRESH PUBLICATION",
    "CREATE TABLESPACE far LOCATION '/far'",
    "DROP TABLESPACE far",
    "ALTER DATABASE other SET TABLESPACE far",
    "CLUSTER",
    "REINDEX SCHEMA public",
    "VACUUM jam",
    "CREATE INDEX CONCURRENTLY i ON jam (i)",
    "DROP INDEX CONCURRENTLY i",
    "ALTER TABLE log DETACH PARTITION log_1 CONCURRENTLY",
    "DO $$ BEGIN COMMIT; END $$",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_lint_finds_all_that_a_run_refuses_in_a_transaction(project: Project, database, sql):
    project.write("1_a.sql", f"SELECT 1;\n{sql};\n")

    ran, linted = project("run"), project("lint", "--output", "json")

    assert ran.code == 4
    assert "cannot run inside a transaction" in ran.err
    assert linted.code == 1
    (found,) = [item for item in linted.json["findings"] if item["rule"] == "concurrently-in-transaction"]
    assert (found["severity"], found["line"]) == ("error", 2)
    assert DIRECTIVE in found["recipe"]


@pytest.mark.parametrize("sql", REFUSED)
def test_lint_finds_the_same_in_a_python_migration(project: Project, sql):
    source = (
        "from confiture.models.migration import Migration\n\n\nclass A(Migration):\n{attribute}"
        f"    def up(self):\n        self.execute({sql!r})\n"
    )
    project.write("1_a.py", source.format(attribute=""))
    project.write("2_b.py", source.format(attribute="    transactional = False\n\n"))

    findings = project("lint", "--output", "json").json["findings"]

    found = [item for item in findings if item["rule"] == "concurrently-in-transaction"]
    assert [item["file"] for item in found] == ["migrations/1_a.py"]


COMMITS = "CREATE PROCEDURE boil({}) LANGUAGE plpgsql AS $$ BEGIN {}; END $$;\n"


@pytest.mark.parametrize(
    "before, call, finds",
    [
        (COMMITS.format("", "COMMIT"), "CALL boil();", True),
        (COMMITS.format("i int", "ROLLBACK"), "CALL public.boil(1);", True),
        (COMMITS.format("", "NULL"), "CALL boil();", False),
        (COMMITS.format("", "COMMIT"), "CALL stir();", False),
        (COMMITS.format("", "COMMIT") + COMMITS.format("i int", "NULL"), "CALL boil(1);", False),
        (
            COMMITS.format("", "COMMIT") + COMMITS.format("", "NULL").replace("CREATE", "CREATE OR REPLACE"),
            "CALL boil();",
            False,
        ),
        (COMMITS.format("", "COMMIT"), f"{DIRECTIVE}\nCALL boil();", False),
    ],
)
def test_lint_follows_a_call_to_a_procedure_of_the_folder(folder: Project, before, call, finds):
    folder.write("1_boil.sql", before)
    folder.write("2_call.sql", f"{call}\n")
    folder.write("3_later.sql", COMMITS.format("i int", "COMMIT").replace("CREATE", "CREATE OR REPLACE"))

    answer = folder("lint")

    assert answer.code == int(finds)
    assert ("CALL of a procedure with" in answer.out) == finds
