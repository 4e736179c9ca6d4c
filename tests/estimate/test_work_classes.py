"""Classes of statements, by what a real rehearsal saw them do."""

import pytest
from attrs import evolve

from confiture.estimate.statement_estimate import RehearsedStatement, predict
from confiture.estimate.statistics import ColumnStatistics
from confiture.estimate.work_classes import classify
from tests.estimate.production import (
    build_index_statement,
    build_statement,
    build_statistics,
    build_table,
    export_quickly,
)
from tests.project import Project


@pytest.mark.parametrize(
    ("sql", "work", "relations"),
    [
        ("ALTER TABLE orders ADD more text", "catalog", ()),
        ("ALTER TABLE orders ADD CHECK (id > 0)", "scan", ("public.orders",)),
        ("ALTER TABLE orders ALTER customer TYPE bigint", "rewrite", ("public.orders",)),
        ("CREATE INDEX by_note ON orders (note)", "index", ("public.orders",)),
        ("UPDATE customers SET email = 'y'", "dml", ("public.customers",)),
        ("INSERT INTO customers VALUES (1000, 'z')", "dml", ()),
        ("CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM orders", "matview", ("public.orders",)),
        ("SELECT * INTO copied FROM orders", "matview", ("public.orders",)),
        ("DO $$ BEGIN PERFORM 1; END $$", None, ()),
    ],
)
def test_a_rehearsed_statement_is_classed_by_what_it_did(shop, settings, sql, work, relations):
    project = Project(settings.root, settings.url)
    project.write("1_one.sql", sql)

    (migration,) = project.rehearse().migrations
    statement_class = classify(migration.statements[0])

    assert (statement_class.work_class, statement_class.relations) == (work, relations)


def test_a_real_rehearsal_predicts_a_larger_database(database, settings):
    database.execute("CREATE TABLE orders (id int, note text)")
    database.execute("INSERT INTO orders SELECT i, repeat('x', 100) FROM generate_series(1, 60000) i")
    database.execute("ANALYZE")
    small = export_quickly(settings)
    project = Project(settings.root, settings.url)
    project.write("1_one.sql", "UPDATE orders SET note = note || 'y'")

    (migration,) = project.rehearse().migrations
    database.execute("INSERT INTO orders SELECT * FROM orders")
    database.execute("VACUUM FULL ANALYZE orders")
    # The same machine, whatever else it does at this moment.
    large = evolve(export_quickly(settings), probe=small.probe)
    estimate = predict([RehearsedStatement(small, migration.statements)], large).estimate

    assert estimate.known
    assert estimate.p50_ms is not None
    assert estimate.p50_ms > migration.statements[0].work_ms
    assert estimate.scales_with == "the rows of public.orders"


@pytest.mark.parametrize(
    ("collation", "work"), [("C", "index"), ("en_US.UTF-8", "text index"), (None, "text index")]
)
def test_an_index_on_texts_has_its_own_class_where_a_language_sorts_them(collation, work):
    columns = (
        ColumnStatistics("id", "integer", 4, -1.0, 0.0),
        ColumnStatistics("note", "text", 20, -1.0, 0.0),
    )
    here = build_statistics(build_table(100_000, columns=columns))
    settings = {**here.settings, **({"lc_collate": collation} if collation else {})}
    statement = build_index_statement()

    classed = classify(
        evolve(statement, sql="CREATE INDEX ON orders (id, note)"), evolve(here, settings=settings)
    )
    number = classify(statement, evolve(here, settings=settings))

    assert classed.work_class == work
    assert number.work_class == "index"


def test_the_check_of_a_foreign_key_is_no_scan():
    scans = ("public.orders", "public.customers")
    key = build_statement("ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers", scans=scans)
    valid = build_statement("ALTER TABLE orders VALIDATE CONSTRAINT orders_customer_fkey", scans=scans)
    check = build_statement("ALTER TABLE orders VALIDATE CONSTRAINT fair", scans=(scans[0],))

    assert [classify(ran).work_class for ran in (key, valid, check)] == ["foreign key", "foreign key", "scan"]
