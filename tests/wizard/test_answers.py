"""The wizard without a terminal: flags answer, and an approved plan is run or refused."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime

import pytest

from tests.project import applied, tables

pytestmark = pytest.mark.slow

ORDERS = "CREATE TABLE orders (id bigint PRIMARY KEY, note text, qty int);\n"
INDEX = "CREATE INDEX orders_qty ON orders (qty);\n"


@pytest.fixture
def shop(project, database):
    """A project with a filled table, and three pending migrations."""
    project.write("1_orders.sql", ORDERS)
    assert project("run").code == 0
    database.execute("INSERT INTO orders SELECT g, 'x', g FROM generate_series(1, 1000) g")
    database.execute("ANALYZE orders")
    project.write("2_index.sql", INDEX)
    project.write("3_notes.sql", "CREATE TABLE notes (id int);\n")
    project.write("4_note_index.sql", "CREATE INDEX notes_id ON notes (id);\n")
    return project


def test_without_a_terminal_it_names_the_flags_before_any_work(shop, database):
    answer = shop("wizard")

    assert answer.code == 2
    assert "--choose all=run" in answer.err
    assert "--apply or --no-apply" in answer.err
    assert applied(database) == ["1"]


def test_a_split_is_written_rehearsed_again_and_run(shop, database):
    answer = shop("wizard", "--choose", "all=run", "--choose", "2=split", "--apply")

    assert answer.code == 0, answer.err
    assert "mark it no-transaction and build concurrently" in answer.err
    assert (shop.migrations / "2_index.sql").read_text().startswith("-- confiture: no-transaction\n")
    assert applied(database) == ["1", "2", "3", "4"]


def test_what_depends_on_a_skipped_migration_is_skipped_with_it(shop, database):
    answer = shop("wizard", "--choose", "all=run", "--choose", "3=skip", "--choose", "2=split", "--apply")

    assert "skipped with it, because they use what it creates: 4" in answer.err
    assert applied(database) == ["1", "2"]
    assert "public.notes" not in tables(database)


def test_a_high_risk_wants_the_name_of_the_database(shop, database):
    name = database.info.dbname
    refused = shop("wizard", "--choose", "all=run", "--apply", "--database", "other")
    accepted = shop("wizard", "--choose", "all=run", "--apply", "--database", name)

    assert refused.code == 2
    assert f"--database other: this is {name}" in refused.err
    assert accepted.code == 0, accepted.err
    assert applied(database) == ["1", "2", "3", "4"]


def test_without_a_terminal_a_high_risk_asks_for_a_flag_and_not_for_an_answer(shop, database):
    answer = shop("wizard", "--choose", "all=run", "--apply")

    assert answer.code == 2
    assert (
        f"hint: add --database {database.info.dbname}, or --choose 2=skip; nothing was applied" in answer.err
    )
    assert applied(database) == ["1"]


def test_a_plan_is_saved_and_run_later(shop, database):
    saved = shop("wizard", "--choose", "all=skip", "--choose", "3=run", "--no-apply")
    plan = json.loads((shop.folder / "confiture-plan.json").read_text())

    ran = shop("run", "--plan", "confiture-plan.json")

    assert "run it: confiture run --plan confiture-plan.json" in saved.out
    assert [migration["version"] for migration in plan["migrations"]] == ["3"]
    assert plan["skipped"] == ["2", "4"]
    assert ran.code == 0, ran.err
    assert applied(database) == ["1", "3"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("file", "3 notes has changed"),
        ("new", "5 more is new"),
        ("schema", "the schema has changed"),
        ("applied", "3 notes is not pending any more"),
        ("gone", "3 notes is not pending any more, or its file is gone"),
        ("findings", "3 has a finding that was not there: error prefer-bigint"),
    ],
)
def test_a_stale_plan_is_refused_and_says_why(shop, database, change, words):
    shop("wizard", "--choose", "all=skip", "--choose", "3=run", "--no-apply")
    if change == "file":
        shop.write("3_notes.sql", "CREATE TABLE notes (id bigint);\n")
    elif change == "new":
        shop.write("5_more.sql", "CREATE TABLE more (id int);\n")
    elif change == "schema":
        database.execute("ALTER TABLE orders ADD COLUMN sneaked int")
    elif change == "gone":
        (shop.migrations / "3_notes.sql").unlink()
    elif change == "findings":
        shop.configure('[gate.severity]\nprefer-bigint = "error"\n')
    else:
        shop("baseline", "3")

    answer = shop("run", "--plan", "confiture-plan.json")

    assert answer.code == 7
    assert words in answer.err
    assert "nothing was applied" in answer.err
    assert "public.notes" not in tables(database)


def test_a_plan_for_another_database_is_refused(shop, database, second_url):
    shop("wizard", "--choose", "all=skip", "--choose", "3=run", "--no-apply")

    answer = shop("run", "--plan", "confiture-plan.json", "--url", second_url)

    assert answer.code == 7
    assert f"it is for database '{database.info.dbname}', and this is" in answer.err


def test_a_plan_made_on_another_major_version_is_refused(shop):
    shop("wizard", "--choose", "all=skip", "--choose", "3=run", "--no-apply")
    plan = shop.folder / "confiture-plan.json"
    document = json.loads(plan.read_text())
    major, _, minor = document["server_version"].partition(".")

    plan.write_text(json.dumps({**document, "server_version": f"{int(major) - 1}.{minor}"}))
    older = shop("run", "--plan", plan.name)
    plan.write_text(json.dumps({**document, "server_version": f"{major}.99"}))
    same = shop("run", "--plan", plan.name)

    assert older.code == 7
    assert f"it was made on PostgreSQL {int(major) - 1}.{minor}" in older.err
    assert same.code == 0, same.err


@pytest.mark.parametrize(
    ("flags", "version", "words"),
    [
        (("--plugins", "jam"), "2.0", "plugins: jam==1.0 then, jam==2.0 now"),
        (("--no-plugins",), "1.0", "plugins: jam==1.0 then, none now"),
    ],
)
def test_a_plan_for_other_plugins_is_refused(shop, flags, version, words):
    shop.install("jam", "from confiture import hookimpl\n\n@hookimpl\ndef cleanup(conn):\n    pass\n")
    shop("wizard", "--plugins", "jam", "--choose", "all=skip", "--choose", "3=run", "--no-apply")
    (metadata,) = (shop.folder / "site-jam").glob("*/METADATA")
    metadata.write_text(metadata.read_text().replace("Version: 1.0", f"Version: {version}"))

    answer = shop("run", "--plan", "confiture-plan.json", *flags)

    assert answer.code == 7
    assert words in answer.err


def test_a_plan_says_who_approved_it_when_and_at_which_risk(shop, database):
    before = datetime.now(UTC).replace(microsecond=0)
    shop("wizard", "--choose", "all=run", "--database", database.info.dbname, "--no-apply")

    plan = json.loads((shop.folder / "confiture-plan.json").read_text())

    assert plan["approved_by"] == getpass.getuser()
    assert before <= datetime.fromisoformat(plan["approved_at"]) <= datetime.now(UTC)
    assert [migration["level"] for migration in plan["migrations"]] == ["high", "low", "medium"]


@pytest.mark.parametrize("between", ["nothing", "schema", "file"])
def test_a_plan_whose_run_has_failed_goes_on_unless_something_else_has_changed(shop, database, between):
    database.execute("CREATE TABLE switch AS SELECT 1")
    shop.write("4_switch.sql", "DO $$ BEGIN PERFORM 1 / (SELECT count(*) FROM switch); END $$;\n")
    (shop.migrations / "4_note_index.sql").unlink()
    shop.write("5_more.sql", "CREATE TABLE more (id int);\n")
    saved = shop("wizard", "--choose", "all=run", "--choose", "2=skip", "--no-apply")
    database.execute("DELETE FROM switch")
    failed = shop("run", "--plan", "confiture-plan.json")
    database.execute("INSERT INTO switch VALUES (1)")
    if between == "schema":
        database.execute("ALTER TABLE orders ADD COLUMN sneaked int")
    elif between == "file":
        shop.write("5_more.sql", "CREATE TABLE more (id bigint);\n")

    answer = shop("run", "--plan", "confiture-plan.json")

    assert saved.code == 0, saved.err
    assert failed.code == 4, failed.err
    if between == "nothing":
        assert answer.code == 0, answer.err
        assert applied(database) == ["1", "3", "4", "5"]
        return
    changed = "the schema has changed" if between == "schema" else "5 more has changed"
    assert answer.code == 7
    assert changed in answer.err
    assert "approve what is pending now: confiture wizard" in answer.err
    assert applied(database) == ["1", "3"]


@pytest.mark.parametrize(
    ("text", "words"), [("{", "is not JSON"), ("{}", "is not a plan of confiture"), (None, "No such file")]
)
def test_a_file_that_is_no_plan_is_a_usage_error(shop, text, words):
    if text is not None:
        (shop.folder / "plan.json").write_text(text)

    answer = shop("run", "--plan", "plan.json")

    assert answer.code == 2
    assert words in answer.err
