"""What a rehearsal leaves, because no rollback can undo it, is in its report."""

import psycopg
import pytest

from confiture.models.report import Residue
from confiture.rehearsal.residue import (
    COMPARISON_NOTE,
    describe_comparison,
    find_residue,
    take_residue_snapshot,
)

pytestmark = pytest.mark.slow

CATALOGS = (
    "pg_class pg_attribute pg_attrdef pg_constraint pg_index pg_depend pg_type pg_sequence pg_trigger"
    " pg_namespace pg_proc pg_statistic pg_inherits"
)
DIGEST = """
    SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
        SELECT (to_jsonb(t) - '{relpages,reltuples,relhasindex,relallvisible,relallfrozen}'::text[])::text AS line
        FROM CATALOG t
        -- Autovacuum may analyze the system catalogs at any time, and then their statistics change.
        WHERE coalesce((to_jsonb(t) ->> 'starelid')::bigint, 16384) >= 16384
    ) AS lines
"""


def catalogs(conn):
    """Return a digest of each catalog, less the columns that the residue names."""
    return {name: conn.execute(DIGEST.replace("CATALOG", name)).fetchone() for name in CATALOGS.split()}


def found(report):
    """Return the residue as what and relation."""
    return {(item.what, item.relation) for item in report.residue}


# On, or 18 leaves the statistics alone, but never due.
NO_AUTOVACUUM = """(autovacuum_analyze_threshold = 2000000000, autovacuum_vacuum_threshold = 2000000000,
    autovacuum_vacuum_insert_threshold = -1)"""


@pytest.fixture
def jam(database):
    database.execute(
        f"CREATE TABLE jam (id int, fruit text) WITH {NO_AUTOVACUUM};"
        "INSERT INTO jam SELECT n, 'plum' FROM generate_series(1, 1000) n"
    )
    return database


def test_a_sequence_that_a_migration_moved_stays_moved(project, database):
    database.execute("CREATE SEQUENCE counter")
    project.write("1_count.sql", "SELECT nextval('counter');")

    first = project.rehearse()
    second = project.rehearse()

    assert first.residue == (Residue("is_called", "public.counter", False, True),)
    assert second.residue == (Residue("last_value", "public.counter", 1, 2),)
    assert COMPARISON_NOTE in first.notes


def test_a_sequence_that_was_set_and_not_called_is_seen(project, database):
    database.execute("CREATE SEQUENCE counter")
    project.write("1_count.sql", "SELECT setval('counter', 70, false);")

    report = project.rehearse()

    assert report.residue == (Residue("last_value", "public.counter", 1, 70),)


def test_an_index_leaves_the_statistics_that_its_build_wrote_in_place(project, jam):
    project.write("1_index.sql", "CREATE INDEX jam_ix ON jam (id);")

    report = project.rehearse()

    assert {("relhasindex", "public.jam"), ("reltuples", "public.jam")} <= found(report)
    assert Residue("relhasindex", "public.jam", False, True) in report.residue
    assert jam.execute("SELECT relhasindex FROM pg_class WHERE relname = 'jam'").fetchone() == (True,)


def test_analyze_leaves_its_counts(project, jam):
    project.write("1_analyze.sql", "ANALYZE jam;")

    report = project.rehearse()

    assert Residue("reltuples", "public.jam", -1.0, 1000.0) in report.residue


def test_rows_that_were_never_committed_make_the_file_grow(project, jam):
    project.write("1_fill.sql", "INSERT INTO jam SELECT n, 'fig' FROM generate_series(1, 9000) n;")

    (grown,) = project.rehearse().residue

    assert (grown.what, grown.relation) == ("bytes", "public.jam")
    assert grown.after > grown.before
    assert jam.execute("SELECT pg_relation_size('jam')").fetchone() == (grown.after,)


def test_toast_and_indexes_grow_too(project, database):
    database.execute(
        "CREATE TABLE jam (id int PRIMARY KEY, label text); ALTER TABLE jam ALTER label SET STORAGE EXTERNAL"
    )
    project.write("1_fill.sql", "INSERT INTO jam SELECT n, repeat('x', 9000) FROM generate_series(1, 500) n;")

    grown = {relation.split("_")[0] for what, relation in found(project.rehearse()) if what == "bytes"}

    assert grown == {"public.jam", "pg"}


