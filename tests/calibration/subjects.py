"""The tables that timings are taken of, and the migrations that are timed."""

from __future__ import annotations

from typing import LiteralString

from attrs import frozen


@frozen
class TimedCase:
    """One migration of one statement.

    Attributes:
        work_class: The class of its work, as ``confiture.estimate.work_classes`` names it.
    """

    name: str
    work_class: str
    sql: LiteralString


@frozen
class Subject:
    """Tables and the migrations of them.

    Attributes:
        name: Its name on the command line, and that of the table whose size decides.
        tables: Creates the tables.
        rows: Fills them with ``{rows}`` rows.
        after: Keys, indexes and statistics, once the rows are there.
    """

    name: str
    tables: tuple[LiteralString, ...]
    rows: str
    after: tuple[LiteralString, ...]
    cases: tuple[TimedCase, ...]


READINGS = Subject(
    "readings",
    (
        "CREATE TABLE meters (id int PRIMARY KEY, place text)",
        "CREATE TABLE readings (id bigint, meter int, at timestamptz, value double precision, price numeric,"
        " state text, remark text)",
        "CREATE TABLE archived (id bigint, meter int, value double precision)",
        "INSERT INTO meters SELECT i, 'place ' || i FROM generate_series(0, 999) i",
    ),
    """
    INSERT INTO readings SELECT i, abs(hashint8(i)::bigint) % 1000,
        '2026-01-01'::timestamptz + (abs(hashint8(i + 1)::bigint) % 20000000) * interval '1 s',
        abs(hashint8(i + 2)::bigint) % 100000 / 7.0, (i % 9999) / 100.0,
        (ARRAY['new', 'checked', 'billed'])[1 + abs(hashint8(i + 3)::bigint) % 3],
        repeat(md5(i::text), 3)
    FROM generate_series(1, {rows}::bigint) i
    """,
    (
        "ALTER TABLE readings ADD PRIMARY KEY (id)",
        "CREATE INDEX ON readings (meter)",
        "ALTER TABLE readings ADD CONSTRAINT fair CHECK (price >= 0) NOT VALID",
        "VACUUM (FREEZE, ANALYZE) readings, meters",
    ),
    (
        TimedCase("null_column", "catalog", "ALTER TABLE readings ADD checked_by text"),
        TimedCase("default_column", "catalog", "ALTER TABLE readings ALTER state SET DEFAULT 'new'"),
        TimedCase("rename_column", "catalog", "ALTER TABLE readings RENAME remark TO remarks"),
        TimedCase("not_null", "scan", "ALTER TABLE readings ALTER value SET NOT NULL"),
        TimedCase("check_text", "scan", "ALTER TABLE readings ADD CHECK (length(state) < 20)"),
        TimedCase("validate_check", "scan", "ALTER TABLE readings VALIDATE CONSTRAINT fair"),
        TimedCase(
            "foreign_key", "foreign key", "ALTER TABLE readings ADD FOREIGN KEY (meter) REFERENCES meters"
        ),
        TimedCase("index_time", "index", "CREATE INDEX ON readings (at)"),
        TimedCase("index_number", "index", "CREATE INDEX ON readings (value, meter)"),
        TimedCase("index_text", "index", "CREATE INDEX ON readings (upper(remark))"),
        TimedCase("index_part", "index", "CREATE INDEX ON readings (at) WHERE state = 'new'"),
        TimedCase("index_hash", "index", "CREATE INDEX ON readings USING hash (meter)"),
        TimedCase("key_wider", "rewrite", "ALTER TABLE readings ALTER meter TYPE bigint"),
        TimedCase("price_scale", "rewrite", "ALTER TABLE readings ALTER price TYPE numeric(14, 4)"),
        TimedCase(
            "drawn_column", "rewrite", "ALTER TABLE readings ADD drawn double precision DEFAULT random()"
        ),
        TimedCase("set_unlogged", "rewrite", "ALTER TABLE readings SET UNLOGGED"),
        TimedCase("update_every", "dml", "UPDATE readings SET state = upper(state)"),
        TimedCase("update_indexed", "dml", "UPDATE readings SET meter = meter + 1000"),
        TimedCase("update_tenth", "dml", "UPDATE readings SET value = 0 WHERE meter % 10 = 3"),
        TimedCase("delete_seventh", "dml", "DELETE FROM readings WHERE meter % 7 = 1"),
        TimedCase(
            "insert_third",
            "dml",
            "INSERT INTO archived SELECT id, meter, value FROM readings WHERE state = 'new'",
        ),
        TimedCase(
            "matview_days",
            "matview",
            "CREATE MATERIALIZED VIEW days AS SELECT at::date, count(*), sum(price) FROM readings GROUP BY 1",
        ),
    ),
)

