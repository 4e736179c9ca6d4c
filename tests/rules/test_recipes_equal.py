"""What a recipe does is what the statement does: the same catalog and the same rows, in another database."""

from __future__ import annotations

import psycopg
import pytest
from attrs import frozen

from confiture.api import operations
from confiture.models.report import Finding
from confiture.rules.judge_rehearsal import make_judge
from tests.catalog import read_catalog, read_rows
from tests.project import Project
from tests.rules.examples import book, linted, of, rehearsed

pytestmark = pytest.mark.slow

ORDERS = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int, big bigint);"
    "INSERT INTO orders SELECT g, 'n' || g, g, g FROM generate_series(1, 50) g;"
)
ODD = (
    'CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."Odd Table" ("select" int, "Größe" text, "a.b" int);'
    'INSERT INTO "Shop"."Odd Table" SELECT g, g::text, g FROM generate_series(1, 50) g;'
)
CUSTOMER = (
    "CREATE TABLE customer (id bigint PRIMARY KEY); INSERT INTO customer SELECT generate_series(1, 50);"
)
METRIC = (
    "CREATE TABLE metric (id bigint NOT NULL, at date NOT NULL, v int DEFAULT 7 CHECK (v > 0),"
    " twice int GENERATED ALWAYS AS (v * 2) STORED) PARTITION BY RANGE (at);"
    "CREATE TABLE metric_a PARTITION OF metric FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');"
    "CREATE TABLE metric_b PARTITION OF metric FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');"
    "INSERT INTO metric SELECT g, date '2024-01-01' + g, g FROM generate_series(1, 50) g;"
)
DEFAULT = (
    "CREATE TABLE metric_default PARTITION OF metric DEFAULT;"
    "INSERT INTO metric SELECT g, date '2025-01-01' + g, g FROM generate_series(1, 50) g;"
)
BESIDE = (
    "CREATE TABLE metric_c (id bigint NOT NULL, at date NOT NULL,"
    " v int DEFAULT 7 CONSTRAINT metric_v_check CHECK (v > 0),"
    " twice int GENERATED ALWAYS AS (v * 2) STORED);"
    "INSERT INTO metric_c SELECT g, date '2024-03-01' + g % 31, g FROM generate_series(1, 50) g;"
)


# What the comparison does not see, because it sorts the columns, and what does not change the result here.
SAME = ("exists already", "the last column", "UPDATE triggers")


@frozen
class Case:
    """A statement and the schema it is for.

    Attributes:
        differs: Words of what the recipe says about the result, if that differs.
        none: True if there is no recipe for this form.
        since: The first version of PostgreSQL that knows the statement.
    """

    rule: str
    schema: str
    statement: str
    differs: str | None = None
    none: bool = False
    since: int = 14


def volatile(statement: str, schema: str = ORDERS, **more: object) -> Case:
    return Case("add-column-volatile-default", schema, statement, **more)  # type: ignore[arg-type]