def test_a_partitioned_table_is_compared_partition_by_partition(project, database):
    database.execute(
        "CREATE TABLE metric (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE metric_a PARTITION OF metric FOR VALUES FROM (0) TO (9) WITH (autovacuum_enabled = false)"
    )
    project.write("1_index.sql", "INSERT INTO metric VALUES (1); CREATE INDEX ON metric (id);")

    report = project.rehearse()

    assert {("bytes", "public.metric_a"), ("relhasindex", "public.metric_a")} <= found(report)


def test_a_migration_that_leaves_nothing_has_no_residue(project, jam):
    project.write("1_add.sql", "ALTER TABLE jam ADD COLUMN n int; CREATE TABLE fresh (id serial);")

    report = project.rehearse()

    assert report.residue == ()
    assert COMPARISON_NOTE not in report.notes


def test_a_migration_that_fails_leaves_as_much_as_one_that_does_not(project, database):
    database.execute("CREATE SEQUENCE counter")
    project.write("1_count.sql", "SELECT nextval('counter'); SELECT 1 / 0;")

    report = project.rehearse()

    assert report.outcome == "failed"
    assert found(report) == {("is_called", "public.counter")}


def test_a_run_has_no_residue(project, database):
    database.execute("CREATE SEQUENCE counter")
    project.write("1_count.sql", "SELECT nextval('counter');")

    assert project.run().residue == ()


def test_the_catalogs_are_the_same_but_for_the_residue(project, jam):
    jam.execute("CREATE SEQUENCE counter; ALTER TABLE jam ADD PRIMARY KEY (id)")
    project.write(
        "1_all.sql",
        """
        SELECT nextval('counter');
        ALTER TABLE jam ADD COLUMN n serial;
        CREATE INDEX ON jam (fruit);
        ANALYZE jam;
        DROP SEQUENCE counter;
        CREATE TABLE fresh (id int REFERENCES jam (id));
        """,
    )
    before, first = catalogs(jam), take_residue_snapshot(jam)

    report = project.rehearse()

    assert catalogs(jam) == before
    assert find_residue(first, take_residue_snapshot(jam)) == report.residue
    assert report.residue


def test_a_role_without_rights_on_a_sequence_is_told_so(database, server):
    role = f"cook_{database.info.backend_pid}"
    database.execute(
        f"CREATE ROLE {role}; CREATE SEQUENCE secret; CREATE SEQUENCE counter; CREATE TABLE jam (id int);"
        f"GRANT SELECT ON counter TO {role}"
    )
    try:
        database.execute(f"SET ROLE {role}")
        before = take_residue_snapshot(database)
        database.execute(
            "RESET ROLE; SELECT nextval('secret'), nextval('counter'); INSERT INTO jam VALUES (1)"
        )
        database.execute(f"SET ROLE {role}")
        after = take_residue_snapshot(database)
    finally:
        database.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")

    assert {(residue_item.what, residue_item.relation) for residue_item in find_residue(before, after)} == {
        ("is_called", "public.counter"),
        ("bytes", "public.jam"),
    }
    assert [note for note in describe_comparison(before, after) if "public.secret" in note]


def test_what_another_session_holds_locked_makes_the_residue_unknown(database, second):
    database.execute("CREATE TABLE jam (id int)")
    before = take_residue_snapshot(database)
    with second.transaction():
        second.execute("LOCK TABLE jam")

        after = take_residue_snapshot(database)

    assert after.fault
    assert find_residue(before, after) == ()
    assert [note for note in describe_comparison(before, after) if note.startswith("cannot tell what")]
    assert database.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_lost_connection_makes_the_residue_unknown(database_url):
    conn = psycopg.connect(database_url, autocommit=True)
    conn.close()

    assert take_residue_snapshot(conn).fault


def test_odd_names_are_quoted(database):
    name = '"My Shelf"."jam ""1"""'
    database.execute(f'CREATE SCHEMA "My Shelf"; CREATE SEQUENCE {name}')
    before = take_residue_snapshot(database)
    database.execute(f"SELECT nextval('{name}')")

    (moved,) = find_residue(before, take_residue_snapshot(database))

    assert moved.relation == name


def test_more_sequences_than_one_query_reads(database):
    database.execute("DO $$ BEGIN FOR i IN 1..450 LOOP EXECUTE 'CREATE SEQUENCE s' || i; END LOOP; END $$")
    before = take_residue_snapshot(database)
    database.execute("SELECT nextval('s450'), nextval('s1')")

    assert {
        residue_item.relation for residue_item in find_residue(before, take_residue_snapshot(database))
    } == {
        "public.s1",
        "public.s450",
    }
