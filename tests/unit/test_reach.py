"""What a statement's text proves about the relations that it can reach."""

from __future__ import annotations

import pytest

from confiture.sql.reach import Reach
from confiture.sql.statement_kind import classify_statement

_PROVEN = {
    "CREATE TABLE jam (id bigint PRIMARY KEY, at timestamptz DEFAULT now())": Reach(
        creates=("", "jam"), creates_table=True
    ),
    "CREATE TABLE s.jam (a int REFERENCES t.tea (id), b int REFERENCES milk, FOREIGN KEY (a) REFERENCES s.jam)": (
        Reach((("t", "tea"), ("", "milk")), creates=("s", "jam"), creates_table=True)
    ),
    "CREATE INDEX ON jam (lower(fruit)) WHERE id > 3": Reach((("", "jam"),), reads=True),
    "ALTER TABLE jam ADD COLUMN a int DEFAULT 1, ADD b text REFERENCES tea": Reach(
        (("", "jam"), ("", "tea")), reads=True
    ),
    "ALTER TABLE jam ADD a timestamptz DEFAULT now()": Reach((("", "jam"),), reads=True),
    "ALTER TABLE jam ALTER a SET NOT NULL": Reach((("", "jam"),), reads=True),
    "CREATE TRIGGER t BEFORE INSERT ON jam FOR EACH ROW EXECUTE FUNCTION f()": Reach((("", "jam"),)),
    "CREATE VIEW v AS SELECT f(id) FROM jam": Reach(creates=("", "v")),
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'": Reach(),
    "COMMENT ON COLUMN jam.id IS 'x'": Reach(),
    "CREATE TYPE mood AS ENUM ('good')": Reach(),
    "CREATE SCHEMA cellar": Reach(),
    "INSERT INTO jam SELECT upper(t.a) FROM tea t ON CONFLICT (id) DO UPDATE SET id = 1": Reach(
        (("", "jam"), ("", "tea")),
        reads=True,
        events=frozenset({"INSERT", "UPDATE"}),
        names=frozenset({"upper", "t", "a"}),
    ),
    "DELETE FROM s.jam USING tea WHERE EXISTS (SELECT FROM milk)": Reach(
        (("s", "jam"), ("", "tea"), ("", "milk")), reads=True, events=frozenset({"DELETE"})
    ),
}
_NOT_PROVEN = (
    "CREATE TABLE IF NOT EXISTS jam (id int)",
    "CREATE TEMP TABLE jam (id int)",
    "CREATE TABLE pg_temp.jam (id int)",
    "CREATE TABLE jam (LIKE tea)",
    "CREATE TABLE jam () INHERITS (tea)",
    "CREATE TABLE jam PARTITION OF tea DEFAULT",
    "CREATE TABLE jam OF tea_type",
    "CREATE TABLE jam AS SELECT 1",
    "CREATE TABLE jam (id int CHECK (mine(id)))",
    "CREATE TABLE jam (id int GENERATED ALWAYS AS (mine(1)) STORED)",
    "CREATE INDEX CONCURRENTLY ON jam (id)",
    "CREATE INDEX IF NOT EXISTS i ON jam (id)",
    "CREATE INDEX ON ONLY jam (id)",
    "CREATE INDEX ON jam (mine(id))",
    "CREATE INDEX ON jam (id) WHERE a::label = 'x'",
    "ALTER TABLE IF EXISTS jam ADD a int",
    "ALTER TABLE ONLY jam ADD a int",
    "ALTER TABLE jam ADD COLUMN IF NOT EXISTS a int",
    "ALTER TABLE jam ADD a label",
    "ALTER TABLE jam ADD a text DEFAULT 'x'::label",
    "ALTER TABLE jam ADD a int DEFAULT mine()",
    "ALTER TABLE jam ADD a serial",
    "ALTER TABLE jam ADD a int UNIQUE",
    "ALTER TABLE jam ADD CHECK (a > 0)",
    "ALTER TABLE jam ADD a int, DROP b",
    "ALTER TABLE jam ATTACH PARTITION tea DEFAULT",
    "ALTER TABLE jam OWNER TO x",
    "ALTER INDEX jam SET (fillfactor = 70)",
    "CREATE OR REPLACE VIEW v AS SELECT 1",
    "CREATE TEMP VIEW v AS SELECT 1",
    "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON jam FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS 'return 1'",
    "CREATE SCHEMA cellar CREATE TABLE jam (id int)",
    "COMMENT ON TABLE jam IS 'x'; DROP TABLE jam",
    "INSERT INTO jam VALUES (mine())",
    "INSERT INTO jam VALUES ('x'::label)",
    "INSERT INTO jam WITH w AS (SELECT 1) SELECT * FROM w",
    "INSERT INTO jam SELECT * FROM (WITH w AS (DELETE FROM tea RETURNING id) SELECT * FROM w) AS x",
    "UPDATE jam SET a = 1 RETURNING a",
    "UPDATE jam SET a = pg_catalog.query_to_xml('SELECT 1', true, false, '')",
    "DELETE FROM jam WHERE CURRENT OF c",
    "CREATE FUNCTION length(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DO 'BEGIN END'",
    "no SQL",
)


@pytest.mark.parametrize("sql", _PROVEN)
def test_a_listed_form_reaches_what_it_names_and_no_more(sql: str) -> None:
    assert classify_statement(sql).reach == _PROVEN[sql]


@pytest.mark.parametrize("sql", _NOT_PROVEN)
def test_of_any_other_form_nothing_is_proven(sql: str) -> None:
    assert classify_statement(sql).reach is None
