"""golang-migrate's pairs and its one-row ledger are taken over as they are."""

from __future__ import annotations

import pytest

from tests.project import applied, exists, tables

pytestmark = pytest.mark.slow

UP = "CREATE TABLE {0} (id int);"
DOWN = "DROP TABLE {0};"
STATE = "SELECT version, dirty FROM schema_migrations"


def write_pair(project, version: str, name: str, up: str | None = None, down: str | None = None) -> None:
    project.write(f"{version}_{name}.up.sql", UP.format(name) if up is None else up)
    project.write(f"{version}_{name}.down.sql", DOWN.format(name) if down is None else down)


def record(database, version: int, *, dirty: bool = False) -> None:
    """Make the ledger as the tool makes it, with its one row."""
    database.execute(
        "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)"
    )
    database.execute("INSERT INTO schema_migrations VALUES (%s, %s)", (version, dirty))


@pytest.fixture
def adopted(project, database):
    """Three migrations, of which the tool has applied two."""
    for version, name in (("000001", "jam"), ("000002", "figs"), ("000010", "plums")):
        write_pair(project, version, name)
    database.execute("CREATE TABLE jam (id int); CREATE TABLE figs (id int)")
    record(database, 2)
    return project


def test_all_up_to_the_version_of_the_ledger_is_recorded_and_run_goes_on(adopted, database):
    answer = adopted("adopt")

    assert answer.code == 0, answer.err
    assert "migrations of golang-migrate, as 000001_jam.down.sql shows" in answer.out
    assert "2 migrations recorded as applied" in answer.out
    assert adopted("run").code == 0
    assert applied(database) == ["000001", "000002", "000010"]
    assert database.execute(STATE).fetchall() == [(2, False)]
    assert adopted("down", "--steps", "3").code == 0
    assert not {"public.jam", "public.figs", "public.plums"} & set(tables(database))


def test_with_mirror_the_row_is_replaced_and_down_writes_the_version_before(adopted, database):
    adopted("adopt", "--mirror")

    states = []
    for command in (("run",), ("down",), ("down",), ("down",)):
        assert adopted(*command).code == 0
        states.append(database.execute(STATE).fetchall())

    assert states == [[(10, False)], [(2, False)], [(1, False)], []]


def test_a_dirty_ledger_is_refused_with_the_command_of_the_tool(adopted, database):
    database.execute("UPDATE schema_migrations SET dirty = true")

    answer = adopted("adopt")

    assert answer.code == 7
    assert "dirty: version 2 failed half-way; correct the schema, then: migrate force VERSION" in answer.err
    assert "confiture.ledger" not in tables(database)


def test_a_version_without_a_file_is_refused(adopted, database):
    database.execute("UPDATE schema_migrations SET version = 3")

    answer = adopted("adopt")

    assert answer.code == 7
    assert "applied, but its file is missing: 3" in answer.err


def test_an_empty_ledger_means_that_nothing_is_applied(adopted, database):
    database.execute("DELETE FROM schema_migrations; DROP TABLE jam, figs")

    answer = adopted("adopt")

    assert "0 migrations recorded" in answer.out
    assert adopted("run").code == 0
    assert applied(database) == ["000001", "000002", "000010"]


def test_versions_are_numbers_whatever_their_width(project, database):
    for version in ("20180101", "3", "20200101000000", "0010"):
        write_pair(project, version, f"t{version}")

    project.configure('source = "golang-migrate"\n')

    assert project("run").code == 0
    order = [line.split()[1] for line in project("status").out.splitlines()[:4]]
    assert order == ["3", "0010", "20180101", "20200101000000"]


def test_a_file_below_the_version_is_pending_until_the_user_allows_it(adopted, database):
    """The tool would never run it; neither is it taken for applied once the ledger is ours."""
    adopted("adopt", "--mirror")
    write_pair(adopted, "000001", "late", up="", down="")
    (adopted.migrations / "000001_late.up.sql").rename(adopted.migrations / "0_late.up.sql")
    (adopted.migrations / "000001_late.down.sql").rename(adopted.migrations / "0_late.down.sql")

    refused = adopted("run")
    allowed = adopted("run", "--allow-out-of-order")

    assert refused.code == 7
    assert "0 late" in refused.err
    assert allowed.code == 0, allowed.err
    assert database.execute(STATE).fetchall() == [(10, False)]


def test_a_file_of_several_statements_is_one_transaction(project, database):
    project.configure('source = "golang-migrate"\n')
    write_pair(project, "1", "jam", up="CREATE TABLE jam (id int);\nSELECT 1 / 0;\n")

    assert project("run").code == 4
    assert not exists(database, "jam")


