"""What reaches outside of the transaction is not rehearsed in one, and refused where a copy shares it."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from confiture.server import lifecycle
from tests.project import Project, only

# Each with a word of its reason.
OUTWARD = [
    ("SELECT pg_create_physical_replication_slot('{name}');", "replication slot"),
    ("SELECT pg_catalog.pg_create_logical_replication_slot('{name}', 'test_decoding');", "replication slot"),
    ("SELECT pg_drop_replication_slot('{name}');", "replication slot"),
    ("COPY jam TO '{file}';", "file"),
    ("COPY (SELECT 1) TO PROGRAM 'cat > {file}';", "program"),
    ("COPY jam FROM PROGRAM 'touch {file}';", "program"),
    ("SELECT lo_export(lo_from_bytea(0, 'x'), '{file}');", "files"),
    ("SELECT pg_switch_wal();", "write-ahead log"),
    ("SELECT pg_create_restore_point('x');", "write-ahead log"),
    ("SELECT pg_logical_emit_message(false, 'a', 'b');", "write-ahead log"),
    ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE false;", "session"),
    ("SELECT pg_cancel_backend(0);", "session"),
    ("SELECT pg_reload_conf();", "configuration"),
    ("SELECT pg_stat_reset();", "statistics"),
    ("SELECT dblink_exec('dbname=nowhere', 'DROP TABLE jam');", "another connection"),
    ("WITH far AS (SELECT * FROM dblink('', '') AS t (n int)) INSERT INTO jam SELECT n FROM far;", "another"),
    ("CHECKPOINT;", "disk"),
    (
        "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (create_slot = false);",
        "another server",
    ),
    ("DO $$ BEGIN PERFORM pg_switch_wal(); END $$;", "write-ahead log"),
    ("DO $$ BEGIN EXECUTE 'COPY jam TO ''{file}'''; END $$;", "file"),
    ("SELECT switch();", "in public.switch()"),
    ("DO $$ BEGIN PERFORM larder.outer_switch(); END $$;", "in public.switch()"),
    ("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SELECT pg_switch_wal()'; SELECT f();", "public.f()"),
    ("INSERT INTO watched VALUES (1);", "in public.switch()"),
    ("DO $$ BEGIN UPDATE watched SET n = 2; END $$;", "in public.switch()"),
    ("TRUNCATE emptied;", "in public.switch()"),
    ("ALTER TABLE jam ADD COLUMN m int DEFAULT switch_one();", "in public.switch_one()"),
    ("ALTER TABLE jam ALTER n TYPE bigint USING switch_one();", "in public.switch_one()"),
    ("INSERT INTO away VALUES (1);", "foreign table"),
    ("TRUNCATE away;", "foreign table"),
    ("COPY away FROM '/etc/hostname';", "foreign table"),
]
SCHEMA = (
    "CREATE TABLE jam (n int)",
    "CREATE TABLE watched (n int)",
    "CREATE FUNCTION switch() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_switch_wal(); END'",
    "CREATE SCHEMA larder",
    "CREATE FUNCTION larder.outer_switch() RETURNS void LANGUAGE sql AS 'SELECT public.switch()'",
    "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM public.switch(); RETURN NEW; END'",
    "CREATE TRIGGER tell BEFORE INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION tell()",
    "CREATE TABLE emptied (n int)",
    "CREATE TRIGGER tell_all BEFORE TRUNCATE ON emptied EXECUTE FUNCTION tell()",
    "CREATE FUNCTION switch_one() RETURNS int LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM pg_switch_wal(); RETURN 1; END'",
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION postgres_fdw",
    "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid')",
    "CREATE FOREIGN TABLE away (n int) SERVER far",
)


@pytest.mark.parametrize("text, reason", OUTWARD)
def test_it_is_not_sent_and_said_so_and_hides_no_later_one(project, sql, tmp_path, text, reason):
    sql(*SCHEMA)
    file = Path(f"/dev/shm/confiture-{os.getpid()}-{tmp_path.name}")
    project.write("1_before.sql", "CREATE TABLE bread ();")
    project.write("2_outward.sql", "SELECT 1;\n" + text.format(file=file, name=f"slot_{os.getpid()}"))
    project.write("3_after.sql", "CREATE TABLE cake ();")

    report = project.rehearse()

    assert [migration.outcome for migration in report.migrations] == [
        "rehearsed",
        "not_rehearsed",
        "rehearsed",
    ], report.migrations[1].error
    assert reason in report.migrations[1].reason
    assert "line 2" in report.migrations[1].reason
    assert report.exit_code == 0
    assert not file.exists()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'pg_switch_wal()'; -- pg_switch_wal()",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SELECT pg_switch_wal()';",
        "SELECT pg_logical_emit_message(true, 'a', 'b');",
        "CREATE FUNCTION lo_export() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT lo_export();",
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false);",
        "CREATE FOREIGN TABLE more (n int) SERVER far; ALTER FOREIGN TABLE away ADD COLUMN m int;",
        "ALTER TABLE watched DISABLE TRIGGER tell; INSERT INTO watched VALUES (1);",
        "COPY jam FROM '/dev/null';",
    ],
)
def test_what_does_not_reach_outside_is_rehearsed(project, sql, text):
    sql(*SCHEMA)
    project.write("1_it.sql", text)

    migration = only(project.rehearse())

    assert migration.outcome == "rehearsed", migration.reason or migration.error


def test_a_python_migration_is_stopped_before_the_statement(project, sql):
    sql(*SCHEMA)
    project.write(
        "1_it.py",
        """
        from confiture.models.migration import Migration


        class Outward(Migration):
            def up(self):
                self.execute("CREATE TABLE bread ()")
                self.execute("SELECT pg_switch_wal()")
        """,
    )

    migration = only(project.rehearse())

    assert migration.outcome == "not_rehearsed"
    assert "pg_switch_wal() writes to the write-ahead log" in migration.reason
    assert sql("SELECT to_regclass('bread') IS NULL") == [(True,)]


def test_a_gate_with_limits_fails(project, sql):
    project.configure('[gate]\nmax_block = "1s"\n')
    project.write("1_it.sql", "SELECT pg_switch_wal();")

    assert project("dry-run", "--in", "transaction").code == 1
    assert project("dry-run", "--in", "transaction", "--no-gate").code == 0


def test_a_notification_is_never_sent(project, database):
    database.execute("LISTEN jam")
    project.write("1_it.sql", "NOTIFY jam; SELECT pg_notify('jam', 'plum');")

    assert only(project.rehearse()).outcome == "rehearsed"

    assert list(database.notifies(timeout=0.2)) == []


# What the text does not show is found afterwards.


def test_a_slot_that_a_rehearsal_left_is_residue_with_the_sql_that_drops_it(project, maintenance):
    name = f"slot_{os.getpid()}"
    project.write(
        "1_it.sql",
        f"DO $$ BEGIN EXECUTE format('SELECT pg_create_%s_replication_slot(%L)', 'physical', '{name}'); END $$;",
    )

    answer = project(
        "dry-run", "--in", "transaction", "--no-gate", "--output", "json", "--output", "text=report.txt"
    )

    (residue,) = answer.json["residue"]
    assert (residue["what"], residue["relation"], residue["before"]) == ("replication slot", name, None)
    assert name in (project.folder / "report.txt").read_text()
    maintenance.execute(residue["after"].partition(": ")[2])
    assert maintenance.execute("SELECT FROM pg_replication_slots").fetchall() == []


# In a copy.


@pytest.mark.slow
@pytest.mark.parametrize("place", ["clone", "embedded"])
@pytest.mark.parametrize(
    "text",
    ["COPY jam TO '{file}';", "SELECT lo_export(1, '{file}');", "DO $$ BEGIN COPY jam TO '{file}'; END $$;"],
)
def test_a_copy_shares_files_and_refuses_before_anything_runs(project, sql, tmp_path, place, text):
    sql("CREATE TABLE jam (n int)")
    file = Path(f"/dev/shm/confiture-{os.getpid()}-{tmp_path.name}")
    project.write("1_it.sql", "SELECT 1;\n" + text.format(file=file))

    answer = project("dry-run", "--in", place)

    assert answer.code == 4
    assert "1_it.sql:2" in answer.err
    assert not file.exists()


@pytest.mark.slow
def test_a_clone_refuses_what_a_function_does_to_the_server(project, sql):
    sql("CREATE FUNCTION switch() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_switch_wal(); END'")
    project.write("1_it.sql", "SELECT switch();")

    answer = project("dry-run", "--in", "clone", "--no-gate", "--output", "json")

    assert answer.code == 4
    assert "in public.switch()" in answer.json["migrations"][0]["error"]["message"]


@pytest.mark.slow
def test_an_embedded_copy_is_a_server_of_its_own(project, sql):
    project.write("1_it.sql", "SELECT pg_switch_wal(), pg_reload_conf();")

    assert project("dry-run", "--in", "embedded", "--no-gate").code == 0


@pytest.mark.slow
def test_dblink_that_a_migration_itself_creates_reaches_nothing_from_a_clone(project, sql):
    project.write("1_it.sql", "CREATE EXTENSION dblink;")
    project.write("2_it.sql", "SELECT dblink_connect('host=nowhere.invalid');")

    answer = project("dry-run", "--in", "clone", "--no-gate", "--output", "json")

    assert "opens another connection" in answer.json["migrations"][1]["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "SELECT 1;\n"])
def test_a_logical_slot_is_made_in_a_copy_and_dropped_with_it(tmp_path, before):
    with lifecycle.open_temporary_server(Path("/tmp"), settings={"wal_level": "logical"}) as server:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
            conn.execute("CREATE DATABASE shop")
        project = Project(tmp_path, server.conninfo("shop"))
        project.write("1_jam.sql", "CREATE TABLE jam ();")
        project.write(
            "2_slot.sql", before + "SELECT pg_create_logical_replication_slot('jam', 'test_decoding');"
        )
        clone = project("dry-run", "--in", "clone", "--no-gate", "--output", "json")
        embedded = project("dry-run", "--in", "embedded", "--no-gate", "--output", "json")
        transaction = project("dry-run", "--in", "transaction", "--no-gate", "--output", "json")
        with psycopg.connect(server.conninfo("postgres")) as conn:
            left = conn.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
        run = project("run")

    for copy in (clone, embedded):
        assert [migration["outcome"] for migration in copy.json["migrations"]] == ["rehearsed", "rehearsed"]
        assert copy.code == 0
    assert transaction.json["migrations"][1]["outcome"] == "not_rehearsed"
    assert transaction.code == 0
    assert left == []
    assert run.code == 0
