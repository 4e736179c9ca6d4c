"""``dump`` writes the same bytes for the same schema, and nothing that is not the schema."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from confiture.postgres.dump import DumpFault, choose_pg_dump, normalize_dump
from tests import published

pytestmark = pytest.mark.slow

JAM = "CREATE TABLE jam (i int, at timestamptz CHECK (at > '2020-01-01 00:00:00+00'));"


@pytest.fixture
def other(database, server):
    """Another database of the same server: other owner, other time zone, no public schema of its own."""
    name = f"{database.info.dbname}_other"
    database.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    with psycopg.connect(server.conninfo(name), autocommit=True) as conn:
        yield conn
    database.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def shop(project):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    return project


def test_the_schema_goes_beside_the_configuration_from_wherever_it_is_called(shop):
    shop.configure("")
    below = shop.folder / "below"
    below.mkdir()
    shop.folder, root = below, shop.folder

    answer = shop("dump")

    assert answer.code == 0, answer.err
    assert answer.out == f"wrote {root / 'schema.sql'}\n"
    assert "CREATE TABLE public.jam" in (root / "schema.sql").read_text()


def test_confitures_own_schema_is_left_out(shop):
    text = shop("dump", "-").out

    assert "ledger" not in text
    assert "confiture." not in text


def test_a_schema_of_an_odd_name_is_left_out_too(project):
    project.configure('schema = "Odd *Name"')
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0

    text = project("dump", "-").out

    assert "Odd" not in text
    assert "public.jam" in text


def test_the_same_schema_gives_the_same_bytes_whoever_owns_it(shop, other, server):
    """Owner, rights, time zone, quoting and the owner of public differ; the schema does not."""
    other.execute("CREATE ROLE owner_of_other")
    try:
        other.execute("ALTER SCHEMA public OWNER TO owner_of_other")
        other.execute(
            f"ALTER DATABASE {other.info.dbname} SET timezone = 'Asia/Tokyo';"
            f"ALTER DATABASE {other.info.dbname} SET quote_all_identifiers = on;"
            "SET ROLE owner_of_other;" + JAM + "GRANT SELECT ON jam TO PUBLIC; RESET ROLE"
        )
        here = shop("dump", "-")
        shop.url = server.conninfo(other.info.dbname)
        there = shop("dump", "-")
    finally:
        other.execute("DROP OWNED BY owner_of_other CASCADE")
        other.execute("DROP ROLE owner_of_other")

    assert (here.code, there.code) == (0, 0), there.err
    assert here.out == there.out


def test_nothing_in_it_tells_minor_versions_or_tokens(shop):
    text = shop("dump", "-").out

    assert "restrict" not in text
    assert "Dumped" not in text
    assert text.startswith("-- The schema of a PostgreSQL ")
    assert text.endswith(";\n")


def test_the_dump_makes_the_same_schema_again(shop, other, server, tmp_path):
    shop("dump", str(tmp_path / "schema.sql"))
    command = [server.bindir / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", tmp_path / "schema.sql"]

    subprocess.run([*command, server.conninfo(other.info.dbname)], check=True, capture_output=True)

    before = (tmp_path / "schema.sql").read_text()
    shop.url = server.conninfo(other.info.dbname)
    assert shop("dump", "-").out == before


def test_a_second_dump_leaves_the_file_as_it_is(shop):
    shop("dump")
    before = (shop.folder / "schema.sql").stat().st_mtime_ns

    answer = shop("dump", "--output", "json")

    assert answer.json["changed"] is False
    assert (shop.folder / "schema.sql").stat().st_mtime_ns == before


def test_passwords_of_user_mappings_and_subscriptions_are_left_out(shop, database):
    database.execute(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;"
        "CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user 'plum', password 'hush-1');"
    )
    database.execute(
        "CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere password=hush-2' PUBLICATION p"
        " WITH (connect = false)"
    )

    text = shop("dump", "-").out
    database.execute("ALTER SUBSCRIPTION sub SET (slot_name = NONE)")
    database.execute("DROP SUBSCRIPTION sub")

    assert "CREATE SERVER far" in text
    assert "hush" not in text
    assert "USER MAPPING" not in text


def test_a_password_is_in_the_environment_and_not_in_the_process_list(shop, database, database_url, tmp_path):
    """A pg_dump that writes down how it was called, and then is the real one."""
    real = choose_pg_dump(database.info.server_version // 10000).path
    fake = tmp_path / "bin" / "pg_dump"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || {{ echo "$@"; env; }} > {tmp_path}/called\nexec "{real}" "$@"\n'
    )
    fake.chmod(0o755)
    shop.environ["CONFITURE_PG_BINDIR"] = str(fake.parent)
    shop.url = make_conninfo(database_url, password="hush-hush")

    answer = shop("dump", "-")

    assert answer.code == 0, answer.err
    arguments, *environment = (tmp_path / "called").read_text().splitlines()
    assert "hush" not in arguments
    assert "PGPASSWORD=hush-hush" in environment


def fake_pg_dump(folder: Path, version: str) -> Path:
    folder.mkdir()
    path = folder / "pg_dump"
    path.write_text(f'#!/bin/sh\necho "pg_dump (PostgreSQL) {version}"\n')
    path.chmod(0o755)
    return path


def test_a_pg_dump_older_than_the_server_is_two_and_says_the_way_on(shop, tmp_path):
    fake_pg_dump(tmp_path / "old", "13.4")
    shop.environ["CONFITURE_PG_BINDIR"] = str(tmp_path / "old")

    answer = shop("dump")

    assert answer.code == 2
    assert "pg_dump is older than the server" in answer.err
    assert "CONFITURE_PG_BINDIR" in answer.err
    assert not (shop.folder / "schema.sql").exists()


def test_a_bindir_without_pg_dump_is_two(shop, tmp_path):
    shop.environ["CONFITURE_PG_BINDIR"] = str(tmp_path)

    answer = shop("dump")

    assert answer.code == 2
    assert "contains no pg_dump" in answer.err


def test_the_pg_dump_of_the_servers_own_major_version_goes_first(tmp_path, monkeypatch):
    fake_pg_dump(tmp_path / "older", "15.3")
    fake_pg_dump(tmp_path / "newer", "17.1")
    same = fake_pg_dump(tmp_path / "same", "16.9 (Debian 16.9-1)")
    path = os.pathsep.join(str(tmp_path / name) for name in ("newer", "older", "same"))
    monkeypatch.setenv("PATH", path)
    monkeypatch.delenv("CONFITURE_PG_BINDIR", raising=False)

    program = choose_pg_dump(16)

    assert (program.path, program.version) == (same, "16.9")


def test_no_pg_dump_that_is_new_enough_anywhere_is_refused(tmp_path, monkeypatch):
    fake_pg_dump(tmp_path / "bin", "17.1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CONFITURE_PG_BINDIR", raising=False)

    with pytest.raises(DumpFault, match="older than the server"):
        choose_pg_dump(99)


def test_a_file_that_cannot_be_written_is_two(shop):
    answer = shop("dump", "nowhere/schema.sql")

    assert answer.code == 2
    assert "cannot write the schema to" in answer.err


def test_a_role_that_may_not_read_a_table_is_told_what_pg_dump_said(shop, database, database_url):
    database.execute("CREATE ROLE stranger LOGIN")
    try:
        shop.url = make_conninfo(database_url, user="stranger")

        answer = shop("dump")
    finally:
        database.execute("DROP ROLE stranger")

    assert answer.code == 4
    assert "permission denied" in answer.err


def test_run_dump_writes_the_schema_after_the_run(project):
    project.write("1_jam.sql", JAM)

    answer = project("run", "--dump")

    assert answer.code == 0
    assert "wrote schema.sql" in answer.out
    assert "CREATE TABLE public.jam" in (project.folder / "schema.sql").read_text()


def test_run_dump_writes_nothing_where_the_run_failed(project):
    project.write("1_jam.sql", "SELECT 1/0;")

    answer = project("run", "--dump")

    assert answer.code == 4
    assert not (project.folder / "schema.sql").exists()


def test_run_dump_is_refused_before_anything_is_applied_where_pg_dump_is_too_old(project, database, tmp_path):
    fake_pg_dump(tmp_path / "old", "13.4")
    project.environ["CONFITURE_PG_BINDIR"] = str(tmp_path / "old")
    project.write("1_jam.sql", JAM)

    answer = project("run", "--dump")

    assert answer.code == 2
    assert database.execute("SELECT to_regclass('jam')").fetchone() == (None,)


def test_run_dump_that_cannot_be_written_says_that_the_run_went_well(project, database):
    project.write("1_jam.sql", JAM)
    (project.folder / "schema.sql").mkdir()

    answer = project("run", "--dump")

    assert answer.code == 2
    assert "1 migration applied" in answer.out
    assert "cannot write the schema to" in answer.err
    assert database.execute("SELECT to_regclass('jam')").fetchone() == ("jam",)


def test_dump_and_dry_run_exclude_each_other(project):
    assert project("run", "--dry-run", "--dump").code == 2


HEAD = """\
--
-- PostgreSQL database dump
--

