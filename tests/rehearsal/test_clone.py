"""A rehearsal in a clone: everything is committed there, nothing of it is left, the source is untouched."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import psycopg
import pytest
from psycopg import sql as compose
from psycopg.conninfo import conninfo_to_dict

from confiture.api import operations
from confiture.config.settings import Settings
from confiture.exceptions import LockFault, MigrationFault, RightsFault
from confiture.models.report import Report
from confiture.rehearsal import clone
from tests.project import Project, ended, only, plugin, running, until
from tests.rehearsal.fingerprints import fingerprint
from tests.swallowing_proxy import SwallowingProxy

pytestmark = pytest.mark.slow


def rehearse(project: Project, *plugins, **more) -> Report:
    return operations.run(project.settings(**more), dry_run=True, place="clone", plugins=plugins)


def clones(conn) -> list[str]:
    found = conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'confiture\\_clone\\_%'")
    return [name for (name,) in found]


def test_a_connection_that_is_lost_leaves_the_report_and_no_clone(project, maintenance):
    project.write("1_jam.sql", "CREATE TABLE jam ();")
    project.write("2_long.sql", "SELECT pg_sleep(600);")
    with SwallowingProxy(project.url, b"no such marker") as proxy:
        project.url = proxy.url
        with project.running("dry-run", "--in", "clone", "--output", "json") as process:
            until(running(maintenance, "pg_sleep(600)"), "the second migration")
            proxy.cut()
            answer = ended(process)

    assert answer.code == 4
    assert [migration["outcome"] for migration in answer.json["migrations"]] == ["rehearsed", "failed"]
    assert answer.json["error"] is None
    assert clones(maintenance) == []


def test_each_migration_is_committed_there(project, sql):
    sql("CREATE TYPE mood AS ENUM ('good')")
    project.write("1_add.sql", "ALTER TYPE mood ADD VALUE 'bad';")
    project.write("2_use.sql", "CREATE TABLE days (how mood DEFAULT 'bad'); INSERT INTO days DEFAULT VALUES;")

    report = rehearse(project)

    assert [migration.outcome for migration in report.migrations] == ["rehearsed", "rehearsed"]
    assert report.exit_code == 0


def test_what_needs_no_transaction_is_rehearsed_as_it_would_run(project, sql):
    sql("CREATE TABLE jam (fruit text)")
    project.write(
        "1_index.sql", "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_fruit ON jam (fruit);"
    )

    report = rehearse(project)

    assert only(report).outcome == "rehearsed"
    assert [build.index for build in only(report).index_builds] == ["public.jam_fruit"]


def test_nothing_is_left_and_the_source_is_untouched(project, sql, maintenance):
    sql("CREATE TABLE jam (id serial, fruit text)", "INSERT INTO jam (fruit) VALUES ('plum')")
    before = fingerprint(project.url)
    project.write("1_more.sql", "INSERT INTO jam (fruit) VALUES ('fig'); CREATE TABLE bread ();")

    report = rehearse(project)

    assert report.exit_code == 0
    assert fingerprint(project.url) == before
    assert clones(maintenance) == []


def test_the_report_says_where_it_was(project):
    project.write("1_it.sql", "SELECT 1;")

    report = rehearse(project)

    assert report.rehearsed_on == report.server_version
    assert "rehearsed in a clone of test_" in report.notes[0]


def test_a_failing_migration_leaves_nothing_either(project, maintenance):
    project.write("1_good.sql", "CREATE TABLE jam ();")
    project.write("2_bad.sql", "CREATE TABLE jam ();")

    report = rehearse(project)

    assert (report.exit_code, [migration.outcome for migration in report.migrations]) == (
        4,
        ["rehearsed", "failed"],
    )
    assert clones(maintenance) == []


def test_hooks_are_told_that_it_is_a_rehearsal_and_callbacks_are_not_called(project):
    seen: list[object] = []

    def after_ddl(conn, context):
        seen.append((context.dry_run, conn.info.dbname.startswith("confiture_clone_")))
        context.on_commit(lambda: seen.append("called"))

    project.write("1_it.sql", "SELECT 1;")

    report = rehearse(project, plugin(after_ddl=after_ddl))

    assert seen == [(True, True)]
    assert len(only(report).on_commit) == 1


def test_with_nothing_pending_nothing_is_copied(project, database):
    project.write("1_it.sql", "SELECT 1;")
    project.run()

    report = rehearse(project)

    assert (report.exit_code, report.migrations) == (0, ())


def test_somebody_else_connected_is_named_and_left_alone(project, database):
    project.write("1_it.sql", "SELECT 1;")

    with pytest.raises(
        LockFault, match=f"1 other session is connected: pid {database.info.backend_pid}"
    ) as fault:
        rehearse(project)

    assert "--in embedded" in (fault.value.hint or "")
    assert fault.value.exit_code == 6
    assert database.execute("SELECT 1").fetchall() == [(1,)]


@pytest.fixture
def plain(project, sql, maintenance):
    """The same project for a role that owns the database and has no other right."""
    name = f"plain_{os.getpid()}"
    maintenance.execute(compose.SQL("CREATE ROLE {} LOGIN").format(compose.Identifier(name)))
    known = psycopg.conninfo.conninfo_to_dict(project.url)
    maintenance.execute(
        compose.SQL("ALTER DATABASE {} OWNER TO {}").format(
            compose.Identifier(str(known["dbname"])), compose.Identifier(name)
        )
    )
    yield Project(project.folder, psycopg.conninfo.make_conninfo(project.url, user=name))
    maintenance.execute(
        compose.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(
            compose.Identifier(str(known["dbname"]))
        )
    )
    sql(f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP OWNED BY {name}")
    maintenance.execute(compose.SQL("DROP ROLE {}").format(compose.Identifier(name)))


def test_a_role_that_may_not_create_databases_is_told_what_it_lacks(plain):
    plain.write("1_it.sql", "SELECT 1;")

    with pytest.raises(RightsFault, match="permission denied to create database") as fault:
        rehearse(plain)

    assert "CREATEDB" in (fault.value.hint or "")
    assert "--in embedded" in (fault.value.hint or "")


def test_a_plain_role_that_owns_the_database_may_rehearse(plain, maintenance):
    maintenance.execute(f"ALTER ROLE plain_{os.getpid()} CREATEDB")
    plain.write("1_it.sql", "-- confiture: no-transaction\nCREATE TABLE jam (id int);\nVACUUM FULL jam;")

    report = rehearse(plain)

    assert report.exit_code == 0, report
    assert clones(maintenance) == []
    assert {item.what for item in only(report).not_seen} == {"scans", "locks"}


def test_database_settings_are_copied(project, maintenance):
    name = psycopg.conninfo.conninfo_to_dict(project.url)["dbname"]
    maintenance.execute(f'ALTER DATABASE "{name}" SET search_path TO "Odd, Name", public, \'\'')
    maintenance.execute(f"ALTER DATABASE \"{name}\" SET timezone TO 'Europe/Paris'")
    seen: list[object] = []
    project.write("1_it.sql", "SELECT 1;")

    def after_ddl(conn):
        seen.append(
            conn.execute("SELECT current_setting('search_path'), current_setting('timezone')").fetchone()
        )

    rehearse(project, plugin(after_ddl=after_ddl))

    assert seen == [('"Odd, Name", public, ""', "Europe/Paris")]


def test_rights_on_the_database_are_copied(project, maintenance):
    name = psycopg.conninfo.conninfo_to_dict(project.url)["dbname"]
    maintenance.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
    maintenance.execute(f'GRANT TEMPORARY ON DATABASE "{name}" TO pg_monitor')
    seen: list[object] = []
    project.write("1_it.sql", "SELECT 1;")

    def after_ddl(conn):
        asked = "SELECT has_database_privilege('pg_monitor', current_database(), each) FROM unnest(%s::text[]) each"
        seen.extend(right for (right,) in conn.execute(asked, (["CONNECT", "TEMPORARY"],)))

    rehearse(project, plugin(after_ddl=after_ddl))

    assert seen == [False, True]


# What a clone does not isolate.

SHARED = [
    "CREATE ROLE jam",
    "CREATE USER jam",
    "ALTER ROLE postgres SET work_mem = '1MB'",
    "DROP GROUP jam",
    "GRANT pg_monitor TO postgres",
    "ALTER ROLE jam RENAME TO fig",
    "COMMENT ON ROLE jam IS 'sweet'",
    "ALTER DATABASE app SET work_mem = '1MB'",
    "COMMENT ON DATABASE app IS 'sweet'",
    "GRANT CONNECT ON DATABASE app TO PUBLIC",
    "ALTER DATABASE app OWNER TO postgres",
    "GRANT CREATE ON TABLESPACE pg_default TO PUBLIC",
    "REASSIGN OWNED BY a TO b",
    "DROP OWNED BY a",
    "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false)",
]
SHARED_OUTSIDE = ["ALTER SYSTEM SET work_mem = '1MB'", "CREATE DATABASE jam", "DROP TABLESPACE jam"]


@pytest.mark.parametrize("statement", SHARED)
def test_a_statement_on_what_all_databases_share_is_refused_before_anything_runs(project, statement):
    project.write("1_good.sql", "CREATE TABLE jam ();")
    path = project.write("2_shared.sql", f"SELECT 1;\n{statement};")

    with pytest.raises(MigrationFault) as fault:
        rehearse(project)

    assert (fault.value.file, fault.value.line) == (path, 2)


@pytest.mark.parametrize("statement", SHARED_OUTSIDE)
def test_so_is_one_that_allows_no_transaction(project, statement):
    project.write("1_shared.sql", f"-- confiture: no-transaction\n{statement};")

    with pytest.raises(MigrationFault, match="changes the whole server"):
        rehearse(project)


@pytest.mark.parametrize(
    "statement",
    ["COMMENT ON TABLE jam IS 'x'", "GRANT SELECT ON jam TO PUBLIC", "ALTER TABLE jam RENAME TO fig"],
)
def test_the_same_words_about_the_databases_own_objects_are_not(project, sql, statement):
    sql("CREATE TABLE jam ()")
    project.write("1_own.sql", f"{statement};")

    assert rehearse(project).exit_code == 0


def test_a_do_block_that_makes_a_role_is_found_out_and_rolled_back(project, maintenance):
    name = f"hidden_{os.getpid()}"
    project.write("1_hidden.sql", f"DO $$ BEGIN EXECUTE 'CREATE ' || 'ROLE {name}'; END $$;")

    report = rehearse(project)

    assert report.exit_code == 4
    assert name in only(report).error.message
    assert maintenance.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchall() == []


def test_a_block_that_commits_one_is_found_out_afterwards(project, maintenance):
    name = f"hidden_{os.getpid()}"
    project.write(
        "1_hidden.sql",
        f"-- confiture: no-transaction\nDO $$ BEGIN EXECUTE 'CREATE ' || 'ROLE {name}'; COMMIT; END $$;",
    )

    report = rehearse(project)

    maintenance.execute(compose.SQL("DROP ROLE {}").format(compose.Identifier(name)))
    assert (report.exit_code, report.outcome) == (4, "failed")
    assert report.error is not None
    assert name in report.error.message


def test_a_python_migration_is_refused_when_it_gets_there(project, maintenance):
    project.write(
        "1_shared.py",
        """
        from confiture.models.migration import Migration


        class Shared(Migration):
            transactional = False

            def up(self):
                self.execute("CREATE DATABASE confiture_should_not_be")
        """,
    )

    report = rehearse(project)

    assert report.exit_code == 4
    assert "CREATE DATABASE changes the whole server" in only(report).error.message
    assert not maintenance.execute(
        "SELECT 1 FROM pg_database WHERE datname = 'confiture_should_not_be'"
    ).fetchall()


# Cut off from the world.


def test_user_mappings_are_dropped_and_foreign_servers_disabled(project, sql):
    sql(
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS (user 'me', password 'hush')",
        "CREATE USER MAPPING FOR PUBLIC SERVER far",
        "CREATE FOREIGN TABLE away (id int) SERVER far",
    )
    seen: list[object] = []
    project.write("1_it.sql", "SELECT * FROM away;")

    def before_ddl(conn):
        seen.extend(conn.execute("SELECT 1 FROM pg_user_mapping").fetchall())

    report = rehearse(project, plugin(before_ddl=before_ddl))

    assert seen == []
    assert 'foreign-data wrapper "postgres_fdw" has no handler' in only(report).error.message
    assert sql("SELECT count(*) FROM pg_user_mapping") == [(2,)]


def test_dblink_is_disabled(project, sql):
    sql("CREATE EXTENSION dblink")
    project.write("1_it.sql", "SELECT dblink_connect('host=nowhere.invalid');")
    project.write("2_it.sql", "SELECT * FROM dblink('host=nowhere.invalid', 'SELECT 1') AS t (id int);")

    report = rehearse(project)

    error = report.migrations[0].error
    assert error is not None
    assert "dblink is disabled" in error.message


# Killed.


def killed_mid_way(project: Project, maintenance, number: signal.Signals) -> int:
    project.write("1_slow.sql", "CREATE TABLE jam (); SELECT pg_sleep(60);")
    with project.running("dry-run", "--in", "clone") as process:
        until(running(maintenance, "pg_sleep(60)"), "the rehearsal to sleep")
        process.send_signal(number)
        process.communicate(timeout=30)
        return process.returncode


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drops_the_clone(project, maintenance, number, code):
    returned = killed_mid_way(project, maintenance, number)

    assert returned == code
    assert clones(maintenance) == []


def keep_busy(conn: psycopg.Connection) -> None:
    conn.pgconn.send_query(b"SELECT pg_sleep(600)")


def lose(conn: psycopg.Connection) -> None:
    with socket.socket(fileno=os.dup(conn.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("spoil", [keep_busy, lose, psycopg.Connection.close])
def test_a_clone_is_dropped_although_the_session_that_made_it_cannot(project, sql, maintenance, spoil):
    """As a signal may leave it: in the middle of a statement, or gone."""
    sql("CREATE TABLE jam (fruit text)")
    source = str(conninfo_to_dict(project.url)["dbname"])

    with clone.clone_database(project.settings(), source) as made:
        there = clones(maintenance)
        spoil(made.maintenance_conn)

    assert there == [made.name]
    assert clones(maintenance) == []


def test_what_a_killed_rehearsal_left_the_next_one_drops(project, maintenance):
    before = fingerprint(project.url)
    killed_mid_way(project, maintenance, signal.SIGKILL)
    left = clones(maintenance)
    until(lambda: clone.find_left_behind(maintenance), "the killed session to end")
    project.write("1_slow.sql", "SELECT 1;")

    report = rehearse(project)

    assert len(left) == 1
    assert report.exit_code == 0
    assert clones(maintenance) == []
    assert fingerprint(project.url) == before


def test_a_clone_at_work_is_not_dropped_by_another_rehearsal(project, maintenance):
    project.write("1_slow.sql", "SELECT pg_sleep(60);")
    with project.running("dry-run", "--in", "clone"):
        until(running(maintenance, "pg_sleep(60)"), "the rehearsal to sleep")

        assert clone.sweep(maintenance) == ()
        assert len(clones(maintenance)) == 1
    until(lambda: clone.sweep(maintenance), "the killed session to end")


def test_a_database_is_dropped_by_its_comment_alone(maintenance):
    name = f"confiture_clone_{2**22 + 1}_1_{os.getpid():08x}"[:63]
    maintenance.execute(compose.SQL("CREATE DATABASE {}").format(compose.Identifier(name)))

    swept = clone.sweep(maintenance)

    assert swept == ()
    clone._mark(maintenance, name)
    assert clone.sweep(maintenance) == (name,)


def test_a_clone_whose_making_was_cut_short_is_told_by_its_connection_limit(maintenance):
    name = f"confiture_clone_{2**22 + 1}_1_{os.getpid():08x}"
    maintenance.execute(
        compose.SQL("CREATE DATABASE {} CONNECTION LIMIT {}").format(
            compose.Identifier(name), compose.Literal(clone._derive_limit(name))
        )
    )

    assert clone.sweep(maintenance) == (name,)


def test_a_comment_copied_to_another_database_does_not_count():
    name = f"confiture_clone_{2**22 + 1}_1_00000000"

    assert clone.is_marked(name, 7, -1, f"clone of a database, made by confiture: {name} 7; dropped")
    assert not clone.is_marked(name, 8, -1, f"clone of a database, made by confiture: {name} 7; dropped")
    assert not clone.is_marked("mine", 7, -1, "clone of a database, made by confiture: mine 7; dropped")
    assert not clone.is_marked(name, 7, clone._derive_limit(name), "somebody wants to keep it")


def test_where_a_url_names_several_servers_the_clone_is_on_the_one_that_answered(database, database_url):
    known = psycopg.conninfo.conninfo_to_dict(database_url)
    several = psycopg.conninfo.make_conninfo(
        "", **{**known, "host": f"/nowhere,{known['host']}", "port": "1,5432", "hostaddr": ","}
    )

    settings = clone.pin_server(Settings(root=Path(), url=several), database)

    found = psycopg.conninfo.conninfo_to_dict(settings.url or "")
    assert (found["host"], found["port"]) == (database.info.host, str(database.info.port))
