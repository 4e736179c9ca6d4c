"""``stats export``: what production looks like, without a row of it."""

import json
import threading
from importlib.resources import files

import jsonschema
import psycopg
import pytest

from confiture.config.settings import Settings
from confiture.estimate.export import replace_constants
from confiture.estimate.statistics import to_json
from confiture.exceptions import LockFault
from tests.estimate.production import export_quickly

pytestmark = pytest.mark.slow

SCHEMA = json.loads(files("confiture.estimate").joinpath("stats.schema.json").read_text())


def test_the_file_keeps_to_its_published_schema(document):
    jsonschema.validate(document, SCHEMA)


def test_sizes_and_shapes_are_those_of_the_catalog(statistics, shop):
    orders = statistics.relations["public.orders"]
    pages = shop.execute("SELECT pg_relation_size('orders') / 8192").fetchone()[0]

    assert (orders.rows, orders.pages, orders.kind) == (5000, pages, "table")
    assert {index.name for index in orders.indexes} == {"orders_pkey", "by_customer", "open_ones"}
    assert [column.name for column in orders.columns] == ["id", "customer", "note", "at"]
    assert [column.null_share for column in orders.columns] == [0, 0, 1, 0]
    assert orders.columns[1].distinct == 100


def test_a_trigger_is_there_and_those_of_foreign_keys_are_not(statistics):
    (trigger,) = statistics.relations["public.orders"].triggers

    assert (trigger.name, set(trigger.events), trigger.per_row) == ("each_order", {"insert", "update"}, True)


def test_partitions_add_up(statistics):
    assert statistics.relations["public.events_old"].parent == "public.events"
    assert statistics.count_rows("public.events") == 200
    assert len(statistics.find_leaves("public.events")) == 2


def test_names_are_quoted_where_postgresql_would(statistics):
    assert 'public."Odd Table"' in statistics.relations


def test_a_table_that_was_never_analysed_has_no_rows_known(database, settings):
    database.execute("CREATE TABLE fresh (a int)")

    fresh = export_quickly(settings).relations["public.fresh"]

    assert fresh.rows is None
    assert fresh.columns[0].width_bytes is None


def test_memory_is_in_bytes_and_time_in_milliseconds(statistics, shop):
    size = shop.execute("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))").fetchone()[0]

    assert statistics.settings["maintenance_work_mem"] == size
    assert statistics.settings["checkpoint_timeout"] % 1000 == 0
    assert isinstance(statistics.settings["full_page_writes"], bool)


def test_long_values_are_counted_beside_the_table(database, settings):
    database.execute("CREATE TABLE papers (body text)")
    database.execute("ALTER TABLE papers ALTER body SET STORAGE EXTERNAL")
    database.execute("INSERT INTO papers SELECT repeat('x', 100000) FROM generate_series(1, 20)")

    papers = export_quickly(settings).relations["public.papers"]

    assert papers.toast_bytes > 2_000_000
    assert papers.pages < 10


def test_the_age_of_another_transaction_is_seen(shop, settings):
    with psycopg.connect(settings.url) as other:
        other.execute("SELECT 1")

        seen = export_quickly(settings).transactions

    assert len(seen.ages_s) == 7


def test_nothing_of_any_row_is_in_it(database, settings):
    """Marks in every column, as common values and as bounds of histograms, are found nowhere."""
    database.execute("""
        CREATE TABLE secrets (t text, v varchar(40), j jsonb, a text[], b bytea, n numeric, d date, i bigint,
            c text CHECK (c <> 'mark-check') DEFAULT 'mark-default');
        INSERT INTO secrets SELECT 'mark-' || i % 3, 'mark-' || i, jsonb_build_object('mark-key', 'mark-' || i),
            ARRAY['mark-' || i], ('mark-' || i)::bytea, 86753090 + i, date '1912-06-23' + i, 7777700000 + i,
            'mark-' || i FROM generate_series(1, 900) i;
        CREATE INDEX shaped ON secrets ((t || 'mark-expression')) WHERE i <> 7777700042 AND v <> E'mark-\\\\p';
        CREATE TABLE parts (k text) PARTITION BY LIST (k);
        CREATE TABLE part PARTITION OF parts FOR VALUES IN ('mark-bound');
        COMMENT ON TABLE secrets IS 'mark-comment';
        CREATE STATISTICS more (mcv) ON t, v FROM secrets;
        ANALYZE;
    """)

    text = json.dumps(to_json(export_quickly(settings)))

    assert "shaped" in text
    for mark in ("mark-", "6d61726b2d", "8675309", "1912", "1914", "77777000"):
        assert mark not in text


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("btree (a) WHERE (b = 'it''s'::text)", "btree (a) WHERE (b = ?::text)"),
        (r"btree (a) WHERE (b = E'\\'' x'::text)", "btree (a) WHERE (b = ?::text)"),
        ("btree (a1, t_2) WHERE (n > '-5'::integer)", "btree (a1, t_2) WHERE (n > ?::integer)"),
        ("btree ((price * 1.25))", "btree ((price * ?))"),
        ('btree ("it\'s 42", x) WHERE (y > 3)', 'btree ("it\'s 42", x) WHERE (y > ?)'),
        ("gin (v) WHERE (e = ANY (ARRAY[1, 22]))", "gin (v) WHERE (e = ANY (ARRAY[?, ?]))"),
    ],
)
def test_constants_become_question_marks(definition, expected):
    assert replace_constants(definition) == expected


def test_nothing_is_changed_and_no_right_to_write_is_needed(shop, settings, database_url):
    url = psycopg.conninfo.make_conninfo(database_url, options="-c default_transaction_read_only=on")

    export_quickly(Settings(root=settings.root, url=url, migrations=settings.migrations))

    assert shop.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'confiture'").fetchone() == (0,)


def test_a_thousand_tables_are_all_there(database, settings):
    database.execute("""
        DO $$ BEGIN FOR i IN 1..1000 LOOP
            EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a text, b text)', i);
        END LOOP; END $$
    """)

    found = export_quickly(settings)

    assert len(found.relations) == 1000
    assert all(len(relation.columns) == 3 for relation in found.relations.values())


def test_a_table_locked_by_a_change_is_said_and_not_waited_for(shop, settings):
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with psycopg.connect(settings.url) as other:
            other.execute("LOCK TABLE orders")
            locked.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        locked.wait(60)
        with pytest.raises(LockFault, match="ACCESS EXCLUSIVE"):
            export_quickly(settings)
    finally:
        done.set()
        holder.join()
