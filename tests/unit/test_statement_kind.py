"""The parser decides what kind of statement a text is, whatever stands around its first word."""

from __future__ import annotations

import pytest

from confiture.sql.statement_kind import adds_enum_value, classify_statement, reads_transaction_time


@pytest.mark.parametrize(
    "sql, verb",
    [
        ("/* a /* nested */ comment */ TRUNCATE jam", "TRUNCATE"),
        ("-- DROP TABLE jam\nINSERT INTO jam VALUES (1)", "INSERT"),
        ("(SELECT 1)", "SELECT"),
        ("VALUES (1)", "VALUES"),
        ("ANALYZE jam", "ANALYZE"),
        ("VACUUM ANALYZE jam", "VACUUM"),
        ("INSERT INTO jam VALUES (%s, %(name)s)", "INSERT"),
        ("not SQL", ""),
    ],
)
def test_the_verb_is_the_statements_own(sql, verb):
    assert classify_statement(sql).verb == verb


@pytest.mark.parametrize(
    "sql, changes",
    [
        ("WITH gone AS (DELETE FROM jam RETURNING *) SELECT * FROM gone", True),
        ("WITH jam AS (SELECT 1) INSERT INTO jar SELECT * FROM jam", True),
        ("WITH jam AS (SELECT 1) SELECT * FROM jam", False),
        ("MERGE INTO jam USING jar ON true WHEN MATCHED THEN DELETE", True),
        ("DO $$ BEGIN DELETE FROM jam; END $$", False),
    ],
)
def test_a_with_clause_may_change_rows(sql, changes):
    assert classify_statement(sql).changes_rows == changes


@pytest.mark.parametrize(
    "sql, may",
    [
        ("CREATE TABLE jam (id int)", False),
        ("CREATE TABLE jam AS SELECT stir()", True),
        ("ALTER TABLE jam ADD id int", False),
        ("SET search_path = larder", False),
        ("SELECT stir()", True),
        ("not SQL", True),
        ("LOCK jam; SELECT stir()", True),
    ],
)
def test_only_a_statement_known_to_run_no_function_is_left_out(sql, may):
    assert classify_statement(sql).may_run_functions == may


@pytest.mark.parametrize(
    "sql, concurrent",
    [
        ("CREATE INDEX CONCURRENTLY ON jam (id)", True),
        ("REINDEX (CONCURRENTLY) TABLE jam", True),
        ("DROP INDEX CONCURRENTLY jam_id", True),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY jam", True),
        ("ALTER TABLE jam DETACH PARTITION jar CONCURRENTLY", True),
        ("CREATE INDEX concurrently_built ON jam (id)", False),
        ("COMMENT ON TABLE jam IS 'built CONCURRENTLY'", False),
    ],
)
def test_concurrently_is_the_keyword_only(sql, concurrent):
    assert classify_statement(sql).concurrent == concurrent


@pytest.mark.parametrize(
    "sql, reads",
    [
        ("INSERT INTO jam VALUES (1), (2)", False),
        ("INSERT INTO jam VALUES ('SELECT')", False),
        ("INSERT INTO jam DEFAULT VALUES", False),
        ("INSERT INTO jam SELECT * FROM jar", True),
        ("INSERT INTO jam VALUES ((SELECT 1))", True),
        ("INSERT INTO jam VALUES (1) ON CONFLICT DO NOTHING", True),
        ("COPY jam FROM STDIN", False),
    ],
)
def test_an_insert_of_values_reads_no_rows(sql, reads):
    assert classify_statement(sql).reads_rows == reads


def test_an_added_enum_value_is_the_value_not_a_word_of_the_text():
    assert adds_enum_value("SELECT 1; ALTER TYPE kind ADD VALUE 'fig'", "fig")
    assert not adds_enum_value("ALTER TYPE kind ADD VALUE 'figs'", "fig")
    assert not adds_enum_value("ALTER TYPE kind RENAME VALUE 'plum' TO 'fig'", "fig")
    assert not adds_enum_value("SELECT 'ADD VALUE fig'", "fig")


@pytest.mark.parametrize(
    "sql, reads",
    [
        ("SELECT now()", True),
        ("UPDATE jam SET at = CURRENT_TIMESTAMP", True),
        ("INSERT INTO jam VALUES (localtime)", True),
        ("DO $$ BEGIN UPDATE jam SET at = now(); END $$", True),
        ("SELECT 'now()' -- current_date", False),
        ("SELECT clock_timestamp(), current_user", False),
    ],
)
def test_the_transactions_time_is_a_call_not_a_word(sql, reads):
    assert reads_transaction_time(sql) == reads
