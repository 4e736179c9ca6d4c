"""A rehearsal on a server of our own: the schema copied, on request a sample of the rows."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import psycopg
import pytest

from confiture.api import operations
from confiture.exceptions import ConfigurationFault, MigrationFault
from confiture.models.report import Report
from confiture.rehearsal.embedded_copy import build_missing_extensions_fault, warn_of_major_difference
from tests.project import Project, only, plugin, until
from tests.rehearsal.fingerprints import fingerprint

pytestmark = pytest.mark.slow

SHOP = (
    "CREATE TABLE people (id int PRIMARY KEY, boss int REFERENCES people, name text, shout text"
    " GENERATED ALWAYS AS (upper(name)) STORED)",
    "INSERT INTO people SELECT g, nullif((g * 7) % 1000, g) + 1, 'p' || g FROM generate_series(1, 1000) g",
    "CREATE TABLE orders (id serial, who int NOT NULL REFERENCES people, day date) PARTITION BY RANGE (day)",
    "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-07-01')",
    "CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM ('2026-07-01') TO ('2027-01-01')",
    "INSERT INTO orders (who, day) SELECT g % 1000 + 1, date '2026-01-01' + g % 360 FROM generate_series(1, 3000) g",
    "CREATE MATERIALIZED VIEW many AS SELECT who, count(*) FROM orders GROUP BY who",
    "ANALYZE",
)


def rehearse(project: Project, *plugins, sample: int | None = None, **more) -> Report:
    return operations.run(
        project.settings(**more), dry_run=True, place="embedded", sample_rows=sample, plugins=plugins
    )


def asking(*queries: str):
    """Return a plugin that asks these, and the list that gets the answers."""
    answers: list[object] = []

    def before_ddl(conn):
        answers.extend(conn.execute(query.encode()).fetchall() for query in queries)

    return plugin(before_ddl=before_ddl), answers


def test_the_schema_is_there_and_the_rows_are_not(project, sql):
    sql("CREATE TABLE jam (id int PRIMARY KEY)", "INSERT INTO jam VALUES (1)")
    before = fingerprint(project.url)
    project.write("1_it.sql", "ALTER TABLE jam ADD COLUMN fruit text; INSERT INTO jam VALUES (1);")

    report = rehearse(project)

    assert (report.exit_code, only(report).outcome) == (0, "rehearsed")
    assert report.rehearsed_on is not None
    assert "copy of the schema" in report.notes[0]
    assert fingerprint(project.url) == before


def test_the_same_plan_is_pending_there(project, sql):
    project.write("1_first.sql", "CREATE TABLE jam ();")
    project.run()
    project.write("2_second.sql", "ALTER TABLE jam ADD COLUMN fruit text;")

    report = rehearse(project)

    assert [migration.version for migration in report.migrations] == ["2"]
    assert report.exit_code == 0


def test_the_sample_keeps_every_foreign_key_whole(project, sql):
    sql(*SHOP)
    project.write("1_it.sql", "SELECT 1;")
    look, answers = asking(
        "SELECT count(*) FROM orders_1",
        "SELECT count(*) FROM orders_2",
        "SELECT count(*) FROM orders o LEFT JOIN people p ON p.id = o.who WHERE p.id IS NULL",
        "SELECT count(*) FROM people c LEFT JOIN people p ON p.id = c.boss WHERE c.boss IS NOT NULL AND p.id IS NULL",
        "SELECT count(*) > 20 FROM people",
        "SELECT count(*) FROM people WHERE shout = upper(name)",
        "SELECT count(*) FROM people",
        "SELECT nextval('orders_id_seq')",
        "SELECT count(*) > 0 FROM many",
        "SELECT reltuples > 0 FROM pg_class WHERE relname = 'people'",
    )

    report = rehearse(project, look, sample=20)

    assert report.exit_code == 0, report
    *counts, shouting, people, sequence, many, analyzed = answers
    assert counts == [[(20,)], [(20,)], [(0,)], [(0,)], [(True,)]]
    assert shouting == people
    assert (sequence, many, analyzed) == ([(3001,)], [(True,)], [(True,)])


def test_two_tables_that_refer_to_each_other_stay_whole(project, sql):
    sql(
        "CREATE TABLE hens (id int PRIMARY KEY, egg int)",
        "CREATE TABLE eggs (id int PRIMARY KEY, hen int NOT NULL REFERENCES hens)",
        "INSERT INTO hens SELECT g, g % 100 + 1 FROM generate_series(1, 100) g",
        "INSERT INTO eggs SELECT g, (g * 3) % 100 + 1 FROM generate_series(1, 100) g",
        "ALTER TABLE hens ADD FOREIGN KEY (egg) REFERENCES eggs",
    )
    project.write(
        "1_it.sql",
        "ALTER TABLE hens ADD CONSTRAINT again FOREIGN KEY (egg) REFERENCES eggs;"
        "ALTER TABLE eggs ADD CONSTRAINT again FOREIGN KEY (hen) REFERENCES hens;",
    )

    report = rehearse(project, sample=5)

    assert report.exit_code == 0, report


def test_roles_are_there_to_be_granted_to_and_owners_are_kept(project, sql, maintenance):
    name = f"owner_{os.getpid()}"
    maintenance.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hush'".encode())
    sql("CREATE TABLE jam ()", f"ALTER TABLE jam OWNER TO {name}")
    project.write("1_it.sql", f"CREATE TABLE bread (); GRANT SELECT ON bread TO {name};")
    look, answers = asking(
        "SELECT tableowner::text FROM pg_tables WHERE tablename = 'jam'",
        f"SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = '{name}'",
    )

    report = rehearse(project, look)

    sql("DROP TABLE jam")
    maintenance.execute(f"DROP ROLE {name}".encode())
    assert report.exit_code == 0, report
    assert answers == [[(name,)], [(True,)]]


def test_the_sessions_settings_are_those_of_the_database(project, maintenance):
    name = psycopg.conninfo.conninfo_to_dict(project.url)["dbname"]
    maintenance.execute(f"ALTER DATABASE \"{name}\" SET timezone TO 'Europe/Paris'".encode())
    project.write("1_it.sql", "SELECT 1;")
    look, answers = asking("SELECT current_setting('timezone')", "SELECT current_database()::text")

    rehearse(project, look)

    assert answers == [[("Europe/Paris",)], [(name,)]]


def test_somebody_may_be_connected(project, database):
    database.execute("CREATE TABLE jam ()")
    project.write("1_it.sql", "ALTER TABLE jam ADD COLUMN fruit text;")

    assert rehearse(project).exit_code == 0


def test_what_needs_no_transaction_is_sampled_there_too(project, sql):
    sql("CREATE TABLE jam (fruit text)", "CREATE INDEX jam_fruit ON jam (fruit)")
    project.write("1_it.sql", "-- confiture: no-transaction\nDROP INDEX CONCURRENTLY jam_fruit;")

    (lock,) = only(rehearse(project)).locks

    assert (lock.relation, lock.mode, lock.seen) == ("public.jam_fruit", "AccessExclusiveLock", "sampled")


def test_a_role_may_be_made_there(project, maintenance):
    name = f"made_{os.getpid()}"
    project.write("1_it.sql", f"CREATE ROLE {name};")

    report = rehearse(project)

    assert report.exit_code == 0, report
    assert maintenance.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchall() == []


def test_a_subscription_would_reach_another_server_and_is_refused(project):
    project.write("1_it.sql", "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false);")

    with pytest.raises(MigrationFault, match="reaches another server"):
        rehearse(project)


def test_user_mappings_do_not_come_along(project, sql):
    sql(
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid')",
        "CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (password 'hush')",
    )
    project.write("1_it.sql", "SELECT 1;")
    look, answers = asking("SELECT count(*) FROM pg_user_mapping", "SELECT count(*) FROM pg_foreign_server")

    rehearse(project, look)

    assert answers == [[(0,)], [(1,)]]


def test_an_extension_that_a_migration_asks_for_in_vain_has_a_way_on(project):
    project.write("1_it.sql", "CREATE EXTENSION no_such_thing;")

    report = rehearse(project)

    assert report.exit_code == 4
    assert "CONFITURE_PG_BINDIR" in only(report).error.hint


def test_an_extension_that_is_missing_here_is_named_with_the_ways_on():
    fault = build_missing_extensions_fault(["postgis 3.4.0", "vector 0.7"], "18.6")

    assert isinstance(fault, ConfigurationFault)
    assert fault.exit_code == 2
    assert "postgis 3.4.0, vector 0.7" in fault.message
    assert "CONFITURE_PG_BINDIR" in str(fault.hint)
    assert "--in clone" in str(fault.hint)


def test_an_extension_that_the_server_has_and_ours_has_not_is_refused(project, sql):
    _rename_extension(project.url)
    project.write("1_it.sql", "SELECT 1;")

    with pytest.raises(ConfigurationFault, match="lacks made_elsewhere 1"):
        rehearse(project)


def _rename_extension(url: str) -> None:
    """Make one of a name that no package of ours has."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION hstore")
        conn.execute("UPDATE pg_extension SET extname = 'made_elsewhere' WHERE extname = 'hstore'")