\\restrict abc

-- Dumped from database version 18.1
-- Dumped by pg_dump version 18.1

"""


def test_what_looks_like_a_header_further_down_stays():
    body = "SET x = 1;\n\nCREATE FUNCTION f() RETURNS text AS $$\n\\restrict me\n-- Dumped from\n$$;\n"
    foot = "\n\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n"

    assert normalize_dump(HEAD + body + foot) == body


def test_a_dump_without_tokens_is_normalised_alike():
    body = "SET x = 1;\n"
    foot = "\n\n--\n-- PostgreSQL database dump complete\n--\n\n"

    assert normalize_dump(HEAD.replace("\\restrict abc\n\n", "") + body + foot) == body


def test_interrupted_while_it_dumps_a_run_still_reports_what_it_has_applied(project, tmp_path):
    path = fake_pg_dump(tmp_path / "bin", "99.1")
    path.write_text(f'{path.read_text()}[ "$1" = --version ] || {{ kill -INT $PPID; exec sleep 600; }}\n')
    project.environ["CONFITURE_PG_BINDIR"] = str(path.parent)
    project.write("1_jam.sql", JAM)

    answer = project.call_process("run", "--dump", "--output", "json=out.json", "--output", "text")

    report = published.read_file(project.folder / "out.json")
    assert answer.code == 130 == report["exit_code"]
    assert report["error"]["message"] == "interrupted"
    assert [migration["outcome"] for migration in report["migrations"]] == ["applied"]
    assert "1  jam" in answer.out
