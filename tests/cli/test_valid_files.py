"""What PostgreSQL and psql take is taken: comments in odd places, files without a statement, BEGIN and COMMIT."""

from __future__ import annotations

import pytest

from tests.project import Project, applied

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