def test_an_older_pg_dump_is_refused_with_the_ways_on(project, tmp_path, monkeypatch):
    old = tmp_path / "bin" / "pg_dump"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    old.chmod(0o755)
    monkeypatch.setenv("CONFITURE_PG_BINDIR", str(old.parent))
    project.write("1_it.sql", "SELECT 1;")

    with pytest.raises(ConfigurationFault, match="pg_dump is older than the server") as fault:
        rehearse(project)

    assert fault.value.exit_code == 2
    assert "--in clone" in (fault.value.hint or "")


@pytest.mark.parametrize("source, here, differs", [("18.1", "18.6", False), ("15.18", "18.6", True)])
def test_a_difference_of_the_major_version_is_a_warning(source, here, differs):
    said = warn_of_major_difference(source, here)

    assert (said is not None) is differs
    assert said is None or (source in said and here in said and said.startswith("warning"))


def test_a_killed_rehearsal_leaves_no_server_and_no_folder(project, sql):
    before = fingerprint(project.url)
    folders = set(Path(tempfile.gettempdir()).glob("confiture-*"))
    project.write("1_slow.sql", "CREATE TABLE jam (); SELECT pg_sleep(60);")
    with project.running("dry-run", "--in", "embedded") as process:
        home = until(lambda: _sleeping(folders), "the rehearsal to sleep")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)

        until(lambda: not home.exists(), "the server and its folder to go")
    assert fingerprint(project.url) == before


def _sleeping(before: set[Path]) -> Path | None:
    """Return the folder of the new server on which somebody sleeps."""
    for home in set(Path(tempfile.gettempdir()).glob("confiture-*")) - before:
        for socket in home.glob("pg*/.s.PGSQL.5432"):
            try:
                with psycopg.connect(host=str(socket.parent), user="postgres", dbname="postgres") as conn:
                    query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
                    if conn.execute(query).fetchone():
                        return home
            except psycopg.Error:
                continue
    return None