CASES = {
    # Columns.
    "volatile": volatile("ALTER TABLE orders ADD COLUMN n double precision DEFAULT random() * 0"),
    "volatile-required": volatile("ALTER TABLE orders ADD n float NOT NULL DEFAULT random() * 0"),
    "volatile-with-others": volatile(
        "ALTER TABLE orders ADD COLUMN n float DEFAULT random() * 0 CHECK (n >= 0),"
        " ADD CONSTRAINT few CHECK (qty < 100), DROP COLUMN big, ALTER COLUMN note SET NOT NULL,"
        " ADD COLUMN plain text DEFAULT 'x', ADD UNIQUE (note) INCLUDE (qty)"
    ),
    "volatile-of-an-unknown-function": volatile(
        "ALTER TABLE orders ADD COLUMN n int DEFAULT seven()",
        f"{ORDERS} CREATE FUNCTION seven() RETURNS int VOLATILE LANGUAGE plpgsql AS 'BEGIN RETURN 7; END';",
    ),
    "volatile-odd": volatile(
        'ALTER TABLE "Shop"."Odd Table" ADD COLUMN "user" float DEFAULT random() * 0 NOT NULL', ODD
    ),
    "volatile-unless-there": volatile(
        "ALTER TABLE orders ADD COLUMN IF NOT EXISTS n float DEFAULT random() * 0", differs="exists already"
    ),
    "volatile-of-partitions": volatile(
        "ALTER TABLE metric ADD COLUMN n float NOT NULL DEFAULT random() * 0", METRIC + DEFAULT
    ),
    "volatile-with-a-trigger": volatile(
        "ALTER TABLE orders ADD COLUMN n float DEFAULT random() * 0",
        f"{ORDERS} CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();",
        differs="UPDATE triggers of orders run",
    ),
    "volatile-named": volatile(
        "ALTER TABLE orders ADD COLUMN n float CONSTRAINT here NOT NULL DEFAULT random() * 0",
        differs="the NOT NULL is not called here",
    ),
    "serial": Case("add-column-serial-identity", ORDERS, "ALTER TABLE orders ADD COLUMN n serial"),
    "serial-unique-odd": Case(
        "add-column-serial-identity", ODD, 'ALTER TABLE "Shop"."Odd Table" ADD "N" bigserial UNIQUE'
    ),
    "serial-key": Case(
        "add-column-serial-identity",
        "CREATE TABLE raw (note text); INSERT INTO raw SELECT g::text FROM generate_series(1, 50) g;",
        "ALTER TABLE raw ADD COLUMN id bigserial PRIMARY KEY",
    ),
    "identity-key": Case(
        "add-column-serial-identity",
        "CREATE TABLE raw (note text); INSERT INTO raw SELECT g::text FROM generate_series(1, 50) g;",
        "ALTER TABLE raw ADD COLUMN id int GENERATED BY DEFAULT AS IDENTITY (START WITH 10 INCREMENT BY 5) PRIMARY KEY",
    ),
    "identity-with-a-named-sequence": Case(
        "add-column-serial-identity",
        ODD,
        'ALTER TABLE "Shop"."Odd Table" ADD n int GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME "Shop"."N s" START 5)',
    ),
    "identity-odd": Case(
        "add-column-serial-identity",
        ODD.replace("Odd Table", "O'dd"),
        """ALTER TABLE "Shop"."O'dd" ADD "i'd" bigint GENERATED ALWAYS AS IDENTITY""",
    ),
    "stored-null": Case(
        "add-column-generated-stored",
        f"{ORDERS} UPDATE orders SET qty = NULL WHERE id % 2 = 0;",
        "ALTER TABLE orders ADD COLUMN twice int GENERATED ALWAYS AS (qty * 2) STORED",
        differs="no generated column",
    ),
    "stored-required": Case(
        "add-column-generated-stored",
        ORDERS,
        "ALTER TABLE orders ADD COLUMN twice int NOT NULL GENERATED ALWAYS AS (orders.qty * 2) STORED",
        differs="no generated column",
    ),
    "domain": Case(
        "add-column-constrained-domain",
        f"{ORDERS} CREATE DOMAIN tag AS text CHECK (VALUE <> 'VALUE') CHECK (length(value) < 9);",
        "ALTER TABLE orders ADD COLUMN label tag",
        differs="has the type text",
    ),
    "domain-over-domain": Case(
        "add-column-constrained-domain",
        f"{ORDERS} CREATE DOMAIN tag AS varchar(9) CHECK (VALUE <> ''); CREATE DOMAIN tags AS tag CHECK (VALUE <> 'x');",
        "ALTER TABLE orders ADD COLUMN label tags",
        differs="has the type character varying(9)",
    ),
    "domain-collated": Case(
        "add-column-constrained-domain",
        f"{ORDERS} CREATE DOMAIN tag AS text COLLATE \"C\" CHECK (VALUE <> '');",
        "ALTER TABLE orders ADD COLUMN label tag",
        none=True,
    ),
    "domain-required": Case(
        "add-column-constrained-domain",
        f"{ORDERS} CREATE DOMAIN tag AS text DEFAULT 'a' CHECK (VALUE <> '');",
        "ALTER TABLE orders ADD COLUMN label tag",
        none=True,
    ),
    # Constraints.
    "check": Case("add-check-validated", ORDERS, "ALTER TABLE orders ADD CHECK (qty > 0)"),
    "check-of-two": Case("add-check-validated", ORDERS, "ALTER TABLE orders ADD CHECK (qty > 0 AND id > 0)"),
    "check-taken": Case(
        "add-check-validated",
        f"{ORDERS} ALTER TABLE orders ADD CHECK (qty < 1000);",
        "ALTER TABLE orders ADD CHECK (qty > 0), ADD CHECK (qty > -1)",
    ),
    "check-no-inherit-odd": Case(
        "add-check-validated", ODD, 'ALTER TABLE "Shop"."Odd Table" ADD CHECK ("select" > 0) NO INHERIT'
    ),
    "check-inline": Case(
        "add-check-validated", ORDERS, "ALTER TABLE orders ADD a int DEFAULT 5 CHECK (a > 1)"
    ),
    "check-of-partitions": Case("add-check-validated", METRIC, "ALTER TABLE metric ADD CHECK (id > 0)"),
    "foreign-key": Case(
        "add-fk-validated",
        ORDERS + CUSTOMER,
        "ALTER TABLE orders ADD FOREIGN KEY (qty) REFERENCES customer ON DELETE CASCADE"
        " DEFERRABLE INITIALLY DEFERRED",
    ),
    "foreign-key-inline": Case(
        "add-fk-validated",
        ORDERS + CUSTOMER,
        "ALTER TABLE orders ADD COLUMN c bigint DEFAULT 1 REFERENCES customer DEFERRABLE INITIALLY DEFERRED",
    ),
    "foreign-key-to-itself": Case(
        "add-fk-validated",
        "CREATE TABLE raw (id int, part_of int); INSERT INTO raw SELECT g, g FROM generate_series(1, 50) g;",
        "ALTER TABLE raw ADD PRIMARY KEY (id), ADD FOREIGN KEY (part_of) REFERENCES raw (id)",
    ),
    "foreign-key-of-partitions": Case(
        "add-fk-validated",
        METRIC + CUSTOMER,
        "ALTER TABLE metric ADD FOREIGN KEY (id) REFERENCES customer",
        none=True,
    ),
    "unique": Case(
        "add-unique-builds-index", ORDERS, "ALTER TABLE orders ADD UNIQUE (note, qty) INCLUDE (big)"
    ),
    "unique-deferrable": Case(
        "add-unique-builds-index",
        ORDERS,
        "ALTER TABLE orders ADD CONSTRAINT u UNIQUE (note) DEFERRABLE INITIALLY DEFERRED",
    ),
    "unique-options": Case(
        "add-unique-builds-index",
        ORDERS,
        "ALTER TABLE orders ADD UNIQUE NULLS NOT DISTINCT (note) WITH (fillfactor = 70) USING INDEX TABLESPACE pg_default",
        since=15,
    ),
    "unique-inline": Case("add-unique-builds-index", ORDERS, "ALTER TABLE orders ADD code text UNIQUE"),
    "unique-odd": Case("add-unique-builds-index", ODD, 'ALTER TABLE "Shop"."Odd Table" ADD UNIQUE ("a.b")'),
    "unique-of-partitions": Case(
        "add-unique-builds-index", METRIC, "ALTER TABLE metric ADD UNIQUE (id, at)", none=True
    ),
    "primary-key": Case(
        "add-pk-builds-index",
        "CREATE TABLE raw (id bigint, at date, note text); INSERT INTO raw SELECT g, '2024-01-01' FROM generate_series(1, 50) g;",
        "ALTER TABLE raw ADD PRIMARY KEY (id, at)",
    ),
    "primary-key-in-place-of-another": Case(
        "add-pk-builds-index",
        "CREATE TABLE raw (id int PRIMARY KEY, b int NOT NULL); INSERT INTO raw SELECT g, g FROM generate_series(1, 50) g;",
        "ALTER TABLE raw DROP CONSTRAINT raw_pkey, ADD PRIMARY KEY (b, id)",
    ),
    "primary-key-of-index": Case(
        "pk-using-nullable-index",
        "CREATE TABLE raw (id bigint, note text); INSERT INTO raw SELECT generate_series(1, 50);"
        "CREATE UNIQUE INDEX raw_id_key ON raw (id);",
        "ALTER TABLE raw ADD CONSTRAINT raw_pkey PRIMARY KEY USING INDEX raw_id_key",
    ),
    "not-null": Case(
        "set-not-null-scan", ORDERS, "ALTER TABLE ONLY orders ALTER note SET NOT NULL, ALTER qty SET NOT NULL"
    ),
    "not-null-constraint": Case(
        "set-not-null-scan", ORDERS, "ALTER TABLE orders ADD NOT NULL note, ADD CHECK (qty > 0)", since=18
    ),
    "not-null-constraint-odd": Case(
        "set-not-null-scan",
        ODD,
        'ALTER TABLE "Shop"."Odd Table" ADD CONSTRAINT "n n" NOT NULL "a.b"',
        since=18,
    ),
    "not-null-of-partitions": Case(
        "set-not-null-scan",
        METRIC,
        "ALTER TABLE IF EXISTS metric ALTER COLUMN v SET NOT NULL",
    ),
    "exclusion": Case(
        "add-exclusion-constraint",
        ORDERS,
        "ALTER TABLE orders ADD EXCLUDE USING btree (note WITH =)",
        none=True,
    ),
    "unique-without-overlaps": Case(
        "add-unique-builds-index",
        "CREATE TABLE stay (r int4range, d daterange); INSERT INTO stay VALUES ('[1,2)', '[2024-01-01,2024-02-01)');",
        "ALTER TABLE stay ADD UNIQUE (r, d WITHOUT OVERLAPS)",
        none=True,
        since=18,
    ),
    # Partitions.
    "attach": Case(
        "attach-partition-scan",
        METRIC + BESIDE,
        "ALTER TABLE metric ATTACH PARTITION metric_c FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')",
    ),
    "attach-beside-default": Case(
        "attach-partition-default-scan",
        METRIC + DEFAULT + BESIDE,
        "ALTER TABLE metric ATTACH PARTITION metric_c FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')",
    ),
    "attach-list-with-null": Case(
        "attach-partition-scan",
        "CREATE TABLE p (k text, v int) PARTITION BY LIST (k); CREATE TABLE p_a (k text, v int);"
        "INSERT INTO p_a SELECT nullif('a', 'a'), g FROM generate_series(1, 50) g;",
        "ALTER TABLE p ATTACH PARTITION p_a FOR VALUES IN ('a', NULL)",
    ),
    "attach-hash": Case(
        "attach-partition-scan",
        "CREATE TABLE p (k int) PARTITION BY HASH (k); CREATE TABLE p_a (k int);"
        "INSERT INTO p_a SELECT generate_series(1, 50);",
        "ALTER TABLE p ATTACH PARTITION p_a FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        none=True,
    ),
    "attach-expression": Case(
        "attach-partition-scan",
        "CREATE TABLE p (k text) PARTITION BY LIST (lower(k)); CREATE TABLE p_a (k text);"
        "INSERT INTO p_a SELECT 'A' FROM generate_series(1, 50);",
        "ALTER TABLE p ATTACH PARTITION p_a FOR VALUES IN ('a')",
        none=True,
    ),
    "create-partition": Case(
        "create-partition-of-locks-parent",
        f"{METRIC} CREATE INDEX ON metric (v);",
        "CREATE TABLE metric_d PARTITION OF metric FOR VALUES FROM ('2024-04-01') TO ('2024-05-01')"
        " WITH (fillfactor = 70)",
    ),
    "create-partitioned-partition": Case(
        "create-partition-of-locks-parent",
        METRIC,
        "CREATE TABLE metric_d PARTITION OF metric FOR VALUES FROM ('2024-04-01') TO (MAXVALUE) PARTITION BY LIST (id)",
    ),
    "create-partition-beside-default": Case(
        "create-partition-of-locks-parent",
        METRIC + DEFAULT,
        "CREATE TABLE metric_d PARTITION OF metric FOR VALUES FROM ('2024-04-01') TO ('2024-05-01')",
    ),
    "detach": Case(
        "detach-partition-not-concurrent",
        METRIC,
        "ALTER TABLE metric DETACH PARTITION metric_a",
        differs="keeps its bounds as a CHECK",
    ),
    "detach-beside-default": Case(
        "detach-partition-not-concurrent",
        METRIC + DEFAULT,
        "ALTER TABLE metric DETACH PARTITION metric_a",
        none=True,
    ),
    "drop-partition": Case("drop-partition-locks-parent", METRIC, "DROP TABLE metric_a"),
    "drop-partition-beside-default": Case(
        "drop-partition-locks-parent", METRIC + DEFAULT, "DROP TABLE metric_a", none=True
    ),
    # Types.
    "type": Case(
        "change-type-rewrite", ORDERS, "ALTER TABLE orders ALTER qty TYPE bigint", differs="the last column"
    ),
    "type-using": Case(
        "change-type-rewrite",
        f"{ORDERS} UPDATE orders SET qty = NULL WHERE id = 3;"
        "ALTER TABLE orders ALTER qty SET DEFAULT 3; COMMENT ON COLUMN orders.qty IS 'how''s many';",
        "ALTER TABLE orders ALTER COLUMN qty TYPE text USING 'q' || orders.qty",
        differs="the last column",
    ),
    "type-of-a-serial-key": Case(
        "change-type-rewrite",
        "CREATE TABLE raw (id serial PRIMARY KEY, a int NOT NULL, CONSTRAINT few CHECK (id < 100 AND a > 0));"
        "CREATE INDEX ON raw (a, (id + 1)) WHERE id > 3; INSERT INTO raw (a) SELECT generate_series(1, 50);",
        "ALTER TABLE raw ALTER COLUMN id TYPE bigint, ADD CHECK (a < 90)",
        differs="the last column",
    ),
    "type-of-two-odd": Case(
        "change-type-rewrite",
        ODD,
        'ALTER TABLE "Shop"."Odd Table" ALTER "select" TYPE bigint, ALTER "a.b" TYPE numeric(9, 2)',
        differs="the last column",
    ),
    "type-below-a-view": Case(
        "change-type-rewrite",
        f"{ORDERS} CREATE TABLE bill (o bigint REFERENCES orders);",
        "ALTER TABLE orders ALTER COLUMN id TYPE int",
        none=True,
    ),
    "type-collation": Case(
        "change-type-index-rebuild",
        f"{ORDERS} CREATE INDEX orders_note_idx ON orders (note);",
        'ALTER TABLE orders ALTER COLUMN note TYPE text COLLATE "C"',
        differs="the last column",
    ),
    "type-recheck": Case(
        "change-type-recheck",
        "CREATE TABLE raw (code varchar(9) CONSTRAINT filled CHECK (code <> ''));"
        "INSERT INTO raw SELECT generate_series(1, 50);",
        "ALTER TABLE raw ALTER COLUMN code TYPE varchar(60)",
    ),
    "type-recheck-not-inherited": Case(
        "change-type-recheck",
        "CREATE TABLE raw (code varchar(9) CONSTRAINT filled CHECK (code <> '') NO INHERIT);"
        "INSERT INTO raw SELECT generate_series(1, 50);",
        "ALTER TABLE raw ALTER COLUMN code TYPE varchar(60)",
    ),
    "type-of-a-domain": Case(
        "change-type-rewrite",
        f"{ORDERS} CREATE DOMAIN tag AS text CHECK (VALUE <> '');",
        "ALTER TABLE orders ALTER qty TYPE tag USING qty::text",
        none=True,
    ),
    # Names.
    "rename": Case(
        "rename-column", ORDERS, "ALTER TABLE orders RENAME note TO remark", differs="the last column"
    ),
    "rename-of-a-serial-key": Case(
        "rename-column",
        "CREATE TABLE raw (id serial PRIMARY KEY, a int NOT NULL UNIQUE DEFERRABLE,"
        " CONSTRAINT few CHECK (id < 100 AND a > 0));"
        "CREATE INDEX ON raw (a, (id + 1)) WHERE id > 3; COMMENT ON COLUMN raw.id IS 'it''s the key';"
        "INSERT INTO raw (a) SELECT generate_series(1, 50);",
        "ALTER TABLE raw RENAME COLUMN id TO raw_id",
        differs="the last column",
    ),
    "rename-odd": Case(
        "rename-column",
        f'{ODD} ALTER TABLE "Shop"."Odd Table" ALTER "Größe" TYPE varchar(20) COLLATE "C",'
        ' ALTER "Größe" SET DEFAULT \'a\', ALTER "Größe" SET NOT NULL;',
        'ALTER TABLE "Shop"."Odd Table" RENAME "Größe" TO "order"',
        differs="the last column",
    ),
    "rename-without-equality": Case(
        "rename-column",
        "CREATE TABLE raw (doc json); INSERT INTO raw SELECT to_json(g) FROM generate_series(1, 50) g;",
        "ALTER TABLE raw RENAME doc TO document",
        differs="the last column",
    ),
    "rename-below-a-view": Case(
        "rename-column",
        f"{ORDERS} CREATE VIEW notes AS SELECT note FROM orders;",
        "ALTER TABLE orders RENAME note TO remark",
        none=True,
    ),
    "rename-of-a-referenced-key": Case(
        "rename-column",
        f"{ORDERS} CREATE TABLE bill (o bigint REFERENCES orders);",
        "ALTER TABLE orders RENAME id TO number",
        none=True,
    ),
    "rename-below-a-generated-column": Case(
        "rename-column",
        f"{ORDERS} ALTER TABLE orders ADD twice int GENERATED ALWAYS AS (qty * 2) STORED;",
        "ALTER TABLE orders RENAME qty TO quantity",
        none=True,
    ),
    "rename-of-a-commented-index": Case(
        "rename-column",
        f"{ORDERS} CREATE INDEX orders_qty ON orders (qty); COMMENT ON INDEX orders_qty IS 'fast';",
        "ALTER TABLE orders RENAME qty TO quantity",
        none=True,
    ),
    "rename-with-a-statistics-setting": Case(
        "rename-column",
        f"{ORDERS} ALTER TABLE orders ALTER qty SET STATISTICS 500;",
        "ALTER TABLE orders RENAME qty TO quantity",
        none=True,
    ),
    "rename-of-a-checked-domain": Case(
        "rename-column",
        "CREATE DOMAIN d AS int CHECK (VALUE > 0); CREATE TABLE raw (q d); INSERT INTO raw SELECT generate_series(1, 50);",
        "ALTER TABLE raw RENAME q TO r",
        none=True,
    ),
    "rename-of-a-view": Case(
        "rename-column",
        f"{ORDERS} CREATE VIEW notes AS SELECT note FROM orders;",
        "ALTER TABLE notes RENAME note TO remark",
        none=True,
    ),
    # Indexes.
    "index-expression": Case(
        "index-not-concurrent", ORDERS, "CREATE INDEX ON orders (lower(note) text_pattern_ops, qty DESC)"
    ),
    "index-partial": Case(
        "index-not-concurrent",
        ORDERS,
        'CREATE UNIQUE INDEX ON orders ((qty + 1), note COLLATE "C") INCLUDE (big) WITH (fillfactor = 70) WHERE qty > 3',
    ),
    "index-repeated": Case(
        "index-not-concurrent", ORDERS, "CREATE INDEX ON orders (coalesce(note, ''), (qty::text), note, note)"
    ),
    "index-taken": Case(
        "index-not-concurrent", f"{ORDERS} CREATE INDEX ON orders (qty);", "CREATE INDEX ON orders (qty)"
    ),
    "index-after-its-drop": Case(
        "drop-index-not-concurrent",
        f"{ORDERS} CREATE INDEX ON orders (qty);",
        "DROP INDEX orders_qty_idx; CREATE INDEX ON orders (qty) WHERE qty > 3",
    ),
    "index-odd": Case("index-not-concurrent", ODD, 'CREATE INDEX ON "Shop"."Odd Table" USING hash ("a.b")'),
    "index-gist": Case(
        "index-not-concurrent",
        "CREATE TABLE area (r int4range); INSERT INTO area SELECT int4range(g, g + 1) FROM generate_series(1, 50) g;",
        "CREATE INDEX IF NOT EXISTS area_r ON area USING gist (r)",
    ),
    "index-after-renames": Case(
        "index-not-concurrent",
        f"CREATE SCHEMA larder; {ORDERS}",
        "ALTER TABLE orders RENAME TO bills; ALTER TABLE bills SET SCHEMA larder;"
        " ALTER SCHEMA larder RENAME TO cellar; CREATE INDEX ON cellar.bills (qty)",
    ),
    "index-of-a-renamed-partition": Case(
        "partitioned-index-recurses",
        METRIC,
        "ALTER TABLE metric_a RENAME TO metric_z; CREATE INDEX ON metric (v)",
    ),
    "index-of-partitions": Case("partitioned-index-recurses", METRIC, "CREATE INDEX ON metric (v)"),
    "index-of-odd-partitions": Case(
        "partitioned-index-recurses",
        f'{METRIC} CREATE SCHEMA "x.y"; CREATE TABLE "x.y"."A.b" PARTITION OF metric'
        " FOR VALUES FROM ('2024-05-01') TO ('2024-07-01') PARTITION BY RANGE (at);"
        """ CREATE TABLE "x.y"."C" PARTITION OF "x.y"."A.b" FOR VALUES FROM ('2024-05-01') TO ('2024-06-01');"""
        "INSERT INTO metric SELECT g, '2024-05-02', g FROM generate_series(1, 50) g;",
        "CREATE UNIQUE INDEX metric_k ON metric (id, at)",
    ),
    "drop-index": Case(
        "drop-index-not-concurrent",
        f"{ORDERS} CREATE INDEX a ON orders (qty); CREATE INDEX b ON orders (big);",
        "DROP INDEX IF EXISTS a, b",
    ),
    "drop-index-cascade": Case(
        "drop-index-not-concurrent",
        f"{ORDERS} CREATE INDEX a ON orders (qty);",
        "DROP INDEX a CASCADE",
        none=True,
    ),
    # Rows, views and domains.
    "update-all": Case(
        "unbounded-dml",
        "CREATE TABLE tally (last int PRIMARY KEY, upto text, a int);"
        "INSERT INTO tally SELECT g, g, g FROM generate_series(-25, 25) g;",
        "UPDATE tally AS t SET a = t.a + 1, upto = '$$;'",
    ),
    "delete-all": Case("unbounded-dml", ORDERS, "DELETE FROM ONLY orders"),
    "update-without-a-key": Case(
        "unbounded-dml", ODD, """UPDATE "Shop"."Odd Table" SET "select" = 0""", none=True
    ),
    "update-returning": Case("unbounded-dml", ORDERS, "UPDATE orders SET qty = 0 RETURNING id", none=True),
    "update-of-the-key": Case("unbounded-dml", ORDERS, "UPDATE orders SET id = -id", none=True),
    "refresh": Case(
        "refresh-matview-not-concurrent",
        f"{ORDERS} CREATE MATERIALIZED VIEW total AS SELECT id FROM orders; CREATE UNIQUE INDEX ON total (id);"
        "INSERT INTO orders VALUES (99);",
        "REFRESH MATERIALIZED VIEW total",
    ),
    "refresh-without-an-index": Case(
        "refresh-matview-not-concurrent",
        f"{ORDERS} CREATE MATERIALIZED VIEW total AS SELECT id FROM orders;",
        "REFRESH MATERIALIZED VIEW total",
        none=True,
    ),
    "domain-named-not-null": Case(
        "domain-constraint-validated",
        "CREATE DOMAIN amount AS int; CREATE TABLE tally (a amount); INSERT INTO tally SELECT generate_series(1, 50);",
        "ALTER DOMAIN amount ADD CONSTRAINT filled NOT NULL",
        differs="for new values only",
        since=17,
    ),
    "domain-check": Case(
        "domain-constraint-validated",
        "CREATE DOMAIN amount AS int; CREATE TABLE tally (a amount); INSERT INTO tally SELECT generate_series(1, 50);",
        "ALTER DOMAIN amount ADD CHECK (VALUE > 0)",
        differs="for new values only",
    ),
    "reindex": Case("reindex-not-concurrent", ORDERS, "REINDEX (VERBOSE) TABLE orders"),
}


