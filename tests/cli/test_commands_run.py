"""``status``, ``plan``, ``run``, ``dry-run`` and ``down``, as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project import Project, applied, tables

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with three migrations that can be undone: SQL in one file, a pair, and Python."""
    project.write("1_jam.sql", "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n")
    project.write("2_fig.up.sql", "CREATE TABLE fig (i int);\nINSERT INTO fig VALUES (1), (2);\n")
    project.write("2_fig.down.sql", "DROP TABLE fig;\n")
    project.write(
        "10_plum.py",
        "from confiture.models.migration import Migration\n\n\nclass Plum(Migration):\n"
        "    def up(self):\n        self.execute('CREATE TABLE plum (i int)')\n\n"
        "    def down(self):\n        self.execute('DROP TABLE plum')\n",
    )
    return project


def test_from_a_new_folder_to_a_changed_database_and_back(project, database):
    assert project("init").code == 0
    path = project("new", "create jam").out.strip()
    (project.folder / path).write_text(
        "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n"
    )

    codes = [project(command).code for command in ("status", "plan", "dry-run", "run", "down", "status")]

    assert codes == [0] * 6
    assert {name.partition(".")[0] for name in tables(database)} == {"confiture"}


@pytest.mark.parametrize("flags", [("--python",), ("--python", "--no-transaction")])
def test_a_new_python_migration_is_pending(project, flags):
    path = project("new", 'Say "jam" & more', *flags).out.strip()

    answer = project("status", "--output", "json")

    assert (project.folder / path).exists()
    assert [item["state"] for item in answer.json["migrations"]] == ["pending"]


@pytest.mark.parametrize("flags", [(), ("--no-transaction",)])
def test_a_new_sql_migration_does_nothing_until_it_is_filled_in(project, flags):
    name = Path(project("new", "later", *flags).out.strip()).name

    status, ran, undone = project("status"), project("run"), project("down")

    assert (status.code, ran.code, undone.code) == (0, 0, 0)
    assert "1 pending" in status.out
    assert f"without a statement, does nothing: {name}" in ran.out


def test_status_shows_what_is_applied_and_pending(shop):
    shop("run", "--to", "1")

    answer = shop("status")

    assert answer.code == 0
    assert [line.split()[:3] for line in answer.out.splitlines()[:3]] == [
        ["applied", "1", "jam"],
        ["pending", "2", "fig"],
        ["pending", "10", "plum"],
    ]
    assert "1 applied, 2 pending" in answer.out


def test_status_with_exit_code_is_one_with_something_pending_and_zero_without(shop):
    before = shop("status", "--exit-code")
    shop("run")

    after = shop("status", "--exit-code")

    assert (before.code, after.code) == (1, 0)
    assert "3 pending" in before.out


def test_status_and_plan_write_nothing(shop, database):
    assert shop("status").code == 0
    assert shop("plan").code == 0

    assert tables(database) == []


def test_plan_shows_the_sql_in_order_with_hooks(shop):
    shop.install("plum", "from confiture import hookimpl\n\n\n@hookimpl\ndef after_ddl():\n    pass\n")
    shop("run", "--to", "1", "--no-plugins")

    answer = shop("plan", "-v", "--plugins", "plum")

    assert answer.code == 0
    at = [answer.out.index(words) for words in ("2 fig", "CREATE TABLE fig", "INSERT INTO fig", "10 plum")]
    assert at == sorted(at)
    assert "CREATE TABLE jam" not in answer.out
    assert "after_ddl" in answer.out
    assert "2 migrations to apply" in answer.out


def test_plan_shows_no_sql_unasked(shop):
    answer = shop("plan")

    assert "CREATE TABLE" not in answer.out
    assert "3 migrations to apply; -v shows the SQL" in answer.out


def test_plan_up_to_a_version(shop):
    answer = shop("plan", "--to", "02")

    assert "2 migrations to apply" in answer.out
    assert "10 plum" not in answer.out


def test_run_applies_what_is_pending_in_order_and_twice_does_nothing(shop, database):
    first, second = shop("run"), shop("run")

    assert (first.code, second.code) == (0, 0)
    assert [first.out.index(name) for name in ("jam", "fig", "plum")] == sorted(
        first.out.index(name) for name in ("jam", "fig", "plum")
    )
    assert "3 migrations applied" in first.out
    assert second.out == "nothing to do\n"
    assert {"public.jam", "public.fig", "public.plum"} <= set(tables(database))


