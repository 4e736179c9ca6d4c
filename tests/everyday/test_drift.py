"""``drift`` finds what was changed outside of migrations; ``diff`` compares two versions."""

from __future__ import annotations

import signal

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from confiture.core import Migrator
from confiture.models.migration import Migration
from confiture.server import find_binaries
from confiture.server.binaries import read_major
from tests.everyday.test_fingerprint import SCHEMA
from tests.everyday.test_killed import waits_at
from tests.project import ended, wait_until

pytestmark = pytest.mark.slow

JAM = "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n"


@pytest.fixture
def shop(project):
    """Two applied migrations."""
    project.write("1_jam.sql", JAM)
    project.write("2_fig.sql", "CREATE TABLE fig (i int);\nCREATE ROLE fig_eater;\nDROP ROLE fig_eater;\n")
    assert project("run").code == 0
    return project


@pytest.fixture
def builder(database):
    """Skip where the embedded server has another major version than the database's."""
    if read_major(find_binaries()) != database.info.server_version // 10000:
        pytest.skip("the embedded server has another major version")


def names(answer):
    """Return the objects that differ."""
    return [f"{item['change']}: {item['kind']} {item['identity']}" for item in answer.json["differences"]]


def test_after_a_run_there_is_no_drift(shop):
    answer = shop("drift", "--exit-code")

    assert answer.code == 0
    assert answer.out.startswith("no drift: ")


def test_a_change_by_hand_is_a_unified_diff_and_with_exit_code_a_one(shop, database):
    database.execute("ALTER TABLE jam ADD COLUMN sugar int")

    answer = shop("drift")
    with_exit_code = shop("drift", "--exit-code")

    assert (answer.code, with_exit_code.code) == (0, 1)
    assert answer.out == (
        "--- as recorded: table public.jam\n"
        "+++ live: table public.jam\n"
        "@@ -1,3 +1,4 @@\n"
        " CREATE TABLE public.jam (\n"
        "-    i integer\n"
        "+    i integer,\n"
        "+    sugar integer\n"
        " )\n"
        "\n"
        "1 object differs (1 changed); compared with what the runs recorded\n"
    )


def test_json_has_every_object_that_differs(shop, database):
    database.execute("DROP TABLE fig; CREATE VIEW jams AS SELECT i FROM jam; COMMENT ON TABLE jam IS 'x'")

    answer = shop("drift", "--output", "json")

    assert set(answer.json) == {"schema_version", "against", "compared", "differences"}
    assert answer.json["against"] == "recorded"
    assert names(answer) == ["added: comment ON TABLE public.jam", "removed: table public.fig", "added: view public.jams"]  # fmt: skip


def test_what_was_changed_by_hand_stays_drift_whatever_runs_later(shop, database):
    database.execute("ALTER TABLE jam ADD COLUMN sugar int; DROP TABLE fig; CREATE TABLE by_hand (i int)")
    shop.write("3_pear.sql", "CREATE TABLE pear (i int);")

    assert shop("run").code == 0

    assert names(shop("drift", "--output", "json")) == [
        "added: table public.by_hand",
        "removed: table public.fig",
        "changed: table public.jam",
    ]


def test_an_object_that_a_migration_changes_is_recorded_as_it_is_then(shop, database):
    database.execute("ALTER TABLE jam ADD COLUMN sugar int")
    shop.write("3_more.sql", "ALTER TABLE jam ADD COLUMN water int;")

    assert shop("run").code == 0

    assert names(shop("drift", "--output", "json")) == []


def test_what_there_was_before_the_first_run_is_no_drift(project, database):
    database.execute(SCHEMA.encode())
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0

    assert project("drift", "--exit-code").code == 0


@pytest.fixture
def unread(shop, database, second):
    """A third migration, after which the schema could not be read: a view's table was locked."""
    database.execute("CREATE TABLE held (i int); CREATE VIEW seen AS SELECT i FROM held")
    shop.write("3_pear.sql", "CREATE TABLE pear (i int);")
    assert shop("run").code == 0
    shop.write("4_plum.sql", "CREATE TABLE plum (i int); DROP TABLE pear;")
    with second.transaction():
        second.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        assert "fingerprint could not be read" in shop("run").out
    return shop


