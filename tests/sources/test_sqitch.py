"""A sqitch project and its registry are taken over as they are."""

from __future__ import annotations

import subprocess

import psycopg
import pytest

from confiture.sources.sqitch_plan import read_plan
from tests.project import Project, applied, exists, tables
from tests.tools import build_node_url, find_tool
from tests.tools.schema import describe_schema

HEADER = "%syntax-version=1.0.0\n%project=flipr\n%uri=https://example.com/flipr\n\n"
WHEN = "2026-01-01T10:00:00Z Ann Onymous <ann@example.com>"
USERS = "-- Deploy flipr:users to pg\n\nBEGIN;\n\nCREATE TABLE users (id int PRIMARY KEY, name text);\n\nCOMMIT;\n"
LISTS = "BEGIN;\nCREATE TABLE lists (id int, owner int REFERENCES users);\nCOMMIT;\n"
CHECK = "BEGIN;\nSELECT {columns} FROM {table} WHERE FALSE;\nROLLBACK;\n"


def write(
    project: Project, name: str, deploy: str, revert: str | None = None, verify: str | None = None
) -> None:
    """Write the scripts of one change."""
    for folder, text in (("deploy", deploy), ("revert", revert), ("verify", verify)):
        (project.migrations / folder).mkdir(parents=True, exist_ok=True)
        if text is not None:
            project.write(f"{folder}/{name}.sql", text.encode())


def plan(project: Project, *lines: str) -> None:
    """Write the plan and the configuration; each line gets a time and a planner."""
    written = [line if "#" not in line else line.split("#")[0].rstrip() for line in lines]
    notes = [f" #{line.split('#')[1]}" if "#" in line else "" for line in lines]
    project.migrations.mkdir(exist_ok=True)
    project.write(
        "sqitch.plan",
        (
            HEADER + "".join(f"{line} {WHEN}{note}\n" for line, note in zip(written, notes, strict=True))
        ).encode(),
    )
    project.write("sqitch.conf", "[core]\n\tengine = pg\n\t# plan_file = sqitch.plan\n")


@pytest.fixture
def flipr(project) -> Project:
    """A project of two changes and a tag, with all scripts."""
    write(
        project,
        "users",
        USERS,
        "BEGIN;\nDROP TABLE users;\nCOMMIT;\n",
        CHECK.format(columns="id, name", table="users"),
    )
    write(
        project,
        "lists",
        LISTS,
        "BEGIN;\nDROP TABLE lists;\nCOMMIT;\n",
        CHECK.format(columns="owner", table="lists"),
    )
    plan(
        project,
        "users # Who signs in: ça va.",
        "@v1.0 # First.",
        "lists [users] # What they keep\\nand more.",
    )
    project.configure('source = "sqitch"\n')
    return project


