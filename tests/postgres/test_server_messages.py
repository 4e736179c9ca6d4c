"""What the server says beside its results is reported: warnings everywhere, notices for who asks."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from confiture.models.report import Report, ServerMessage
from tests.project import Project, only, plugin

pytestmark = pytest.mark.slow

SPEAKS = "DO $$ BEGIN RAISE WARNING 'mind the gap'; RAISE NOTICE 'by the way'; RAISE INFO 'so'; END $$;\n"
SAID = (
    ServerMessage("WARNING", "mind the gap"),
    ServerMessage("NOTICE", "by the way"),
    ServerMessage("INFO", "so"),
)


@pytest.fixture
def project(tmp_path, database_url) -> Project:
    """A project with an empty database; no configuration of a folder above is found."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    return Project(tmp_path / "project", database_url)


def said(report: Report) -> list[tuple[ServerMessage, ...]]:
    return [statement.notices for statement in only(report).statements]


def test_a_run_keeps_what_the_server_says_with_its_statement(project):
    project.write("1_jam.sql", f"CREATE TABLE jam ();\n{SPEAKS}CREATE TABLE IF NOT EXISTS jam ();\n")

    report = project.run()

    skipped = ServerMessage("NOTICE", 'relation "jam" already exists, skipping')
    assert said(report) == [(), SAID, (skipped,)]


def test_a_rehearsal_says_the_same_and_nothing_of_its_own(project):
    """The tracer's event triggers speak by INFO, at every DDL statement."""
    project.write("1_jam.sql", f"CREATE TABLE jam ();\n{SPEAKS}ALTER TABLE jam ADD COLUMN i int;\n")

    report = project.rehearse()

    assert only(report).statements[2].locks == ()
    assert said(report) == [(), SAID, ()]


def test_a_plan_of_auto_explain_is_no_message_of_the_server(project):
    project.write("1_jam.sql", "CREATE TABLE jam AS SELECT 1 AS i;\nUPDATE jam SET i = 2;\n")

    answer = project("dry-run", "--explain", "--output", "json")

    statements = answer.json["migrations"][0]["statements"]
    assert "Plan" in json.dumps(statements[1]["plan"])
    assert [statement["notices"] for statement in statements] == [[], []]


def test_a_users_event_trigger_speaks_for_the_statement_alone(project, database):
    database.execute(
        "CREATE FUNCTION speak() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE WARNING 'did %', tg_tag; END $$"
    )
    database.execute("CREATE EVENT TRIGGER speak ON ddl_command_end EXECUTE FUNCTION speak()")
    project.write("1_jam.sql", "SELECT 1;\nCREATE TABLE jam ();\n")
    expected = [(), (ServerMessage("WARNING", "did CREATE TABLE"),)]

    rehearsed = project.rehearse()
    applied = project.run()

    database.execute("DROP EVENT TRIGGER speak")
    assert said(rehearsed) == said(applied) == expected
    assert only(rehearsed).warnings == ()


@pytest.mark.parametrize("command", ["run", "dry-run"])
def test_a_no_transaction_migration_is_heard_too(project, command):
    project.write("1_jam.sql", f"-- confiture: no-transaction\n{SPEAKS}VACUUM pg_class;\n")

    answer = project(command, "--output", "json", *(("--in", "clone") if command == "dry-run" else ()))

    first, second = answer.json["migrations"][0]["statements"]
    assert [message["message"] for message in first["notices"]] == ["mind the gap", "by the way", "so"]
    assert second["notices"] == []


def test_a_down_is_heard_too(project):
    project.write("1_jam.up.sql", "SELECT 1")
    project.write("1_jam.down.sql", SPEAKS)
    project.run()

    assert said(project.down()) == [SAID]


