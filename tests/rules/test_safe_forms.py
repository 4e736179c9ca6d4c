"""What blocks nobody for long is not warned of: lint is believed only as long as it does not cry wolf."""

from __future__ import annotations

import pytest

from confiture.rules.lint import lint
from tests.rules.examples import write

SAFE = (
    "ALTER TABLE orders ADD COLUMN code text;",
    "ALTER TABLE orders ADD COLUMN seen timestamptz DEFAULT now();",
    "ALTER TABLE orders ADD COLUMN written_by bigint DEFAULT txid_current();",
    "ALTER TABLE orders ADD COLUMN owner int NOT NULL DEFAULT 0;",
    "ALTER TABLE orders ADD COLUMN doc jsonb DEFAULT jsonb_build_object();",
    "ALTER TABLE orders ADD COLUMN twice int GENERATED ALWAYS AS (qty * 2) VIRTUAL;",
    "ALTER TABLE orders ADD CONSTRAINT positive CHECK (qty > 0) NOT VALID;",
    "ALTER TABLE orders VALIDATE CONSTRAINT positive;",
    "ALTER TABLE orders ADD FOREIGN KEY (qty) REFERENCES customer (id) NOT VALID;",
    "ALTER TABLE orders ADD CONSTRAINT orders_key UNIQUE USING INDEX orders_ux;",
    "ALTER TABLE orders ALTER COLUMN qty SET DEFAULT 5;",
    "ALTER TABLE orders ALTER COLUMN qty SET STATISTICS 500;",
    "ALTER TABLE orders DROP CONSTRAINT positive;",
    "ALTER INDEX orders_qty_idx RENAME TO orders_qty;",
    "CREATE INDEX metric_v ON ONLY metric (v);",
    "CREATE TABLE fresh (id bigint PRIMARY KEY, note text); CREATE INDEX fresh_note ON fresh (note);",
    "CREATE TABLE fresh (id bigint); ALTER TABLE fresh ADD PRIMARY KEY (id);",
    "CREATE TABLE fresh (id bigint); ALTER TABLE fresh RENAME TO newer; CREATE INDEX newer_id ON newer (id);",
    "CREATE TABLE fresh AS SELECT 1 AS id; ALTER TABLE public.fresh ADD UNIQUE (id);",
    "CREATE TABLE fresh (id bigint); DROP TABLE fresh;",
    "CREATE MATERIALIZED VIEW total AS SELECT 1 AS id; CREATE UNIQUE INDEX total_id ON total (id);",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY total;",
    "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY orders_qty ON orders (qty);",
    "-- confiture: no-transaction\nDROP INDEX CONCURRENTLY orders_qty;",
    "-- confiture: no-transaction\nREINDEX TABLE CONCURRENTLY orders;",
    "-- confiture: no-transaction\nVACUUM (ANALYZE) orders;",
    "-- confiture: no-transaction\nALTER TABLE metric DETACH PARTITION metric_a CONCURRENTLY;",
    "LOCK TABLE orders IN ROW EXCLUSIVE MODE;",
    "ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY all_of ON orders USING (true);",
    "ALTER DOMAIN amount ADD CONSTRAINT positive CHECK (VALUE > 0) NOT VALID;",
    "ALTER TYPE mood ADD VALUE 'mid';",
    "COMMENT ON TABLE orders IS 'ALTER TABLE orders SET UNLOGGED';",
    "UPDATE orders SET qty = 1 WHERE id = 1;",
    "INSERT INTO orders (id, qty) VALUES (1, 2);",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';",
    "SET LOCAL lock_timeout = '2s'; ALTER TABLE orders ADD COLUMN code text;",
)


@pytest.mark.parametrize("sql", SAFE)
def test_nothing_is_said_of_what_is_safe(sql, files):
    write(files, sql)

    report = lint(files.settings())

    assert [(finding.rule, finding.message) for finding in report.findings] == []
    assert report.exit_code == 0


def test_a_table_of_the_same_name_in_another_schema_is_not_the_new_one(files):
    write(files, "CREATE TABLE app.orders (id bigint);\nCREATE INDEX i ON orders (id);")

    report = lint(files.settings())

    assert [(finding.rule, finding.line) for finding in report.findings] == [("index-not-concurrent", 2)]


def test_a_table_of_an_earlier_file_may_be_there_for_long(files):
    """Without a server nobody knows which files are applied."""
    write(files, "CREATE TABLE orders (id bigint);", "CREATE INDEX i ON orders (id);")

    report = lint(files.settings())

    assert [(finding.rule, finding.migration) for finding in report.findings] == [
        ("index-not-concurrent", "2")
    ]
