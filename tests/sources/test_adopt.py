"""``adopt`` finds out which tool a folder and a ledger are of, and refuses what does not agree."""

from __future__ import annotations

import pytest

from tests.project import applied, tables

UP = "-- migrate:up\nCREATE TABLE {table} (id int);\n-- migrate:down\nDROP TABLE {table};\n"


def write_tables(project, *versions: str) -> None:
    """Write one dbmate migration a version, which creates a table of that name."""
    for version in versions:
        project.write(f"{version}_t.sql", UP.format(table=f"t{version}"))


def record(database, *versions: str) -> None:
    """Make the ledger of dbmate, with these versions, and what they made."""
    database.execute("CREATE TABLE IF NOT EXISTS schema_migrations (version varchar PRIMARY KEY)")
    for version in versions:
        database.execute("INSERT INTO schema_migrations VALUES (%s)", (version,))
        database.execute(f"CREATE TABLE t{version} (id int)")


def test_the_order_that_the_ledger_shows_wins_over_that_of_the_tool(project, database):
    """As text, 10 comes before 9; a ledger that has 9 and not 10 was not written in that order."""
    write_tables(project, "9", "10", "11")
    record(database, "9")

    answer = project("adopt")
    after = project("run")

    assert "sorted by number, as its ledger shows: 9 comes before 10" in answer.out
    assert after.code == 0, after.err
    assert [line.split()[1] for line in project("status").out.splitlines()[:3]] == ["9", "10", "11"]


def test_the_order_of_the_tool_holds_where_the_ledger_agrees(project, database):
    write_tables(project, "9", "10", "11")
    record(database, "10", "11")

    answer = project("adopt")

    assert "sorted by" not in answer.out
    assert [line.split()[1] for line in project("status").out.splitlines()[:3]] == ["10", "11", "9"]


def test_a_gap_in_the_ledger_is_named_before_anything_is_recorded(project, database):
    write_tables(project, "1", "2", "3")
    record(database, "1", "3")

    answer = project("adopt", "--dry-run")

    assert "pending below an applied one: 2" in answer.out
    assert project("adopt").code == 0
    assert project("run").code == 7
    assert project("run", "--allow-out-of-order").code == 0


def test_a_tool_that_went_on_by_itself_is_caught_up_with(project, database):
    """What it applied since is not applied a second time."""
    write_tables(project, "1", "2", "3")
    record(database, "1")
    project("adopt")
    record(database, "2")

    refused = project("run")
    again = project("adopt")

    assert refused.code == 7
    assert "applied by dbmate: 2" in refused.err
    assert "hint: take it over: confiture adopt --from dbmate" in refused.err
    assert again.code == 0
    assert project("run").code == 0
    assert applied(database) == ["1", "2", "3"]


def test_an_empty_database_is_adopted_and_filled(project, database):
    write_tables(project, "1")

    answer = project("adopt", "--from", "dbmate")

    assert "this database has no ledger of it" in answer.out
    assert project("run").code == 0
    assert applied(database) == ["1"]


def test_the_source_in_the_configuration_needs_no_adoption(project, database):
    """As in CI, where each database is new."""
    write_tables(project, "10", "9")
    project.configure('source = "dbmate"\n')

    answer = project("run")

    assert answer.code == 0, answer.err
    assert applied(database) == ["10", "9"]


def test_an_unknown_source_is_refused_with_the_nearest_name(project):
    write_tables(project, "1")

    answer = project("adopt", "--from", "dbmat")

    assert answer.code == 2
    assert "there is no source 'dbmat'" in answer.err
    assert "did you mean 'dbmate'?" in answer.err


def test_a_folder_that_shows_nothing_is_refused_with_the_way_on(project):
    project.write("1_t.sql", "CREATE TABLE t (id int);")

    answer = project("adopt")

    assert answer.code == 2
    assert "confiture adopt --from NAME" in answer.err


def test_mirror_without_a_ledger_of_the_tool_is_refused(project, database):
    write_tables(project, "1")

    answer = project("adopt", "--mirror")

    assert answer.code == 2
    assert "--mirror: this database has no ledger of dbmate to keep up to date" in answer.err
    assert tables(database) == []