CUSTOMERS = Subject(
    "customers",
    (
        "CREATE TABLE customers (id uuid, number int, email text, name text, street text,"
        " city text, zip text, born date, joined timestamptz, score real, balance numeric, active boolean,"
        " tags jsonb, words tsvector, referrer int, a1 int, a2 int, a3 int, a4 text, a5 text, a6 timestamptz)",
        "CREATE TABLE referrers (number int PRIMARY KEY, name text)",
        "CREATE TABLE inactive (id uuid, email text)",
    ),
    """
    INSERT INTO referrers SELECT i, 'referrer ' || i FROM generate_series(1, {rows} / 2) i;
    INSERT INTO customers SELECT
        md5(i::text)::uuid, i, md5(i::text) || '@example.org', initcap(md5((i + 1)::text)),
        'street ' || i % 5000, 'city ' || i % 300, lpad((i % 99999)::text, 5, '0'),
        '1950-01-01'::date + (i % 20000)::int, '2020-01-01'::timestamptz + i * interval '7 s',
        abs(hashint8(i)::bigint) % 1000 / 10.0, (i % 99999) / 100.0, i % 3 > 0,
        jsonb_build_object('plan', i % 5, 'source', md5((i % 1000)::text)),
        to_tsvector('simple', 'w' || i % 1000 || ' w' || i % 333 || ' w' || i),
        1 + abs(hashint8(i + 2)::bigint) % ({rows} / 2), i, i % 7, i % 1000, repeat('x', 60),
        md5((i + 4)::text), '2021-01-01'::timestamptz + i * interval '11 s'
    FROM generate_series(1, {rows}::bigint) i
    """,
    (
        "ALTER TABLE customers ADD PRIMARY KEY (id)",
        "CREATE INDEX by_number ON customers (number)",
        "CREATE INDEX ON customers (email)",
        "ALTER TABLE customers ADD CONSTRAINT referred FOREIGN KEY (referrer) REFERENCES referrers NOT VALID",
        "VACUUM (FREEZE, ANALYZE) customers, referrers",
    ),
    (
        TimedCase("wide_null_column", "catalog", "ALTER TABLE customers ADD phone text"),
        TimedCase(
            "wide_constant_column", "catalog", "ALTER TABLE customers ADD level int NOT NULL DEFAULT 1"
        ),
        TimedCase("wide_drop_column", "catalog", "ALTER TABLE customers DROP COLUMN a4"),
        TimedCase("wide_not_null", "scan", "ALTER TABLE customers ALTER email SET NOT NULL"),
        TimedCase("wide_check", "scan", "ALTER TABLE customers ADD CHECK (score >= 0 AND balance >= 0)"),
        TimedCase("wide_validate_key", "foreign key", "ALTER TABLE customers VALIDATE CONSTRAINT referred"),
        TimedCase(
            "wide_add_key",
            "foreign key",
            "ALTER TABLE customers ADD FOREIGN KEY (a1) REFERENCES referrers NOT DEFERRABLE NOT VALID,"
            " ADD FOREIGN KEY (referrer) REFERENCES referrers",
        ),
        TimedCase("wide_index_born", "index", "CREATE INDEX ON customers (born)"),
        TimedCase("wide_index_pair", "index", "CREATE UNIQUE INDEX ON customers (a3, number)"),
        TimedCase("wide_index_email", "index", "CREATE INDEX ON customers (lower(email))"),
        TimedCase("wide_index_name", "index", "CREATE INDEX ON customers (name)"),
        TimedCase("wide_index_city", "index", "CREATE INDEX ON customers (city, street)"),
        TimedCase("wide_gin_words", "index", "CREATE INDEX ON customers USING gin (words)"),
        TimedCase("wide_brin", "index", "CREATE INDEX ON customers USING brin (joined)"),
        TimedCase("wide_reindex", "index", "REINDEX INDEX by_number"),
        TimedCase("wide_cluster", "cluster", "CLUSTER customers USING by_number"),
        TimedCase("wide_widen", "rewrite", "ALTER TABLE customers ALTER a1 TYPE bigint"),
        TimedCase("wide_uuid", "rewrite", "ALTER TABLE customers ADD token uuid DEFAULT gen_random_uuid()"),
        TimedCase("wide_update_all", "dml", "UPDATE customers SET score = score + 1"),
        TimedCase("wide_update_some", "dml", "UPDATE customers SET active = false WHERE a2 = 3"),
        TimedCase("wide_delete", "dml", "DELETE FROM customers WHERE a3 < 100"),
        TimedCase(
            "wide_insert", "dml", "INSERT INTO inactive SELECT id, email FROM customers WHERE NOT active"
        ),
        TimedCase(
            "wide_matview",
            "matview",
            "CREATE MATERIALIZED VIEW cities AS SELECT city, count(*), avg(balance) FROM customers GROUP BY 1",
        ),
        TimedCase(
            "wide_table_as", "matview", "CREATE TABLE actives AS SELECT id, email FROM customers WHERE active"
        ),
    ),
)
SUBJECTS = {subject.name: subject for subject in (READINGS, CUSTOMERS)}
