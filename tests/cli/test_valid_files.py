"""What PostgreSQL and psql take is taken: comments in odd places, files without a statement, BEGIN and COMMIT."""

from __future__ import annotations

import pytest

from tests.project import Project, applied, tables

pytestmark = pytest.mark.slow

COMMENTED = [
    "CREATE TABLE u (x timestamp with /* UTC */ time zone)",
    "CREATE TABLE u (x time without -- é: no zone\n  time zone)",
    "SELECT 1 FROM t WHERE i not /* é */ in (1, 2)",
    "SELECT 1 FROM t WHERE i not -- so\n between 1 and 2",
    "SELECT 1 FROM t WHERE 'a' not /* a /* nested */ one */ similar to 'b'",
    "SELECT 1 FROM t WHERE 'a' not /* */ ilike 'b'",
    "SELECT i FROM t ORDER BY i nulls /* */ first",
    "CREATE INDEX ON t (i nulls -- as before\n last)",
    "SELECT * FROM generate_series(1, 2) with /* */ ordinality",
    "INSERT INTO t SELECT length('a' -- the first piece\n  -- and\n 'b')",
    "SELECT U&'d!0061t' /* */ uescape '!'",
    "SELECT i AS U&\"d!0061t\" -- c\n uescape '!' FROM t",
    "DO $$ BEGIN IF 1 not /* é */ in (2) THEN INSERT INTO t VALUES (3); END IF; END $$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 WHERE 1 not /* */ in (2); END",
]


@pytest.mark.parametrize("sql", COMMENTED)
def test_a_comment_between_words_that_belong_together_is_no_syntax_error(project: Project, database, sql):
    """The server takes the same text, which is sent as it is written."""
    database.execute("CREATE TABLE t (i int)")
    database.execute(f"BEGIN; {sql}; ROLLBACK")
    project.write("1_a.sql", f"{sql};\nINSERT INTO t VALUES (7);\n")

    linted, rehearsed, ran = project("lint"), project("dry-run"), project("run", "--output", "json")

    assert linted.code in (0, 1), linted
    assert rehearsed.code in (0, 1), rehearsed
    assert ran.code == 0, ran
    assert [item["line"] for item in ran.json["migrations"][0]["statements"]] == [1, sql.count("\n") + 2]
    assert database.execute("SELECT count(*) FROM t WHERE i = 7").fetchone() == (1,)


def test_an_error_behind_such_a_comment_is_shown_where_it_is(project: Project, database):
    project.write("1_a.sql", "SELECT 1 WHERE 1 not /* é */ in (2);\n/* ☃ */ SELECT 1 FROM t u v;\n")

    answer = project("run")

    assert answer.code == 4
    assert 'migrations/1_a.sql:2:27: syntax error at or near "v"' in answer.err
    assert "2 | /* ☃ */ SELECT 1 FROM t u v;" in answer.err


def test_the_server_counts_through_such_a_comment_as_we_do(project: Project, database):
    project.write("1_a.sql", "SELECT 1 WHERE 1 not /* é\n */ in (nosuch);\n")

    answer = project("run")

    assert answer.code == 4
    assert "at migrations/1_a.sql:2:9" in answer.err
    assert applied(database) == []


NOTHING = ["", "\n \n", "-- only a comment\n", "/* the same */ ;;\n", "-- confiture: no-transaction\n"]


@pytest.mark.parametrize("text", NOTHING)
def test_a_file_without_a_statement_is_a_migration_that_does_nothing(project: Project, database, text):
    """Up and down, in every command."""
    project.write("1_a.up.sql", text)
    project.write("1_a.down.sql", text)
    project.write("2_b.sql", "CREATE TABLE b (i int)")

    for command in ("status", "plan", "lint", "dry-run"):
        assert project(command).code in (0, 1 if command == "lint" else 0), project(command)
    ran = project("run", "--output", "json")

    assert ran.code == 0
    assert [item["outcome"] for item in ran.json["migrations"]] == ["applied", "applied"]
    assert ran.json["migrations"][0]["statements"] == []
    assert project("verify").code == 0
    assert [item["state"] for item in project("status", "--output", "json").json["migrations"]] == [
        "applied",
        "applied",
    ]