@pytest.mark.parametrize("schema", ["app", "Odd schema"])
def test_a_ledger_in_another_schema_is_found(project, database, schema):
    write_tables(project, "1")
    database.execute(f'CREATE SCHEMA "{schema}"')
    database.execute(f'CREATE TABLE "{schema}".schema_migrations (version varchar PRIMARY KEY)')
    database.execute(f"INSERT INTO \"{schema}\".schema_migrations VALUES ('1')")

    answer = project("adopt", "--mirror")

    assert answer.code == 0, answer.err
    assert "1 migration recorded" in answer.out


def test_two_ledgers_of_one_tool_are_refused(project, database):
    write_tables(project, "1")
    record(database, "1")
    database.execute("CREATE SCHEMA old")
    database.execute("CREATE TABLE old.schema_migrations (version varchar PRIMARY KEY)")

    answer = project("adopt")

    assert answer.code == 7
    assert "2 ledgers of dbmate: old.schema_migrations and public.schema_migrations" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_a_rehearsal_tries_the_mirror_and_leaves_nothing(project, database):
    """A role that may not write the tool's ledger is found before the run."""
    write_tables(project, "1", "2")
    record(database, "1")
    project("adopt", "--mirror")

    answer = project("dry-run", "--no-gate")

    assert answer.code == 0, answer.out
    assert database.execute("SELECT count(*) FROM schema_migrations").fetchone() == (1,)


def test_an_embedded_rehearsal_knows_the_adopted_convention(project, database):
    """The copy has no record of the adoption."""
    project.write("1_t.sql", UP.format(table="t1"))
    project.write("10_i.sql", "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY i ON t1 (id);\n")
    record(database, "1")
    project("adopt", "--mirror")

    answer = project("dry-run", "--in", "embedded", "--no-gate")

    assert answer.code == 0, answer.out + answer.err


def test_new_writes_no_file_that_the_source_would_not_read(project):
    project.configure('source = "goose"\n')

    answer = project("new", "create_orders")

    assert answer.code == 2
    assert "the migrations are of goose" in answer.err
    assert not project.migrations.exists()


def test_what_the_tool_itself_undid_is_noticed_and_forgotten(project, database):
    write_tables(project, "1", "2")
    record(database, "1", "2")
    project("adopt", "--mirror")
    database.execute("DELETE FROM schema_migrations WHERE version = '2'; DROP TABLE t2")

    refused = project("run")
    shown = project("adopt", "--mirror", "--dry-run", "--output", "json").json
    taken = project("adopt", "--mirror")
    after = project("run")

    assert refused.code == 7
    assert "undone by dbmate: 2" in refused.err
    assert "confiture adopt --from dbmate --mirror" in refused.err
    assert [step["outcome"] for step in shown["migrations"]] == ["applied", "would-forget"]
    assert "1 migration forgotten" in taken.out
    assert after.code == 0, after.err
    assert "public.t2" in tables(database)
    assert database.execute("TABLE schema_migrations").fetchall() == [("1",), ("2",)]


def test_without_mirror_the_tool_may_lack_what_confiture_applied(project, database):
    write_tables(project, "1", "2")
    record(database, "1")
    project("adopt")
    project("run")
    write_tables(project, "3")

    assert project("run").code == 0
    assert database.execute("TABLE schema_migrations").fetchall() == [("1",)]


def test_mirroring_later_records_what_ran_before_in_the_ledger_of_the_tool(project, database):
    write_tables(project, "1", "2", "3")
    record(database, "1")
    project("adopt")
    project("run")

    answer = project("adopt", "--mirror")

    assert "recorded in public.schema_migrations too" in answer.out
    assert database.execute("TABLE schema_migrations").fetchall() == [("1",), ("2",), ("3",)]
    assert project("run").code == 0


def test_a_run_without_adoption_does_not_repeat_what_the_tool_applied(project, database):
    write_tables(project, "1", "2")
    record(database, "1")
    database.execute("INSERT INTO t1 VALUES (1); DROP TABLE IF EXISTS t2")

    refused = project("run")
    project.configure('source = "plain"\n')
    insisted = project("run")

    assert refused.code == 7
    assert "dbmate has applied migrations of this folder, as public.schema_migrations shows: 1" in refused.err
    assert "confiture adopt --from dbmate" in refused.err
    assert insisted.code == 4
    assert 'relation "t1" already exists' in insisted.out


def test_the_ledger_of_a_tool_for_another_folder_does_not_matter(project, database):
    write_tables(project, "3")
    record(database, "1")

    assert project("run").code == 0
    assert "public.t3" in tables(database)