def test_a_begin_and_commit_of_the_file_itself_are_passed_over(project, database):
    project.configure('source = "golang-migrate"\n')
    write_pair(project, "1", "jam", up="BEGIN;\nCREATE TABLE jam (id int);\nCOMMIT;\n")

    assert project("run").code == 0
    assert exists(database, "jam")


def test_a_lone_concurrent_index_runs_as_the_tool_runs_it(project, database):
    """One statement alone is no transaction block."""
    project.configure('source = "golang-migrate"\n')
    write_pair(project, "1", "jam")
    write_pair(
        project,
        "2",
        "jam_id",
        up="-- quick\nCREATE INDEX CONCURRENTLY jam_id ON jam (id);\n",
        down="DROP INDEX CONCURRENTLY jam_id",
    )

    assert project("run").code == 0
    assert exists(database, "jam_id")
    assert project("down").code == 0
    assert not exists(database, "jam_id")


def test_a_concurrent_index_among_other_statements_runs_as_with_multi_statement(project, database):
    """Without that option of the tool's the file has never worked."""
    project.configure('source = "golang-migrate"\n')
    write_pair(
        project,
        "1",
        "jam",
        up="CREATE TABLE jam (id int);\n-- quick\nCREATE INDEX CONCURRENTLY jam_id ON jam (id);\n",
        down="DROP INDEX CONCURRENTLY IF EXISTS jam_id;\nDROP TABLE jam;\n",
    )

    answer = project("run")

    assert answer.code == 0, answer.err
    assert exists(database, "jam_id")
    assert project("down").code == 0
    assert not exists(database, "jam")


def test_a_concurrent_index_between_begin_and_commit_is_refused(project):
    project.configure('source = "golang-migrate"\n')
    write_pair(
        project,
        "1",
        "jam",
        up="BEGIN;\nCREATE TABLE jam (id int);\nCREATE INDEX CONCURRENTLY i ON jam (id);\nCOMMIT;\n",
    )

    answer = project("run")

    assert answer.code == 4
    assert "1_jam.up.sql:3:1" in answer.err


def test_empty_files_are_migrations_that_do_nothing(project, database):
    project.configure('source = "golang-migrate"\n')
    write_pair(project, "1", "nothing", up="", down="-- nothing to undo\n")

    assert project("run").code == 0
    assert applied(database) == ["1"]
    assert project("down").code == 0
    assert applied(database) == []


def test_a_lone_down_file_is_a_migration_that_does_nothing_forward(project, database):
    project.configure('source = "golang-migrate"\n')
    write_pair(project, "1", "jam")
    project.write("2_gone.down.sql", "DROP TABLE jam; CREATE TABLE jam ();")

    assert project("run").code == 0
    assert applied(database) == ["1", "2"]
    assert project("down").code == 0
    assert exists(database, "jam")


def test_without_a_down_file_nothing_is_forgotten(project, database):
    """The tool would lower its version and leave the table."""
    project.configure('source = "golang-migrate"\n')
    project.write("1_jam.up.sql", "CREATE TABLE jam ();")
    project("run")

    answer = project("down")

    assert answer.code == 4
    assert "down" in answer.err
    assert applied(database) == ["1"]


def test_two_up_files_of_one_number_are_refused(project):
    project.configure('source = "golang-migrate"\n')
    write_pair(project, "1", "jam")
    write_pair(project, "001", "figs")

    answer = project("run")

    assert answer.code == 4
    assert "version 1 has two up files: 001_figs.up.sql and 1_jam.up.sql" in answer.err


def test_where_nothing_is_done_there_is_nothing_to_undo(project, database):
    project.configure('source = "golang-migrate"\n')
    project.write("1_nothing.up.sql", "-- nothing\n")
    project("run")

    assert project("down").code == 0
    assert applied(database) == []


def test_other_files_are_ignored_and_any_extension_is_read(project, database):
    """As the tool reads names: a dot in the title, another extension, a number beyond its integer."""
    project.configure('source = "golang-migrate"\n')
    for name in ("README.md", "seed.sql", "1.up.sql", "3_x.sql", "99999999999999999999_far.up.sql"):
        project.write(name, "no SQL at all")
    project.write("1_a.b.up.psql", "CREATE TABLE jam ();")

    assert project("run").code == 0
    assert applied(database) == ["1"]
    assert exists(database, "jam")


def test_a_rehearsal_shows_what_is_pending(adopted):
    adopted("adopt", "--mirror")

    answer = adopted("dry-run", "--no-gate")

    assert answer.code == 0, answer.err
    assert "rehearsed  000010  plums" in answer.out