@pytest.mark.parametrize("version", ["2", "02", "0002"])
def test_run_up_to_and_including_a_version_written_with_or_without_zeros(shop, database, version):
    assert shop("run", "--to", version).code == 0

    assert applied(database) == ["1", "2"]


@pytest.mark.parametrize("command", [("dry-run",), ("run", "--dry-run"), ("dry-run", "--no-gate")])
def test_dry_run_does_it_all_and_leaves_nothing(shop, database, command):
    answer = shop(*command, "--output", "json")

    assert answer.code == 0
    assert answer.json["mode"] == "dry-run"
    assert [item["outcome"] for item in answer.json["migrations"]] == ["rehearsed"] * 3
    assert [item["rows_affected"] for item in answer.json["migrations"]] == [0, 2, 0]
    assert tables(database) == []


def test_dry_run_of_what_fails_says_so_and_leaves_nothing(shop, database):
    shop.write("3_bad.sql", "INSERT INTO fig VALUES ('x')")

    answer = shop("dry-run")

    assert answer.code == 4
    assert "the rehearsal failed, nothing kept" in answer.out
    assert "migrations/3_bad.sql:1:" in answer.err
    assert tables(database) == []


def test_dry_run_of_what_needs_a_commit_is_not_rehearsed_and_zero(project, database):
    project.write("1_mood.sql", "CREATE TYPE mood AS ENUM ('sad')")
    assert project("run").code == 0
    project.write("2_more.sql", "ALTER TYPE mood ADD VALUE 'ok'")
    project.write("3_use.sql", "CREATE TABLE t (m mood DEFAULT 'ok')")
    project.write("4_needs.sql", "ALTER TABLE t ADD COLUMN i int")

    answer = project("dry-run", "--output", "json")

    assert answer.code == 0
    outcomes = [(item["version"], item["outcome"]) for item in answer.json["migrations"]]
    assert outcomes == [("2", "rehearsed"), ("3", "not_rehearsed"), ("4", "not_rehearsed")]
    assert all(item["reason"] for item in answer.json["migrations"][1:])


def test_down_undoes_one(shop, database):
    shop("run")

    answer = shop("down")

    assert answer.code == 0
    assert "1 migration reverted" in answer.out
    assert applied(database) == ["1", "2"]
    assert "public.plum" not in tables(database)


def test_down_undoes_several_newest_first(shop, database):
    shop("run")

    answer = shop("down", "--steps", "2", "--output", "json")

    assert [item["version"] for item in answer.json["migrations"]] == ["10", "2"]
    assert {item["outcome"] for item in answer.json["migrations"]} == {"reverted"}
    assert applied(database) == ["1"]


def test_down_to_a_version_leaves_it_applied(shop, database):
    shop("run")

    assert shop("down", "--to", "01").code == 0

    assert applied(database) == ["1"]


def test_down_more_than_there_is_undoes_what_there_is(shop, database):
    shop("run")

    assert shop("down", "--steps", "99").code == 0

    assert applied(database) == []


def test_down_with_nothing_applied_is_nothing_to_do(shop):
    answer = shop("down")

    assert (answer.code, answer.out) == (0, "nothing to do\n")


def test_down_then_run_applies_it_again(shop, database):
    shop("run")
    shop("down", "--steps", "3")

    assert shop("run").code == 0

    assert applied(database) == ["1", "10", "2"]


def test_progress_is_on_stderr_and_quiet_is_quiet(shop):
    loud, quiet = shop("run", "--to", "2"), shop("run", "-q")

    assert "1 jam: applied" in loud.err
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_quiet_still_says_what_failed(shop):
    shop.write("3_bad.sql", "SELECT 1/0")

    answer = shop("run", "-q")

    assert answer.code == 4
    assert "division by zero" in answer.err


def test_verbose_logs_on_stderr_alone(shop):
    shop.install(
        "plum",
        "from confiture import hookimpl\n\n\n@hookimpl\ndef after_ddl(context):\n    context.log.debug('jam.made', jars=3)\n",
    )

    answer = shop("run", "-v", "--plugins", "plum", "--to", "1", "--output", "json")

    assert answer.json["outcome"] == "ok"
    (line,) = [line for line in answer.err.splitlines() if "jam.made" in line]
    for words in ("jars=3", "version='1'", "phase='after_ddl'", "plugin='plum'"):
        assert words in line
