"""Names that need quoting, and hostile ones: in schemas, tables, files, versions and plugins."""

from __future__ import annotations

import json

import psycopg
import pytest
from psycopg import sql

from tests.project import tables

pytestmark = pytest.mark.slow

HOSTILE = [
    """it's "two" words 🍓""",
    "100%s {0} {jam} %(jam)s back\\slash $1 :jam $$",
    "x'; DROP TABLE jam; --",
    "select",
]
ESCAPE = "red\x1b[31m"


def migrations_in(database: psycopg.Connection[tuple[str, ...]], schema: str) -> list[tuple[str, ...]]:
    """Return versions and names of the ledger in ``schema``."""
    query = sql.SQL("SELECT version, name FROM {}.ledger ORDER BY version")
    return database.execute(query.format(sql.Identifier(schema))).fetchall()


@pytest.mark.parametrize("schema", [*HOSTILE, f"line\nbreak {ESCAPE}"])
def test_a_hostile_schema_keeps_the_ledger(project, database, schema):
    project.write("1_jam.sql", "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;")
    project.write("2_steps.sql", "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY ON jam (i);\n")
    project.configure(f"schema = {json.dumps(schema, ensure_ascii=False)}\n")

    answers = [project("dry-run"), project("run"), project("status"), project("run")]

    assert [answer.code for answer in answers] == [0, 0, 0, 0]
    assert answers[3].out == "nothing to do\n"
    assert migrations_in(database, schema) == [("1", "jam"), ("2", "steps")]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_of_a_hostile_name_is_named_as_postgresql_quotes_it(project, database, name):
    database.execute(sql.SQL("CREATE SCHEMA {0}; CREATE TABLE {0}.{0} (i int)").format(sql.Identifier(name)))
    quoted = sql.Identifier(name).as_string(database)
    project.write("1_jam.sql", f"ALTER TABLE {quoted}.{quoted} ADD COLUMN {quoted} text;")

    answer = project("run", "--output", "json")

    assert answer.code == 0
    (shown,) = database.execute("SELECT format('%%I.%%I', %s::text, %s::text)", [name, name]).fetchone()
    (lock,) = answer.json["migrations"][0]["locks"]
    assert (lock["relation"], lock["mode"]) == (shown, "AccessExclusiveLock")
    assert answer.json["migrations"][0]["blocks"]["reads"] == [shown]


@pytest.mark.parametrize("name", [*HOSTILE, f"line\nbreak {ESCAPE}"])
@pytest.mark.parametrize("kind", ["sql", "py"])
def test_a_file_of_a_hostile_name_is_applied_and_undone(project, database, name, kind):
    if kind == "sql":
        project.write(f"1_{name}.up.sql", "CREATE TABLE jam (i int)")
        project.write(f"1_{name}.down.sql", "DROP TABLE jam")
    else:
        project.write(
            f"1_{name}.py",
            "from confiture.models.migration import Migration\n\n\nclass Jam(Migration):\n"
            "    def up(self):\n        self.execute('CREATE TABLE jam (i int)')\n"
            "    def down(self):\n        self.execute('DROP TABLE jam')\n",
        )

    run, status = project("run"), project("status")
    known = migrations_in(database, "confiture")
    down = project("down")

    assert [run.code, status.code, down.code] == [0, 0, 0]
    assert known == [("1", name)]
    assert "\x1b" not in run.out + run.err + status.out + down.out + down.err
    assert [line for line in status.out.splitlines() if line.startswith("applied")] != []
    assert "public.jam" not in tables(database)


def test_a_faulty_file_of_a_hostile_name_is_named_on_one_line(project, database):
    project.write(f"1_a\nb {ESCAPE} %s {{}}.sql", "SELEC 1")

    answer = project("run")

    assert answer.code == 4
    assert answer.err.startswith("error: migrations/1_a\\nb red\\x1b[31m %s {}.sql:1:1: syntax error")
    assert tables(database) == []


def test_a_file_name_that_is_no_unicode_is_refused(project, database):
    project.migrations.mkdir()
    name = "1_caf\udce9.sql"
    (project.migrations / name).write_text("CREATE TABLE jam (i int)")

    answer = project("run")

    assert answer.code == 4
    assert "is not UTF-8" in answer.err
    assert tables(database) == []


def test_an_error_that_holds_terminal_escapes_is_shown_inert(project):
    project.write("1_jam.sql", f"DO $$BEGIN RAISE '{ESCAPE} %%s {{}}'; END$$;")

    answer = project("run")

    assert answer.code == 4
    assert "\x1b" not in answer.err + answer.out
    assert "red\\x1b[31m %s {}" in answer.err


@pytest.mark.parametrize("version", ["03.04.00_50", "20260101120000", "0", "1" * 40, "1.2.3.4.5_6_7"])
def test_a_version_of_any_shape_is_kept_as_written(project, database, version):
    project.write(f"{version}_jam.sql", "CREATE TABLE jam (i int)")

    assert project("run").code == 0
    assert project("run", "--to", version.lstrip("0") or "0").out == "nothing to do\n"

    assert migrations_in(database, "confiture") == [(version, "jam")]


@pytest.mark.parametrize("version", ["1'; DROP TABLE jam", "%s{}", "-1", "", "1\n2", "\u0661"])
def test_a_hostile_version_is_two(project, version):
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")

    answers = project("run", f"--to={version}"), project("down", f"--to={version}")

    assert [answer.code for answer in answers] == [2, 2]
    assert all("version" in answer.err for answer in answers)


def test_a_database_of_a_hostile_name_is_migrated(folder, server):
    name = "x'; DROP %s {} 🍓"
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    folder.url = server.conninfo(name)
    folder.write("1_jam.sql", "CREATE TABLE jam (i int)")

    codes = [folder(command).code for command in ("dry-run", "run", "status")]

    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
    assert codes == [0, 0, 0]