def test_a_python_migration_is_heard_by_call_and_on_its_connection(project):
    project.write(
        "1_jam.py",
        f"""
        from confiture.models.migration import Migration
        class Jam(Migration):
            def up(self):
                self.connection.execute("DO $$ BEGIN RAISE WARNING 'behind your back'; END $$")
                self.execute({SPEAKS!r})
        """,
    )

    report = project.run()

    assert said(report) == [SAID]
    assert only(report).warnings == ("the server warned: behind your back",)


def test_what_a_hook_makes_the_server_say_belongs_to_no_statement(project):
    def warn(conn: Any) -> None:
        conn.execute(SPEAKS)

    project.write("1_jam.sql", "SELECT 1")

    report = project.run(plugin(before_ddl=warn, after_ddl=warn))

    assert said(report) == [()]
    assert only(report).warnings == tuple(
        f"the server warned in {phase}: mind the gap" for phase in ("before_ddl", "after_ddl")
    )


def test_a_warning_of_a_statement_that_fails_is_not_lost(project):
    project.write("1_jam.sql", "DO $$ BEGIN RAISE WARNING 'mind the gap'; PERFORM 1/0; END $$")

    report = project.run()

    assert report.exit_code == 4
    assert only(report).warnings == ("the server warned: mind the gap",)


def test_a_million_notices_are_counted_and_not_kept(project):
    project.write("1_jam.sql", "DO $$ BEGIN FOR i IN 1..10000 LOOP RAISE NOTICE 'n %', i; END LOOP; END $$")

    (messages,) = said(project.run())

    assert len(messages) == 101
    assert messages[-1] == ServerMessage("NOTICE", "and 9,900 more messages")


@pytest.mark.parametrize("command", ["run", "dry-run"])
def test_every_report_has_the_warning_and_text_the_notices_for_who_asks(project, command):
    project.write("1_jam.sql", f"SELECT 1;\n{SPEAKS}")
    formats = ("html", "junit", "sarif", "gitlab", "markdown", "text")
    flags = [flag for name in formats for flag in ("--output", f"{name}=out.{name}")]

    answer = project(command, *flags, "--output", "github")

    assert answer.code == 0
    missing = [
        name for name in formats if "mind the gap" not in (project.folder / f"out.{name}").read_text("utf-8")
    ]
    assert missing == []
    assert "::warning file=migrations/1_jam.sql,line=2," in answer.out
    assert "warning of line 2: mind the gap" in answer.out
    assert "by the way" not in answer.out
    case = ElementTree.parse(project.folder / "out.junit").findall(".//testcase/skipped")
    assert [skipped.attrib["type"] for skipped in case] == ["server-warning"]


@pytest.mark.parametrize("command", ["run", "dry-run"])
def test_the_notices_are_there_for_who_asks(project, command):
    project.write("1_jam.sql", SPEAKS)

    answer = project(command, "-v", "--output", "text=out.txt")

    text = answer.out or (project.folder / "out.txt").read_text()
    assert "notice of line 1: by the way\n" in text
    assert "info of line 1: so\n" in text


def test_what_is_said_while_deferred_constraints_are_checked_is_a_warning_of_the_migration(project, database):
    database.execute(
        "CREATE FUNCTION speak() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE WARNING 'late'; RETURN NULL; END $$"
    )
    database.execute("CREATE TABLE jam (i int)")
    database.execute(
        "CREATE CONSTRAINT TRIGGER speak AFTER INSERT ON jam DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION speak()"
    )
    project.write("1_jam.sql", "INSERT INTO jam VALUES (1)")

    rehearsed, applied = project.rehearse(), project.run()

    assert only(rehearsed).warnings == only(applied).warnings == ("the server warned: late",)


def test_a_rehearsal_in_python_has_the_warnings(project, database):
    from confiture.core import DryRunExecutor
    from confiture.models.migration import Migration

    class Jam(Migration):
        version, name = "1", "jam"

        def up(self) -> None:
            self.execute(SPEAKS)

    result = DryRunExecutor().run(database, Jam(connection=database))

    assert [warning for warning in result.warnings if "mind the gap" in warning] != []