# A rehearsal of their recipe takes numbers of a sequence, which a rollback does not give back.
NUMBERED = ("serial", "identity-odd", "identity-with-a-named-sequence")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.none])
def test_a_recipe_does_what_the_statement_does_and_blocks_nobody_for_long(name, project, second_url):
    case = CASES[name]
    finding = find(project, case)
    said = [line for file in finding.files for line in file.sql.splitlines() if "-- differs:" in line]
    other = make_other(project, second_url, case)

    for file in finding.files:
        other.write(file.name, "\n".join((*file.directives, file.sql)))
        report, ran = rehearsed(other), other.run()

        assert ran.outcome == "ok", (file, ran)
        assert [found for found in report.findings if found.severity == "error"] == [], file
        assert [migration.long_blocks for migration in report.migrations] == [()], file

    # The text alone is not judged otherwise, as before a rehearsal or on an empty database.
    assert [found for found in linted(other).findings if found.severity == "error"] == []
    ran = project.run()
    assert ran.outcome == "ok", ran
    assert bool(said) == bool(case.differs), said
    assert all(case.differs in line for line in said if case.differs)
    if name not in NUMBERED:
        assert read_rows(other.url) == read_rows(project.url)
    if not case.differs or any(words in case.differs for words in SAME):
        assert read_catalog(other.url, other.folder) == read_catalog(project.url, project.folder)