def test_what_a_migration_changed_is_no_drift_though_the_schema_was_not_read_after_it(unread, database):
    before = unread("drift", "--against", "recorded", "--exit-code")
    dashboard = unread("dashboard", "--output", "json").json["databases"][0]

    unread.write("5_bad.sql", "SELECT 1/0;")
    run = unread("run")
    after = unread("drift", "--against", "recorded", "--output", "json")
    database.execute("CREATE TABLE by_hand (i int)")
    later = unread("drift", "--against", "recorded", "--output", "json")

    assert before.code == 2
    assert "what 4 plum changed is not recorded" in before.err
    assert (dashboard["as_recorded"], dashboard["drift"]) == (None, None)
    assert dashboard["sentence"] == "the schema was not read after 4 plum"
    taken = "table public.held, table public.pear, table public.plum, view public.seen; compare it"
    assert (run.code, taken in " ".join(run.out.split())) == (4, True)
    assert names(after) == []
    assert names(later) == ["added: table public.by_hand"]


def test_where_not_all_is_recorded_it_is_compared_with_the_migrations(unread, builder):
    answer, text = unread("drift", "--output", "json"), unread("drift").out

    assert answer.json["against"] == "migrations"
    assert "what the applied migrations make, because the schema was not read after 4 plum" in text
    assert names(answer) == ["added: table public.held", "added: view public.seen"]


def test_a_migration_in_an_applications_transaction_is_no_drift(shop, database_url):
    class Pear(Migration):
        version, name = "3", "pear"

        def up(self):
            self.execute("CREATE TABLE pear (i int)")

        def down(self):
            self.execute("DROP TABLE pear")

    with psycopg.connect(database_url) as conn:
        conn.execute("SELECT 1")
        Migrator(connection=conn).apply(Pear(connection=conn))
        conn.commit()
        unknown = shop("drift", "--against", "recorded").code
        undone = Migrator(connection=conn).rollback(Pear(connection=conn))
        Migrator(connection=conn).apply(Pear(connection=conn))

    assert unknown == 2
    assert "taken for its work: table public.pear;" in undone.report.warnings[0]
    shop.write("3_pear.sql", "CREATE TABLE pear (i int);")
    shop.write("4_plum.sql", "CREATE TABLE plum (i int);")
    assert shop("repair", "--accept-changed", "3").code == 0
    assert shop("run").code == 0
    assert shop("drift", "--against", "recorded", "--exit-code").code == 0


def test_what_a_killed_no_transaction_migration_made_is_no_drift_when_it_is_finished(shop, database, second):
    shop.write(
        "3_pear.sql",
        "-- confiture: no-transaction\nCREATE TABLE pear (i int);\nSELECT pg_advisory_xact_lock_shared(7);\n",
    )
    second.execute("SELECT pg_advisory_lock(7)")
    run = shop.start("run")
    wait_until(waits_at(database, 7), run)
    ended(run, signal.SIGKILL)
    second.execute("SELECT pg_advisory_unlock(7)")

    killed = shop("drift", "--against", "recorded")
    goes_on = shop("run")
    finished = shop("drift", "--against", "recorded", "--exit-code")

    assert (killed.code, "what 3 pear changed is not recorded" in killed.err) == (2, True)
    assert "taken for its work: table public.pear" in " ".join(goes_on.out.split())
    assert finished.code == 0, finished.out


def test_a_header_of_a_diff_is_one_line(shop, database):
    database.execute('CREATE TABLE "a\nb" (i int)')

    lines = shop("drift").out.splitlines()

    assert lines[:3] == [
        '--- as recorded: table public."a\\nb"', '+++ live: table public."a\\nb"', "@@ -0,0 +1,4 @@"
    ]  # fmt: skip


def test_down_records_the_schema_too(shop):
    shop.write("3_pear.sql", "-- migrate:up\nCREATE TABLE pear (i int);\n-- migrate:down\nDROP TABLE pear;\n")
    assert shop("run").code == 0
    assert shop("down").code == 0

    assert shop("drift", "--exit-code").code == 0


def test_read_rights_are_enough(shop, database, database_url):
    database.execute(
        "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA confiture TO reader;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA confiture TO reader;"
        "ALTER ROLE reader SET default_transaction_read_only = on"
    )
    try:
        shop.url = make_conninfo(database_url, user="reader")

        codes = [
            shop(*words).code for words in (("drift",), ("schema-version",), ("schema-version", "--at", "1"))
        ]
    finally:
        database.execute("DROP OWNED BY reader; DROP ROLE reader")

    assert codes == [0, 0, 0]


