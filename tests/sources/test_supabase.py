"""Supabase's files and ledger are taken over as they are."""

from __future__ import annotations

import pytest

from tests.project import applied, exists, tables

LEDGER = """
    CREATE SCHEMA supabase_migrations;
    CREATE TABLE supabase_migrations.schema_migrations (version text NOT NULL PRIMARY KEY);
    ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN statements text[];
    ALTER TABLE supabase_migrations.schema_migrations ADD COLUMN name text;
"""
ROWS = "SELECT version, name, statements FROM supabase_migrations.schema_migrations ORDER BY version"
FOLDER = ("--migrations", "supabase/migrations")


@pytest.fixture
def adopted(project, database):
    """Two migrations in the command's own layout, of which it has applied one."""
    folder = project.folder / "supabase" / "migrations"
    folder.mkdir(parents=True)
    (folder / "20240101000000_orders.sql").write_text("create table orders (id int);\n")
    (folder / "20240102000000_items.sql").write_text(
        "-- What is in an order\ncreate table items (id int);\n"
        "create function f() returns int language sql as $$ select 1; select 2 $$;;\n\ncreate table notes ()\n"
    )
    database.execute("CREATE TABLE orders (id int)")
    database.execute(LEDGER)
    database.execute(
        "INSERT INTO supabase_migrations.schema_migrations VALUES"
        " ('20240101000000', ARRAY['create table orders (id int)'], 'orders')"
    )
    return project


@pytest.fixture
def own(project):
    """A project whose configuration says that its files are of Supabase."""
    project.configure('source = "supabase"\n')
    return project


def test_adopt_recognizes_the_layout_and_run_goes_on(adopted, database):
    answer = adopted("adopt", *FOLDER)

    assert answer.code == 0, answer.err
    assert (
        "migrations of Supabase, as 20240101000000_orders.sql shows; "
        "ledger supabase_migrations.schema_migrations" in answer.out
    )
    assert adopted("run", *FOLDER).code == 0
    assert applied(database) == ["20240101000000", "20240102000000"]
    assert exists(database, "notes")
    assert len(database.execute(ROWS).fetchall()) == 1


def test_the_ledger_of_dbmate_beside_it_is_not_taken_for_it(adopted, database):
    """Both tables are called schema_migrations; the columns decide."""
    database.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")

    answer = adopted("adopt", *FOLDER)

    assert answer.code == 0, answer.err
    assert "ledger supabase_migrations.schema_migrations" in answer.out


def test_with_mirror_the_rows_have_the_name_and_the_statements(adopted, database):
    adopted("adopt", "--mirror", *FOLDER)

    assert adopted("run", *FOLDER).code == 0
    assert database.execute(ROWS).fetchall()[1] == (
        "20240102000000",
        "items",
        [
            "-- What is in an order\ncreate table items (id int)",
            "create function f() returns int language sql as $$ select 1; select 2 $$",
            "create table notes ()",
        ],
    )


def test_an_empty_migration_is_mirrored_without_statements(adopted, database):
    adopted("adopt", "--mirror", *FOLDER)
    for name in ("20240102000000_items.sql",):
        (adopted.folder / "supabase" / "migrations" / name).write_text("")

    assert adopted("run", *FOLDER).code == 0
    assert database.execute(ROWS).fetchall()[1] == ("20240102000000", "items", [])


def test_elsewhere_the_ledger_shows_that_the_files_are_of_supabase(project, database):
    project.write("20240101000000_orders.sql", "create table orders (id int);\n")
    database.execute(LEDGER)

    answer = project("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of Supabase" in answer.out


def test_a_version_without_a_file_is_refused(adopted, database):
    database.execute("INSERT INTO supabase_migrations.schema_migrations VALUES ('20230101000000')")

    answer = adopted("adopt", *FOLDER)

    assert answer.code == 7
    assert "applied, but its file is missing: 20230101000000" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_the_order_is_that_of_the_names_as_text(own):
    for version in ("20200101000000", "3", "20180101", "0010"):
        own.write(f"{version}_t.sql", "")

    assert own("run").code == 0
    order = [line.split()[1] for line in own("status").out.splitlines()[:4]]
    assert order == ["0010", "20180101", "20200101000000", "3"]


def test_a_file_is_one_transaction(own, database):
    own.write("1_a.sql", "create table a ();\nselect 1 / 0;\n")

    assert own("run").code == 4
    assert not exists(database, "a")


def test_a_lone_concurrent_index_runs_outside_a_transaction(own, database):
    own.write("1_a.sql", "create table a (id int);\n")
    own.write("2_i.sql", "create index concurrently i on a (id);\n")

    assert own("run").code == 0
    assert exists(database, "i")


def test_a_concurrent_index_among_others_is_refused_as_by_the_command(own):
    own.write("1_a.sql", "create table a (id int);\ncreate index concurrently i on a (id);\n")

    answer = own("run")

    assert answer.code == 4
    assert "1_a.sql:2:1" in answer.err


def test_there_is_no_way_back(own, database):
    own.write("1_a.sql", "create table a ();\n")
    own("run")

    assert own("down").code == 4
    assert exists(database, "a")


def test_the_first_file_of_early_versions_is_passed_over(own, database):
    own.write("20210101000000_init.sql", "nonsense")
    own.write("20240101000000_init.sql", "create table a ();\n")

    assert own("run").code == 0
    assert applied(database) == ["20240101000000"]


def test_where_nothing_is_done_there_is_nothing_to_undo(own, database):
    own.write("1_nothing.sql", "")
    own("run")

    assert own("down").code == 0
    assert applied(database) == []


def test_other_files_are_ignored(own, database):
    own.write("1_a.sql", "create table a ();\n")
    for name in ("README.md", "seed.sql", "2.sql", ".gitkeep"):
        own.write(name, "nothing")

    assert own("run").code == 0
    assert applied(database) == ["1"]
