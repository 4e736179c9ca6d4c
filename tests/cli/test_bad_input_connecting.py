"""No server, the wrong one, the wrong password, too few rights: what is lacking, and no password told."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from confiture.exceptions import ConnectionFault
from tests.cli.servers import PASSWORD, announcing, asking_for_a_password, nobody, with_password
from tests.project import Project, applied, tables, wait_until


@pytest.fixture
def sound(folder: Project) -> Project:
    """A project with one migration, and no database."""
    folder.write("1_jam.sql", "CREATE TABLE jam (i int)")
    return folder


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[str]:
    """The conninfo of a role that needs a password."""
    with asking_for_a_password() as conninfo:
        yield conninfo


@pytest.mark.parametrize("command", ["status", "plan", "run", "dry-run", "down"])
def test_an_unreachable_server_is_three_and_says_why_and_what_to_do(sound, command):
    with nobody() as port:
        answer = sound(command, "--url", f"postgresql://me:s3cret@127.0.0.1:{port}/x")

    assert answer.code == 3
    assert answer.err.startswith("error: cannot connect: ")
    assert "Connection refused" in answer.err.splitlines()[0]
    assert f"{port}" in answer.err.splitlines()[0]
    assert "--url embedded:" in answer.err
    assert "s3cret" not in answer.err
    assert answer.out == ""


def test_a_socket_without_a_server_is_three_and_says_why(sound, tmp_path):
    answer = sound("run", "--url", f"postgresql:///x?host={tmp_path}")

    assert answer.code == 3
    assert "No such file or directory" in answer.err.splitlines()[0]
    assert str(tmp_path) in answer.err


def test_every_server_of_a_list_that_is_unreachable_leaves_one_reason(sound):
    with nobody() as port:
        answer = sound("run", "--url", f"postgresql://127.0.0.1:{port},127.0.0.1:{port}/x")

    assert answer.code == 3
    assert "Connection refused" in answer.err.splitlines()[0]


def test_a_server_still_starting_is_waited_for_and_then_given_up(sound):
    with nobody() as port:
        answer = sound("run", "--wait", "0.3", "--url", f"postgresql://127.0.0.1:{port}/x")

    assert answer.code == 3
    first, *rest = answer.err.splitlines()
    assert first.startswith("waiting up to 0.3 s for the server (--wait): ")
    assert "Connection refused" in first
    assert not any(line.startswith("waiting") for line in rest)


def test_quiet_says_nothing_while_it_waits(sound):
    with nobody() as port:
        answer = sound("run", "-q", "--wait", "0.3", "--url", f"postgresql://127.0.0.1:{port}/x")

    assert answer.code == 3
    assert "waiting" not in answer.err


@pytest.mark.parametrize("missing", ["database", "role"])
def test_a_database_or_role_that_does_not_exist_is_three_and_named(sound, server, missing):
    url = server.conninfo("no_such_jam" if missing == "database" else "postgres")
    if missing == "role":
        url = psycopg.conninfo.make_conninfo(url, user="no_such_jam")

    answer = sound("run", "--url", url)

    assert answer.code == 3
    assert f'{missing} "no_such_jam" does not exist' in answer.err
    assert "hint: create it first" in answer.err


@pytest.mark.parametrize("url", ["postgresql://u:s3cr3t@localhost/x", "host=localhost password=s3cr3t"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "{}"),
        ("run", "--output", "json", "--to={}"),
        ("status", "--output", "json={}"),
        ("fleet", "run", "--targets", "{}"),
        ("fleet", "status", "{}"),
        ("repair", "--done", "{}"),
        ("dump", "{}"),
        ("{}",),
    ],
)
def test_a_url_where_none_belongs_is_two_and_not_repeated(sound, arguments, url):
    answer = sound(*(argument.format(url) for argument in arguments))

    assert answer.code == 2
    assert "s3cr3t" not in answer.out + answer.err
    assert "hint: give it with --url" in answer.err
    if arguments[1:3] == ("--output", "json"):
        assert "a database URL stands where none belongs" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "refusing, hint",
    [
        ("ALTER DATABASE {name} ALLOW_CONNECTIONS false", "ALTER DATABASE … ALLOW_CONNECTIONS true"),
        ("ALTER ROLE {name} NOLOGIN", "ALTER ROLE … LOGIN"),
        ("REVOKE CONNECT ON DATABASE {name} FROM public", "GRANT CONNECT ON DATABASE"),
    ],
)
def test_what_a_running_server_refuses_is_told_its_remedy(sound, server, refusing, hint):
    name = f"refused_{secrets.token_hex(4)}"
    url = psycopg.conninfo.make_conninfo(server.conninfo(name), user=name)
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as conn:
        try:
            for statement in ("CREATE ROLE {name} LOGIN", "CREATE DATABASE {name}", refusing):
                conn.execute(statement.format(name=name).encode())
            answer = sound("run", "--url", url)
        finally:
            conn.execute(f"DROP DATABASE IF EXISTS {name}".encode())
            conn.execute(f"DROP ROLE IF EXISTS {name}".encode())

    assert answer.code == 3
    assert hint in answer.err
    assert "is running" not in answer.err


@pytest.mark.parametrize("url", ["jam", "postgresql://me:s3%zzcret@localhost/x", "host=x s3cret"])
def test_a_url_that_is_none_is_three_and_shows_how_one_is_written(sound, url):
    answer = sound("run", "--url", url)

    assert answer.code == 3
    assert "postgresql://user@host:5432/name" in answer.err
    assert "s3" not in answer.err


@pytest.mark.parametrize("key", ["--url", "CONFITURE_DATABASE_URL", "DATABASE_URL", "url", "direct_url"])
@pytest.mark.parametrize("url", ["postgresql://u:a@s3cr3t@localhost/x", "postgresql://u@localhost:s3cr3t/x"])
def test_a_password_that_was_not_escaped_is_not_sent_and_not_shown(project, key, url):
    """A no-transaction migration is what needs ``direct_url``."""
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam (i int)")
    good, arguments, environ = project.url, ["run", "-v", "--output", "json=report.json"], {}
    if key == "--url":
        arguments += ["--url", url]
    elif key.isupper():
        project.url, environ = "", {key: url}
    else:
        project.url = ""
        project.configure(
            f"url = '{good}'\ndirect_url = '{url}'" if key == "direct_url" else f"url = '{url}'"
        )

    answer = project(*arguments, **environ)

    assert answer.code == 3
    assert "%40 for @" in answer.err
    assert "s3cr3t" not in answer.out + answer.err + (project.folder / "report.json").read_text()


@pytest.mark.parametrize("how", ["url", "direct_url"])
def test_embedded_through_the_python_api_says_that_only_commands_start_it(project, how):
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam (i int)")

    with pytest.raises(ConnectionFault, match="only commands start the embedded one") as caught:
        project.run(**{how: "embedded:"})

    assert "postgresql://user@host:5432/name" in str(caught.value.hint)


@pytest.mark.parametrize("version, shown", [("13.14", "13"), ("9.6.24", "9")])
def test_a_server_older_than_14_is_three_and_named(sound, version, shown):
    """On a stand-in that only speaks the beginning of the protocol: no such server is at hand."""
    with announcing(version) as url:
        answer = sound("run", "--url", url)

    assert answer.code == 3
    assert f"the server is PostgreSQL {shown}; confiture needs 14 or newer" in answer.err
    assert "hint: " in answer.err


def test_the_right_password_lets_in(sound, guarded_server):
    answer = sound("status", "--url", with_password(guarded_server, PASSWORD))

    assert answer.code == 0


@pytest.mark.parametrize("command", ["status", "run", "dry-run"])
def test_a_wrong_password_is_three_and_not_repeated(sound, guarded_server, command):
    answer = sound(command, "--url", with_password(guarded_server, "wr0ng:one"), "-v")

    assert answer.code == 3
    assert 'password authentication failed for user "jam"' in answer.err
    assert "PGPASSWORD, or ~/.pgpass" in answer.err
    assert "wr0ng" not in answer.err + answer.out


def test_no_password_where_one_is_needed_is_three(sound, guarded_server):
    sound.environ = {"HOME": str(sound.folder)}

    answer = sound("status", "--url", guarded_server)

    assert answer.code == 3
    assert "no password supplied" in answer.err
    assert "PGPASSWORD" in answer.err


def test_a_wrong_password_is_not_waited_for(sound, guarded_server):
    """Waiting for an hour would end the test by its own patience."""
    answer = sound("status", "--wait", "3600", "--url", with_password(guarded_server, "wr0ng"))

    assert answer.code == 3


@pytest.mark.parametrize("way", ["flag", "variable", "file", "PGPASSWORD"])
def test_a_password_reaches_no_report_log_or_screen(sound, guarded_server, way):
    sound.write("2_faulty.sql", "SELECT 1/0")
    url, arguments = with_password(guarded_server, PASSWORD), ["run", "-v", "--output", "json=report.json"]
    if way == "flag":
        arguments += ["--url", url]
    elif way == "variable":
        sound.url = url
    elif way == "file":
        sound.configure(f"url = '{url}'\n")
    else:
        sound.url, sound.environ = guarded_server, {"PGPASSWORD": PASSWORD}

    answer = sound(*arguments)

    assert answer.code == 4
    everything = answer.out + answer.err + (sound.folder / "report.json").read_text()
    for spelling in (PASSWORD, quote(PASSWORD, safe=""), "s3cret"):
        assert spelling not in everything
    assert sound("down", *arguments[1:]).code in (0, 4)


def test_a_password_is_not_in_the_ledger_or_in_what_a_server_sees(sound, guarded_server):
    """Nor in ``pg_stat_activity``, where another user of the database would read it."""
    sound.write(
        "2_activity.sql",
        "CREATE TABLE activity AS SELECT application_name || query AS seen FROM pg_stat_activity",
    )
    url = with_password(guarded_server, PASSWORD)

    sound("run", "--url", url)

    with psycopg.connect(url, autocommit=True) as conn:
        seen = conn.execute("SELECT seen FROM activity UNION ALL SELECT l::text FROM confiture.ledger l")
        assert "s3cret" not in " ".join(str(tuple_row) for tuple_row in seen)
        conn.execute("DROP SCHEMA confiture CASCADE")
        conn.execute("DROP TABLE IF EXISTS jam, activity")


@pytest.fixture
def reader(database, database_url) -> Iterator[str]:
    """The URL of a role that may read and not write."""
    name = f"reader_{database.info.dbname}"
    database.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield psycopg.conninfo.make_conninfo(database_url, user=name)
    for what in ("DROP OWNED BY {}", "DROP ROLE {}"):
        database.execute(sql.SQL(what).format(sql.Identifier(name)))


def test_a_role_that_may_not_write_has_a_status_and_is_told_what_run_lacks(project, database, reader):
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")

    answers = [project(command, "--url", reader) for command in ("status", "plan", "run")]

    assert [answer.code for answer in answers] == [0, 0, 4]
    assert "1 pending" in answers[0].out
    assert "may not create schema 'confiture'" in answers[2].err
    assert "GRANT CREATE ON DATABASE" in answers[2].err
    assert tables(database) == []


def test_a_role_that_may_read_the_ledger_sees_what_is_applied(project, database, reader):
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")
    project("run")
    who = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(reader)["user"]))
    database.execute(sql.SQL("GRANT USAGE ON SCHEMA confiture TO {}").format(who))
    database.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA confiture TO {}").format(who))
    project.write("2_fig.sql", "CREATE TABLE fig (i int)")

    status, run = project("status", "--url", reader), project("run", "--url", reader)

    assert status.code == 0
    assert "1 applied, 1 pending" in status.out
    assert run.code == 4
    assert "may not write the ledger" in run.err
    assert "hint: " in run.err
    assert applied(database) == ["1"]
    assert "public.fig" not in tables(database)


def test_a_role_that_may_not_read_the_ledger_is_told_what_it_lacks(project, database, reader):
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")
    project("run")

    answer = project("status", "--url", reader)

    assert answer.code == 4
    assert "may not read the ledger" in answer.err
    assert "GRANT USAGE ON SCHEMA" in answer.err


def test_a_read_only_database_is_four_and_says_so(project, database):
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")
    name = sql.Identifier(database.info.dbname)
    database.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))

    status, run = project("status"), project("run")

    assert status.code == 0
    assert run.code == 4
    assert "read-only" in run.err
    assert "hint: " in run.err
    assert tables(database) == []


def test_a_role_with_a_single_connection_is_told_that_two_are_needed(project, database, reader):
    project.write("1_jam.sql", "CREATE TABLE jam (i int)")
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(reader)["user"]))
    database.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(database.info.dbname), name)
    )
    database.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 1").format(name))

    answer = project("run", "--url", reader)

    assert answer.code == 3
    assert "too many connections" in answer.err
    assert "confiture needs two connections" in answer.err
    assert tables(database) == []


SESSIONS = "SELECT 1 FROM pg_stat_activity WHERE usename = 'reader_' || %s"


@pytest.mark.parametrize(
    "words, text, number",
    [
        (("run",), "", 2),
        (("run",), "-- confiture: no-transaction\n", 3),
        (("dry-run",), "-- confiture: no-transaction\n", 3),
    ],
)
def test_the_number_of_connections_that_it_asks_for_is_enough(project, database, reader, words, text, number):
    """One fewer is refused with this number, and with this number it works."""
    project.write("1_jam.sql", f"{text}SELECT 1;")
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(reader)["user"]))
    base = sql.Identifier(database.info.dbname)
    database.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(base, name))
    numbers = {2: "two", 3: "three"}

    database.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(name, number - 1))
    refused = project(*words, "--url", reader)
    database.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(name, number))
    wait_until(lambda: not database.execute(SESSIONS, [database.info.dbname]).fetchone())
    done = project(*words, "--url", reader)

    assert refused.code == 3
    assert f"confiture needs {numbers[number]} connections" in refused.err
    assert done.code == 0, done.err