def test_the_fingerprint_alone_is_on_stdout_and_json_has_more(shop):
    plain, document = shop("schema-version"), shop("schema-version", "--output", "json").json

    assert plain.out == document["fingerprint"] + "\n"
    assert len(document["fingerprint"]) == 64
    assert (document["recorded_at"], document["migration"]) == (None, None)


def test_at_a_version_and_at_a_time_it_is_what_was_recorded(shop, database):
    live = shop("schema-version").out
    shop.write("3_pear.sql", "CREATE TABLE pear (i int);")
    assert shop("run").code == 0

    after = shop("schema-version", "--at", "2").out
    later = shop("schema-version", "--at", "2999-01-01", "--output", "json").json

    assert after == live
    assert later["migration"] == "3"
    assert later["fingerprint"] + "\n" == shop("schema-version").out


def test_at_a_time_that_history_shows_the_event_of_that_second_counts(shop, database):
    database.execute(
        "UPDATE confiture.event SET at = '2026-01-31 12:00:00.9Z'::timestamptz + number * interval '1 hour'"
    )
    shown = shop("history").out.splitlines()[0].split("  ")[0]

    answer = shop("schema-version", "--at", shown, "--output", "json")

    assert (shown, answer.json["migration"]) == ("2026-01-31 13:00:00+00:00", "1")


@pytest.mark.parametrize("at", ["1999-01-01", "77", "29990131", "yesterday"])
def test_where_nothing_was_recorded_it_ends_with_two(shop, at):
    answer = shop("schema-version", "--at", at)

    assert answer.code == 2
    assert "recorded" in answer.err


def test_a_database_without_a_ledger_has_a_fingerprint_too(project):
    assert project("schema-version").code == 0


def test_against_the_migrations_drift_is_found_without_any_record(shop, database, builder):
    database.execute(
        "DROP TABLE confiture.event, confiture.schema_object; ALTER TABLE jam ADD COLUMN sugar int"
    )

    answer = shop("drift", "--output", "json")

    assert answer.json["against"] == "migrations"
    assert names(answer) == ["changed: table public.jam"]


def test_against_the_migrations_pending_ones_do_not_count_and_roles_are_there(shop, database, builder):
    database.execute("CREATE ROLE drift_reader")
    try:
        shop.write("3_own.sql", "CREATE TABLE own (i int);\nCREATE POLICY p ON own TO drift_reader;\n")
        assert shop("run").code == 0
        shop.write("4_pear.sql", "CREATE TABLE pear (i int);")

        answer = shop("drift", "--against", "migrations", "--exit-code")
    finally:
        database.execute("DROP OWNED BY drift_reader; DROP ROLE drift_reader")

    assert answer.code == 0, answer.err
    assert "compared with what the applied migrations make" in answer.out


def test_in_an_empty_database_on_the_same_server_it_finds_the_same(shop, database):
    database.execute("ALTER TABLE jam ADD COLUMN sugar int")

    answer = shop("drift", "--against", "migrations", "--in", "server", "--output", "json")

    assert names(answer) == ["changed: table public.jam"]
    left = database.execute("SELECT datname FROM pg_database WHERE datname LIKE 'confiture%'").fetchall()
    assert left == []


def test_an_applied_migration_that_fails_on_an_empty_database_is_named(project, database):
    database.execute("CREATE TABLE jam (i int)")
    project.write("1_sugar.sql", "ALTER TABLE jam ADD COLUMN sugar int;")
    assert project("run").code == 0

    answer = project("drift", "--against", "migrations", "--in", "server")

    assert answer.code == 4
    assert '1 sugar fails on an empty database: relation "jam" does not exist' in answer.err


def test_diff_shows_what_two_versions_differ_in_either_direction(project):
    project.url = ""
    project.write("1_jam.sql", JAM)
    project.write(
        "2_more.sql", "ALTER TABLE jam ADD COLUMN sugar int;\nGRANT SELECT ON jam TO some_reader;\n"
    )

    forward, backward = project("diff", "1", "2"), project("diff", "2", "1", "--output", "json")

    assert forward.code == 0, forward.err
    assert "+    sugar integer" in forward.out
    assert forward.out.endswith("1 object differs (1 changed) between 1 and 2\n")
    assert "-    sugar integer" in backward.json["differences"][0]["diff"]
    assert (backward.json["before"], backward.json["after"]) == ("2", "1")


def test_diff_of_an_unknown_version_ends_with_two(project):
    project.write("1_jam.sql", JAM)

    answer = project("diff", "1", "9")

    assert answer.code == 2
    assert "there is no migration of version '9'" in answer.err