@pytest.mark.parametrize("text", NOTHING)
def test_an_empty_down_file_undoes_nothing_and_is_no_missing_one(project: Project, database, text):
    project.write("1_a.up.sql", "CREATE TABLE a (i int)")
    project.write("1_a.down.sql", text)
    assert project("run").code == 0

    answer = project("down")

    assert answer.code == 0, answer
    assert "without a statement, does nothing: 1_a.down.sql" in answer.out
    assert applied(database) == []
    assert "public.a" in tables(database)


def test_an_empty_file_can_be_redone_and_baselined(project: Project, database):
    project.write("1_a.up.sql", "")
    project.write("1_a.down.sql", "")

    assert project("baseline", "1").code == 0
    assert project("redo").code == 0

    assert applied(database) == ["1"]


def test_many_empty_files_are_one_note(project: Project, database):
    for number in range(1, 6):
        project.write(f"{number}_a.sql", "")

    answer = project("run")

    assert "without a statement, do nothing: 1_a.sql, 2_a.sql, 3_a.sql and 2 more" in answer.out


WRAPPED = "-- once for psql\nBEGIN;\nCREATE TABLE a (i int);\nINSERT INTO a VALUES (1);\nCOMMIT;\n-- end\n"


def test_begin_and_commit_around_a_file_are_passed_over_with_a_note(project: Project, database):
    project.write("1_a.up.sql", WRAPPED)
    project.write("1_a.down.sql", "START TRANSACTION;\nDROP TABLE a;\nEND;\n")

    linted, rehearsed, ran = project("lint"), project("dry-run"), project("run", "--output", "json")
    undone = project("down")

    assert "transaction-control" not in linted.out
    assert rehearsed.code == 0, rehearsed
    assert "passed over BEGIN in line 2 and COMMIT in line 5 of 1_a.up.sql" in rehearsed.out
    assert ran.code == 0
    assert [item["line"] for item in ran.json["migrations"][0]["statements"]] == [3, 4]
    assert undone.code == 0
    assert "passed over START TRANSACTION in line 1 and END in line 3 of 1_a.down.sql" in undone.out


def test_a_wrapped_file_that_fails_is_rolled_back_whole(project: Project, database):
    project.write("1_a.sql", WRAPPED.replace("VALUES (1)", "VALUES ('x')"))

    answer = project("run")

    assert answer.code == 4
    assert "at migrations/1_a.sql:4:" in answer.err
    assert "public.a" not in tables(database)
    assert applied(database) == []


@pytest.mark.parametrize(
    "text",
    [b"SELECT 'caf\xe9';\n", b"SELECT '\0';\n", b"SELEC 1;\n", b"\\connect other\n", b"BEGIN;\nSELECT 1;\n"],
)
def test_a_faulty_file_that_is_baselined_never_blocks(project: Project, database, text):
    project.write("1_old.sql", text)
    project.write("2_new.sql", "CREATE TABLE new (i int)")
    assert project("run").code == 4
    assert tables(database) == []

    assert project("baseline", "1").code == 0

    for command in ("status", "plan", "dry-run", "run", "verify", "history"):
        answer = project(command)
        assert answer.code == 0, answer
    assert applied(database) == ["1", "2"]


def test_a_faulty_python_file_that_is_baselined_never_blocks(project: Project, database):
    project.write("1_old.py", "import nosuch\n")
    project.write("2_new.sql", "CREATE TABLE new (i int)")
    assert project("baseline", "1").code == 0

    assert project("run").code == 0

    assert applied(database) == ["1", "2"]