def sqitch(project: Project, conninfo: str, *arguments: str) -> str:
    """Run sqitch in the folder of a project; return what it said."""
    target = "db:pg:" + build_node_url(conninfo).removeprefix("postgres:").replace(
        "&sslmode=disable", ""
    ).replace("?sslmode=disable", "")
    finished = subprocess.run(
        [find_tool("sqitch", needs=("psql",)), arguments[0], "--target", target, *arguments[1:]],
        cwd=project.migrations,
        env={**project.environment(), "SQITCH_FULLNAME": "Dee Ployer", "SQITCH_EMAIL": "dee@example.com"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return finished.stdout + finished.stderr


REGISTRY = {
    "changes": "change_id, script_hash, change, project, note, planned_at, planner_name, planner_email",
    "tags": "tag_id, tag, project, change_id, note, planned_at, planner_name, planner_email",
    "dependencies": "change_id, type, dependency, dependency_id",
    "events": "event, change_id, change, project, note, requires, conflicts, tags, planned_at, planner_name",
    "projects": "project, uri",
}


def read_registry(conn) -> dict[str, list[str]]:
    """Return all of the registry but times of deployment and those who deployed."""
    return {
        name: sorted(map(str, conn.execute(f"SELECT {columns} FROM sqitch.{name}")))
        for name, columns in REGISTRY.items()
    }


@pytest.mark.slow
def test_sqitch_and_confiture_write_the_same_schema_and_the_same_registry(
    flipr, database, database_url, alone
):
    plan_of_all = (flipr.migrations / "sqitch.plan").read_text()
    first = sqitch(flipr, database_url, "deploy", "--to", "users")
    sqitch(flipr, alone, "deploy")

    adopted = flipr("adopt", "--mirror")
    run = flipr("run")

    assert "+ users" in first, first
    assert "ledger sqitch.changes" in adopted.out
    assert run.code == 0, run.err
    with psycopg.connect(alone) as other:
        assert describe_schema(database) == describe_schema(other)
        assert read_registry(database) == read_registry(other)
    assert "Nothing to deploy (up-to-date)" in sqitch(flipr, database_url, "status")
    assert "Nothing to deploy (up-to-date)" in sqitch(flipr, database_url, "deploy")
    assert "Verify successful" in sqitch(flipr, database_url, "verify")
    # sqitch undoes what confiture did, and the other way round.
    assert "- lists" in sqitch(flipr, database_url, "revert", "-y", "--to", "users")
    assert (flipr.migrations / "sqitch.plan").read_text() == plan_of_all
    assert not exists(database, "lists")


@pytest.mark.slow
def test_what_confiture_undoes_is_undone_to_sqitch(flipr, database, database_url):
    sqitch(flipr, database_url, "deploy")
    flipr("adopt", "--mirror")

    down = flipr("down")

    assert down.code == 0, down.err
    assert "Undeployed change:\n  * lists" in sqitch(flipr, database_url, "status")
    assert "+ lists" in sqitch(flipr, database_url, "deploy")
    assert exists(database, "lists")


@pytest.mark.slow
def test_a_reworked_change_is_followed_from_its_first_deployment_on(flipr, database, database_url):
    sqitch(flipr, database_url, "deploy")
    flipr("adopt", "--mirror")
    for folder in ("deploy", "revert", "verify"):
        script = flipr.migrations / folder / "users.sql"
        script.with_name("users@v1.0.sql").write_bytes(script.read_bytes())
    write(
        flipr,
        "users",
        "BEGIN;\nALTER TABLE users ADD COLUMN age int;\nCOMMIT;\n",
        "ALTER TABLE users DROP COLUMN age;",
    )
    plan(
        flipr,
        "users # Who signs in: ça va.",
        "@v1.0 # First.",
        "lists [users] # What they keep\\nand more.",
        "users [users@v1.0] # Older.",
    )

    run = flipr("run")

    assert run.code == 0, run.err
    assert applied(database) == ["lists", "users", "users@v1.0+"]
    assert "Nothing to deploy (up-to-date)" in sqitch(flipr, database_url, "status")
    assert flipr("down").code == 0
    assert "Undeployed change:\n  * users" in sqitch(flipr, database_url, "status")


def test_ids_are_those_that_sqitch_computes(flipr):
    said = sqitch(flipr, "host=/nowhere user=x dbname=x", "plan", "--format", "format:%H %n")
    changes = read_plan(flipr.migrations / "sqitch.plan").changes

    assert [f"{change.id} {change.name}" for change in changes] == said.strip().splitlines()[-2:]


def test_run_applies_in_the_order_of_the_plan_and_down_undoes(flipr, database):
    run = flipr("run")
    made = tables(database)
    down = flipr("down", "--steps", "2")

    assert run.code == 0, run.err
    assert "public.lists" in made
    assert down.code == 0, down.err
    assert "public.users" not in tables(database)


def test_a_verify_script_that_fails_stops_the_migration(flipr, database):
    write(flipr, "lists", LISTS, None, "BEGIN;\n\nSELECT 1 / count(*) FROM lists;\nROLLBACK;\n")

    answer = flipr("run")

    assert answer.code == 4
    assert "the outcome is not as it should be: division by zero" in answer.err
    assert "at migrations/verify/lists.sql:3" in answer.err
    assert applied(database) == ["users"]
    assert not exists(database, "lists")


def test_a_rehearsal_runs_the_verify_script_too(flipr):
    write(flipr, "lists", LISTS, None, "SELECT 1 / count(*) FROM lists;")

    answer = flipr("dry-run")

    assert answer.code != 0
    assert "division by zero" in answer.err


def test_nothing_of_a_verify_script_is_kept(flipr, database):
    write(flipr, "users", USERS, None, "INSERT INTO users VALUES (1, 'x');\nSELECT 1 / count(*) FROM users;")

    assert flipr("run").code == 0
    assert database.execute("SELECT count(*) FROM users").fetchall() == [(0,)]


def test_a_verify_script_runs_after_work_outside_a_transaction(flipr, database):
    write(
        flipr,
        "lists",
        "CREATE TABLE lists (owner int);\nCREATE INDEX CONCURRENTLY lists_owner ON lists (owner);\n",
        "DROP INDEX CONCURRENTLY lists_owner;\nDROP TABLE lists;\n",
        "INSERT INTO lists VALUES (1);",
    )

    run = flipr("run")
    kept = database.execute("SELECT count(*) FROM lists").fetchall()
    down = flipr("down")

    assert run.code == 0, run.err
    assert kept == [(0,)]
    assert down.code == 0, down.err
    assert not exists(database, "lists")


def test_top_dir_and_plan_file_of_the_configuration_are_followed(flipr, database):
    moved = flipr.migrations / "db"
    moved.mkdir()
    for name in ("deploy", "revert", "verify"):
        (flipr.migrations / name).rename(moved / ("up" if name == "deploy" else name))
    (flipr.migrations / "sqitch.plan").rename(flipr.migrations / "flipr.plan")
    flipr.write(
        "sqitch.conf",
        '[core]\n  engine = pg ; the usual\n  top_dir = db\n[engine "pg"]\n  plan_file = flipr.plan\n  deploy_dir = "db/up"\n',
    )

    answer = flipr("run")

    assert answer.code == 0, answer.err
    assert applied(database) == ["lists", "users"]


def test_the_top_dir_itself_may_be_named(flipr, database):
    top = flipr.folder / "migrations"
    (top / "sqitch.conf").rename(flipr.folder / "sqitch.conf")
    (flipr.folder / "sqitch.conf").write_text("[core]\n\tengine = pg\n\ttop_dir = migrations\n")

    assert flipr("run").code == 0
    assert flipr("run", "--migrations", ".").code == 0
    assert applied(database) == ["lists", "users"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lists [nobody]", "sqitch.plan:6:1: lists requires nobody, which does not stand above it"),
        ("lists [!users]", "lists conflicts with users, which stands above it"),
        ("users", "the change users occurs twice without a tag in between"),
        ("-users", "a plan that reverts a change is not supported"),
        ("lists [a,,b", "this is no line of a plan"),
        ("@v1\n@v1", "this is no line of a plan"),
        ("gone", "there is no deploy/gone.sql"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_with_the_line(flipr, line, words):
    plan(flipr, "users", line)

    answer = flipr("run")

    assert answer.code == 4
    assert words in answer.err


def test_a_dependency_on_another_project_is_left_to_sqitch(flipr, database):
    plan(flipr, "users [other:thing !other:thong]")

    assert flipr("run").code == 0
    assert applied(database) == ["users"]


def test_another_engine_is_refused(flipr):
    flipr.write("sqitch.conf", "[core]\n\tengine = sqlite\n")

    answer = flipr("run")

    assert answer.code == 2
    assert "the engine in sqitch.conf is 'sqlite', and not 'pg'" in answer.err


def test_what_psql_alone_understands_is_refused_with_the_line(flipr):
    write(flipr, "users", "BEGIN;\n\\i other.sql\nCOMMIT;\n")

    answer = flipr("run")

    assert answer.code == 4
    assert "deploy/users.sql:2:1" in answer.err


def test_a_change_without_a_revert_script_cannot_be_undone(flipr, database):
    (flipr.migrations / "revert/lists.sql").unlink()
    flipr("run")

    answer = flipr("down")

    assert answer.code == 4
    assert "migration lists has no down part" in answer.err


def test_run_names_the_way_for_a_folder_that_was_not_adopted(flipr):
    flipr.configure("")

    answer = flipr("run")

    assert answer.code == 2
    assert "hint: confiture adopt --from sqitch" in answer.err