@pytest.mark.parametrize("name", NUMBERED)
def test_a_recipe_that_was_not_rehearsed_gives_the_same_numbers(name, project, second_url):
    finding = find(project, CASES[name])
    other = make_other(project, second_url, CASES[name])
    for file in finding.files:
        other.write(file.name, "\n".join((*file.directives, file.sql)))

    assert (project.run().outcome, other.run().outcome) == ("ok", "ok")
    assert read_rows(other.url) == read_rows(project.url)


@pytest.mark.parametrize(
    "name",
    ["check-taken", "index-taken", "primary-key-of-index", "index-of-partitions", "rename-of-a-serial-key"],
)
def test_a_rehearsal_in_a_clone_finds_the_same_recipe(name, project):
    case = CASES[name]
    finding = find(project, case)
    settings = project.settings()

    report = operations.run(settings, dry_run=True, place="clone", judge=make_judge(settings, book()))

    assert of(report, case.rule)[0].files == finding.files


@pytest.mark.parametrize(
    "lacking", ["CREATE INDEX ON metric (v)", "ALTER TABLE metric ADD FOREIGN KEY (v) REFERENCES orders"]
)
def test_a_recipe_of_attach_says_that_the_table_lacks_something_of_its_parent(project, lacking):
    """An index or a foreign key, which ATTACH would still make under its lock."""
    attach = CASES["attach"]

    found = find(project, Case(attach.rule, f"{ORDERS} {attach.schema} {lacking};", attach.statement))
    complete = [line for line in found.files[-1].sql.splitlines() if line.startswith("--")]

    assert complete[0] == (
        "-- first give metric_c the indexes (CONCURRENTLY) and foreign keys of metric that it lacks:"
    )


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.none])
def test_a_form_without_a_safe_way_has_no_recipe(name, project):
    finding = find(project, CASES[name])

    assert (finding.recipe, finding.files) == (None, ())


def find(project: Project, case: Case) -> Finding:
    """Make the schema, write the statement, and return what a rehearsal finds."""
    make(project, case)
    project.write("20260101120000_change.up.sql", f"{case.statement};\n")
    report = rehearsed(project)
    found = of(report, case.rule)
    assert found, (report.outcome, [each.rule for each in report.findings], report.migrations[0].error)
    return found[0]


def make(project: Project, case: Case) -> None:
    with psycopg.connect(project.url, autocommit=True) as conn:
        if conn.info.server_version // 10000 < case.since:
            pytest.skip(f"PostgreSQL {case.since} was the first to know this")
        conn.execute(case.schema.encode())
        conn.execute("ANALYZE")


def make_other(project: Project, url: str, case: Case) -> Project:
    """Return a project with the same schema in the other database."""
    other = Project(project.folder / "other", url)
    other.migrations.mkdir(parents=True)
    make(other, case)
    return other
