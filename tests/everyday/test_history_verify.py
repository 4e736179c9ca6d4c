"""``history`` tells what was applied; ``verify`` compares it with the files and the plugins."""

from __future__ import annotations

import pytest
from psycopg.conninfo import make_conninfo

JAM = "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n"
COUNTER = """
from confiture import hookimpl


@hookimpl
def after_ddl(conn):
    conn.execute("SELECT 1")
"""


@pytest.fixture
def shop(project):
    """Two applied migrations, with a plugin."""
    project.install("counter", COUNTER)
    project.write("1_jam.sql", JAM)
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")
    assert project("run", "--plugins", "counter").code == 0
    return project


def test_the_history_says_when_who_how_long_hooks_and_plugins_newest_last(shop):
    history = shop("history", "--output", "json").json["migrations"]

    assert [item["version"] for item in history] == ["1", "2"]
    first = history[0]
    assert first["name"] == "jam"
    assert first["applied_by"] == "postgres"
    assert first["applied_at"].startswith("20")
    assert first["duration_ms"] > 0
    assert first["plugins"] == [{"name": "counter", "version": "1.0"}]
    assert first["hooks"] == [{"phase": "after_ddl", "hook": "after_ddl"}]
    assert first["baseline"] is False


def test_the_history_is_ordered_by_when_and_not_by_version(shop):
    shop.write("1.5_late.sql", "CREATE TABLE late (i int);")
    assert shop("run", "--allow-out-of-order").code == 0

    text = shop("history").out

    assert text.index(" fig ") < text.index(" late ")
    assert "plugins: counter 1.0" in text


def test_the_history_of_a_new_database_is_empty(project):
    answer = project("history")

    assert (answer.code, answer.out) == (0, "no migration has been applied yet\n")


def test_verify_agrees_and_ends_with_zero(shop):
    answer = shop("verify", "--output", "json")

    assert answer.code == 0
    assert answer.json == {"schema_version": 1, "outcome": "ok", "exit_code": 0, "disagreements": []}


def test_verify_finds_changed_missing_and_late_files_and_ends_with_seven(shop, database):
    shop.write("1_jam.sql", JAM + "-- more\n")
    (shop.migrations / "2_fig.sql").unlink()
    shop.write("1.5_late.sql", "CREATE TABLE late (i int);")

    answer = shop("verify", "--output", "json")

    assert answer.code == 7
    found = {item["what"]: item for item in answer.json["disagreements"]}
    assert {what: item["version"] for what, item in found.items()} == {
        "changed": "1",
        "missing": "2",
        "out-of-order": "1.5",
    }
    assert found["changed"]["recorded"] != found["changed"]["found"]
    assert "confiture repair --accept-changed 1" in found["changed"]["hint"]
    assert "confiture repair --forget 2" in found["missing"]["hint"]


def test_verify_finds_an_unfinished_migration(project):
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam (i int);\nSELECT 1/0;\n")
    assert project("run").code == 4

    answer = project("verify")

    assert answer.code == 7
    assert "unfinished: 1 jam" in answer.out
    assert "confiture repair 1" in answer.out


def test_verify_finds_a_plugin_that_is_gone_and_can_leave_plugins_out(shop):
    shop.installed.clear()

    answer = shop("verify")
    without = shop("verify", "--no-plugins")

    assert (answer.code, without.code) == (7, 0)
    assert "plugin counter 1.0 took part in 2 fig; it is not installed" in answer.out


def test_verify_compares_a_plugin_with_the_version_that_took_part_last(shop):
    shop.installed.clear()
    (shop.folder / "site-counter").rename(shop.folder / "site-old")
    shop.install("counter", COUNTER, version="2.0")

    upgraded = shop("verify", "--output", "json")
    shop.write("3_pear.sql", "CREATE TABLE pear (i int);")
    assert shop("run", "--plugins", "counter").code == 0
    afterwards = shop("verify")

    assert upgraded.code == 7
    (found,) = upgraded.json["disagreements"]
    assert (found["what"], found["recorded"], found["found"]) == ("plugin-changed", "1.0", "2.0")
    assert afterwards.code == 0


@pytest.mark.parametrize("command", ["verify", "history", "repair", "status"])
def test_read_rights_are_enough_and_nothing_is_written(shop, database, database_url, command):
    """A role that may only read, in sessions that cannot write, while the migration lock is held."""
    database.execute(
        "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA confiture TO reader;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA confiture TO reader;"
        "ALTER ROLE reader SET default_transaction_read_only = on"
    )
    try:
        shop.url = make_conninfo(database_url, user="reader")

        answer = shop(command)
    finally:
        database.execute("DROP OWNED BY reader; DROP ROLE reader")

    assert answer.code == 0, answer.err


def test_a_role_that_may_not_read_the_ledger_is_told_so(shop, database, database_url):
    database.execute("CREATE ROLE stranger LOGIN")
    try:
        shop.url = make_conninfo(database_url, user="stranger")

        answer = shop("history")
    finally:
        database.execute("DROP OWNED BY stranger; DROP ROLE stranger")

    assert answer.code == 4
    assert "may not read the ledger" in answer.err


def test_hostile_names_are_shown_inert(project, database):
    project.write("1_evil\x1b[2J.sql", "CREATE TABLE jam (i int);")
    assert project("run").code == 0

    answer = project("history")

    assert "\x1b" not in answer.out
    assert "evil" in answer.out


def test_the_ledger_of_an_earlier_shape_is_no_traceback(project, database):
    """Somebody's own schema has the name; what is in it is not a ledger."""
    database.execute("CREATE SCHEMA confiture; CREATE TABLE confiture.ledger (x int)")

    answer = project("history")

    assert answer.code == 4
    assert answer.err.startswith("error: ")


def test_history_needs_no_migrations_folder(shop):
    for path in shop.migrations.iterdir():
        path.unlink()
    shop.migrations.rmdir()

    assert shop("history").code == 0
