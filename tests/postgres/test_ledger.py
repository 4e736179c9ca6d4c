"""CONTRACT, Ledger: what confiture keeps in the target, what it needs to read and write it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from confiture.api import operations
from confiture.exceptions import RightsFault
from tests.project import Project, exists, only, plugin


@pytest.fixture
def role(database) -> Iterator[str]:
    """A role that may connect, and nothing else."""
    name = f"reader_{database.info.backend_pid}"
    database.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_role(project: Project, role: str) -> str:
    return make_conninfo(project.url, user=role)


def dump(server: Any, project: Project, *words: str) -> list[str]:
    """Return what pg_dump writes, without what differs each time."""
    done = subprocess.run(
        [str(server.bindir / "pg_dump"), *words, project.url], capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\", "--"))]


def test_everything_is_in_schema_confiture_and_there_are_no_sequences(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.write("2_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jar ();")

    project.run()

    kinds = database.execute(
        "SELECT DISTINCT relkind::text FROM pg_class WHERE relnamespace = 'confiture'::regnamespace"
    ).fetchall()
    assert {kind for (kind,) in kinds} <= {"r", "i"}
    assert exists(database, "confiture.ledger")


def test_pg_dump_without_schema_confiture_shows_only_the_users(project, database, server):
    database.execute("CREATE TABLE jam (fruit text)")
    before = dump(server, project, "--schema-only")
    project.write("1_jam.sql", "INSERT INTO jam VALUES ('fig');")

    project.run(plugin(before_ddl=lambda conn: None))

    assert dump(server, project, "--schema-only", "-N", "confiture") == before


def test_the_schema_is_a_setting(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")

    project.run(schema='Odd "one"')

    assert database.execute('SELECT version FROM "Odd ""one""".ledger').fetchall() == [("1",)]
    assert not exists(database, "confiture.ledger")


def test_run_creates_the_schema_only_when_there_is_something_to_do(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam (); SELECT 1/0;")

    project.run()
    created = exists(database, "confiture.ledger")
    (project.migrations / "1_jam.sql").write_text("SELECT 1")

    assert created
    assert project.run().exit_code == 0


def test_the_ledger_names_the_plugins_and_their_versions(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")

    project.run(plugin("pectin", before_ddl=lambda conn: None))

    assert database.execute("SELECT name, plugins FROM confiture.ledger").fetchall() == [
        ("jam", ["pectin==1.0"])
    ]


def test_a_migration_and_its_ledger_row_are_both_there_or_neither(project, database):
    """The ledger refuses the row: nothing of the migration is left."""
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.run()
    database.execute("ALTER TABLE confiture.ledger ADD CHECK (version <> '2')")
    project.write("2_jar.sql", "CREATE TABLE jar ();")

    report = project.run()

    assert report.exit_code == 4
    assert only(report).error.sqlstate == "23514"
    assert not exists(database, "jar")


@pytest.mark.parametrize("command", ["status", "plan"])
def test_read_rights_are_enough(project, database, role, command):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.run()
    project.write("2_jar.sql", "CREATE TABLE jar ();")
    database.execute(f"GRANT USAGE ON SCHEMA confiture TO {role}")
    database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA confiture TO {role}")

    done = project(command, "--url", as_role(project, role))

    assert done.code == 0, done.err
    assert "2" in done.out
    assert not exists(database, "jar")


@pytest.mark.parametrize("command", ["status", "plan"])
def test_they_take_no_lock(project, database, command):
    """They answer while another run holds the migration lock."""
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    answers = []

    def before_ddl(conn):
        answers.append(project(command))

    report = project.run(plugin(before_ddl=before_ddl))

    assert report.exit_code == 0
    assert [answer.code for answer in answers] == [0]
    assert "jam" in answers[0].out


def test_a_role_that_may_not_read_the_ledger_is_told_so(project, role):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.run()

    done = project("status", "--url", as_role(project, role))

    assert done.code == 4
    assert "read the ledger" in done.err
    assert "GRANT USAGE ON SCHEMA" in done.err


def test_a_role_that_may_not_create_the_schema_is_told_so(project, database, role):
    project.write("1_jam.sql", "CREATE TABLE jam ();")

    with pytest.raises(RightsFault, match="create schema 'confiture'") as caught:
        operations.run(project.settings(url=as_role(project, role)))

    assert caught.value.exit_code == 4
    assert "GRANT CREATE ON DATABASE" in str(caught.value.hint)
    assert not exists(database, "jam")


@pytest.mark.parametrize(
    "name, text",
    [
        ("2_jar.sql", "CREATE TABLE jar ();"),
        ("2_jar.sql", "-- confiture: no-transaction\nCREATE TABLE jar ();"),
        (
            "2_jar.py",
            """
            from confiture.models.migration import Migration

            class Jar(Migration):
                transactional = False

                def up(self):
                    self.execute("CREATE TABLE jar ()")
            """,
        ),
    ],
    ids=["transactional", "no-transaction", "no-transaction in Python"],
)
def test_an_unwritable_ledger_leaves_nothing(project, database, role, name, text):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.run()
    database.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    database.execute(f"GRANT USAGE ON SCHEMA confiture TO {role}")
    database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA confiture TO {role}")
    project.write(name, text)

    done = project("run", "--url", as_role(project, role))

    said = done.out + done.err
    assert done.code == 4
    assert f"role '{role}' may not write the ledger" in said
    assert not exists(database, "jar")
    way_on = said.split("hint: ")[1].split(" or connect")[0]
    database.execute(" ".join(way_on.split()).encode())
    assert project("run", "--url", as_role(project, role)).code == 0


def test_a_read_only_database_is_told_so(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    url = make_conninfo(project.url, options="-c default_transaction_read_only=on")

    done = project("run", "--url", url)

    assert done.code == 4
    assert "read-only" in done.err
    assert not exists(database, "jam")


def test_a_ledger_that_somebody_else_may_only_read_in_a_read_only_database_is_told_so(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.run()
    project.write("2_jar.sql", "CREATE TABLE jar ();")
    url = make_conninfo(project.url, options="-c default_transaction_read_only=on")

    done = project("run", "--url", url)

    said = done.out + done.err
    assert done.code == 4
    assert "read-only" in said
    assert "primary" in said
    assert not exists(database, "jar")


def test_the_ledger_is_written_by_the_role_that_a_session_begins_with(project, database, role):
    """The login's own rights do not matter where ALTER ROLE … SET role gives it another."""
    owner = f"{role}_owner"
    database.execute(f"CREATE ROLE {owner}; GRANT {owner} TO {role}; ALTER ROLE {role} SET role = {owner}")
    database.execute(f"ALTER ROLE {role} NOINHERIT; GRANT CREATE ON SCHEMA public TO {owner}")
    database.execute(f"GRANT CREATE ON DATABASE {database.info.dbname} TO {owner}")
    try:
        project.write("1_jam.sql", "CREATE TABLE jam ();")
        project.write("2_jar.sql", "-- confiture: no-transaction\nCREATE TABLE jar ();\nVACUUM jar;\n")

        done = project("run", "--url", as_role(project, role))

        assert done.code == 0, done.out + done.err
        assert project.states() == {"1": "applied", "2": "applied"}
    finally:
        database.execute(f"DROP OWNED BY {owner}; DROP ROLE {owner}")
