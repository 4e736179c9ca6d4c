"""Every migration that was applied, was reverted or failed leaves an event, and is announced if asked."""

from __future__ import annotations

import json
import signal
import subprocess

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from confiture.catalog.read_schema import read_fingerprint
from confiture.config.settings import Settings
from confiture.core import Migrator
from confiture.exceptions import MigrationFault
from confiture.ledger import event_recorder
from confiture.models.migration import Migration
from tests.everyday.test_killed import waits_at
from tests.project import ended, wait_until

pytestmark = pytest.mark.slow

JAM = "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n"
HOOK = "from confiture import hookimpl\n\n\n@hookimpl\ndef after_ddl(conn):\n    conn.execute({sql!r})\n"


def kinds(database):
    """Return kind and version of every event, oldest first."""
    return database.execute("SELECT kind, version FROM confiture.event ORDER BY number").fetchall()


def last(project):
    """Return the last event as ``history`` has it."""
    return project("history", "--output", "json").json["events"][-1]


def test_an_applied_migration_says_who_when_how_long_and_what_it_locked(project, database):
    database.execute("CREATE TABLE jam (i int)")
    project.install("plum", HOOK.format(sql="SELECT 1"))
    project.write("1_sugar.sql", "ALTER TABLE jam ADD COLUMN sugar int;")

    assert project("run", "--plugins", "plum").code == 0

    event = last(project)
    assert {name: event[name] for name in ("number", "kind", "version", "name", "direction", "by")} == {
        "number": 1, "kind": "APPLIED", "version": "1", "name": "sugar", "direction": "forward",
        "by": "postgres",
    }  # fmt: skip
    assert event["duration_ms"] > 0
    assert event["transactional"] is True
    assert event["plugins"] == [{"name": "plum", "version": "1.0"}]
    assert [(hook["phase"], hook["hook"], hook["outcome"]) for hook in event["hooks"]] == [
        ("after_ddl", "after_ddl", "kept")
    ]
    (lock,) = event["locks"]
    assert lock.pop("held_ms") > 0
    assert lock == {"relation": "public.jam", "mode": "AccessExclusiveLock", "blocks": ["reads", "writes"]}
    assert event["error"] is None


def test_down_writes_reverted_and_redo_both(project, database):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0

    assert project("redo").code == 0
    assert project("down").code == 0

    assert kinds(database) == [("APPLIED", "1"), ("REVERTED", "1"), ("APPLIED", "1"), ("REVERTED", "1")]
    assert last(project)["direction"] == "backward"


def test_the_schema_after_one_is_the_schema_before_the_next(project, database, monkeypatch):
    monkeypatch.setattr(event_recorder, "FREE_MS", 60_000.0)  # however slow this machine is, it may read
    project.write("1_jam.sql", JAM)
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")
    empty = read_fingerprint(database, "confiture")

    assert project("run").code == 0

    first, second = project("history", "--output", "json").json["events"]
    assert first["schema_before"] == empty
    live = read_fingerprint(database, "confiture")
    assert second["schema_after"] == live
    assert first["schema_after"] == second["schema_before"]
    assert len({empty, first["schema_after"], live, None}) == 4


def test_a_failed_migration_is_recorded_with_its_error_after_the_rollback(project, database):
    project.write("1_jam.sql", JAM)
    project.write("2_bad.sql", "CREATE TABLE fig (i int);\nSELECT 1/0;\n")

    assert project("run").code == 4

    event = last(project)
    assert kinds(database) == [("APPLIED", "1"), ("FAILED", "2")]
    assert event["error"] == {
        "message": "division by zero", "sqlstate": "22012", "phase": "up", "hook": None, "line": 2,
    }  # fmt: skip
    assert event["schema_before"] == event["schema_after"] == read_fingerprint(database, "confiture")


def test_a_failed_migration_that_is_run_again_has_an_event_each_time(project, database):
    project.write("1_bad.sql", "SELECT 1/0;")

    for _ in range(2):
        assert project("run").code == 4

    assert kinds(database) == [("FAILED", "1"), ("FAILED", "1")]


def test_a_failed_hook_is_recorded_as_undone_with_its_migration(project, database):
    project.install("plum", HOOK.format(sql="SELECT 1/0"))
    project.write("1_jam.sql", JAM)

    assert project("run", "--plugins", "plum").code == 5

    event = last(project)
    assert kinds(database) == [("FAILED", "1")]
    assert (event["error"]["phase"], event["error"]["hook"]) == ("after_ddl", "after_ddl")
    assert [hook["outcome"] for hook in event["hooks"]] == ["undone"]


def test_a_lock_that_is_not_granted_is_one_failure_however_often_it_was_tried(project, database, second):
    database.execute("CREATE TABLE jam (i int)")
    project.write("1_sugar.sql", "-- confiture: lock_timeout=50ms\nALTER TABLE jam ADD COLUMN sugar int;")
    project.configure("lock_retries = 1\n")

    with second.transaction():
        second.execute("SELECT FROM jam")
        assert project("run").code == 6

    assert kinds(database) == [("FAILED", "1")]
    assert last(project)["error"]["sqlstate"] == "55P03"


def test_a_no_transaction_migration_is_recorded_when_it_is_complete(project, database):
    project.write("1_jam.sql", JAM)
    project.write("2_index.sql", "-- confiture: no-transaction\nCREATE INDEX CONCURRENTLY jam_i ON jam (i);")

    assert project("run").code == 0

    event = last(project)
    assert (event["kind"], event["version"], event["transactional"]) == ("APPLIED", "2", False)
    assert event["schema_after"] == read_fingerprint(database, "confiture")


def test_a_no_transaction_migration_that_fails_midway_shows_the_schema_that_it_left(project, database):
    project.write("1_jam.sql", "-- confiture: no-transaction\nCREATE TABLE jam (i int);\nSELECT 1/0;\n")

    assert project("run").code == 4

    event = last(project)
    assert event["kind"] == "FAILED"
    assert event["schema_before"] != event["schema_after"] == read_fingerprint(database, "confiture")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_migration_is_recorded_as_failed(project, database, second, number):
    project.write("1_jam.sql", "CREATE TABLE jam AS SELECT 1 AS i FROM pg_advisory_xact_lock_shared(7);")
    second.execute("SELECT pg_advisory_lock(7)")

    run = project.start("run")
    wait_until(waits_at(database, 7), run)
    answer = ended(run, number)

    assert answer.code == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert kinds(database) == [("FAILED", "1")]


def test_after_sigkill_there_is_neither_the_migration_nor_an_event_and_the_next_run_goes_on(
    project, database, second
):
    project.write("1_jam.sql", JAM)
    project.write("2_fig.sql", "CREATE TABLE fig AS SELECT 1 AS i FROM pg_advisory_xact_lock_shared(7);")
    second.execute("SELECT pg_advisory_lock(7)")
    run = project.start("run")
    wait_until(waits_at(database, 7), run)
    ended(run, signal.SIGKILL)
    killed = kinds(database)
    second.execute("SELECT pg_advisory_unlock(7)")

    assert project("run").code == 0

    assert killed == [("APPLIED", "1")]
    assert kinds(database) == [("APPLIED", "1"), ("APPLIED", "2")]


def test_a_session_that_was_ended_has_its_failure_recorded_on_a_new_connection(
    project, database, monkeypatch
):
    monkeypatch.setattr(event_recorder, "FREE_MS", 60_000.0)
    project.write("1_jam.sql", JAM)
    project.write("2_end.sql", "SELECT pg_terminate_backend(pg_backend_pid());")

    assert project("run").code != 0

    assert kinds(database) == [("APPLIED", "1"), ("FAILED", "2")]
    applied, failed = project("history", "--output", "json").json["events"]
    assert failed["schema_after"] == failed["schema_before"] == applied["schema_after"] is not None


def test_ledger_row_and_event_are_committed_together_or_not_at_all(project, database):
    """The event cannot be written, so the migration is not applied either."""
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")
    database.execute("ALTER TABLE confiture.event ADD CHECK (version <> '2')")

    answer = project("run")

    assert answer.code == 4
    assert kinds(database) == [("APPLIED", "1")]
    assert database.execute("SELECT version FROM confiture.ledger").fetchall() == [("1",)]
    assert database.execute("SELECT to_regclass('fig')").fetchone() == (None,)
    assert "could not be recorded as an event" in answer.out


def test_a_rehearsal_writes_no_event(project, database):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")

    assert project("dry-run", "--no-gate").code == 0

    assert kinds(database) == [("APPLIED", "1")]


def test_a_run_with_nothing_to_do_writes_nothing(project, database):
    project.write("1_jam.sql", JAM)

    for _ in range(2):
        assert project("run").code == 0

    assert kinds(database) == [("APPLIED", "1")]


def test_the_commit_of_the_migrations_is_recorded(project):
    project.write("1_jam.sql", JAM)
    (project.folder / ".git").rmdir()
    git = ["git", "-c", "user.email=a@example.org", "-c", "user.name=a"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Add jam"]):
        subprocess.run([*git, *words], cwd=project.folder, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project.folder, capture_output=True, text=True)

    assert project("run").code == 0

    assert last(project)["git_revision"] == head.stdout.strip()
    assert head.stdout[:12] in project("history").out


def test_without_a_repository_the_commit_is_the_jobs(project):
    project.write("1_jam.sql", JAM)
    project.environ = {"GIT_CEILING_DIRECTORIES": str(project.folder.parent), "CI_COMMIT_SHA": "abc123"}

    assert project("run").code == 0

    assert last(project)["git_revision"] == "abc123"


def test_a_listener_hears_of_every_event_and_of_nothing_that_was_rolled_back(project, database, second):
    project.configure('notify = "Schema Changes"\n')
    project.write("1_jam.sql", JAM)
    project.write("2_bad.sql", "SELECT 1/0;")
    second.execute('LISTEN "Schema Changes"')

    assert project("run").code == 4

    heard = [json.loads(notice.payload) for notice in second.notifies(timeout=10, stop_after=2)]
    assert heard == [
        {"event": "APPLIED", "number": 1, "version": "1", "name": "jam"},
        {"event": "FAILED", "number": 2, "version": "2", "name": "bad"},
    ]


def test_without_the_setting_nothing_is_announced(project, database, second):
    project.write("1_jam.sql", JAM)
    second.execute("LISTEN schema; LISTEN confiture")

    assert project("run").code == 0

    assert list(second.notifies(timeout=0.2)) == []


def test_a_channel_without_a_name_is_refused(project):
    project.configure('notify = ""\n')

    answer = project("status")

    assert answer.code == 2
    assert "notify" in answer.err


def test_an_older_ledger_is_upgraded_in_place_by_the_next_run(project, database):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    database.execute("DROP TABLE confiture.event, confiture.schema_object")
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")
    before = project("history")
    drift = project("drift", "--against", "recorded")

    assert project("run").code == 0

    assert before.code == 0
    assert "applied  1  jam" in before.out
    assert drift.code == 2
    assert kinds(database) == [("APPLIED", "2")]
    out = project("history").out
    assert out.index(" jam ") < out.index(" fig ")


@pytest.mark.parametrize(
    ("lost", "way_on"),
    [
        ("DROP TABLE confiture.event, confiture.schema_object", "GRANT CREATE ON SCHEMA confiture"),
        ("ALTER TABLE confiture.event DROP COLUMN locks", "connect as the owner of its tables"),
    ],
)
def test_an_older_ledger_that_the_role_may_not_upgrade_is_refused_with_the_way_on(
    project, database, database_url, lost, way_on
):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    database.execute(
        f"{lost}; CREATE ROLE deploy LOGIN;"
        "GRANT ALL ON SCHEMA public TO deploy; GRANT USAGE ON SCHEMA confiture TO deploy;"
        "GRANT ALL ON ALL TABLES IN SCHEMA confiture TO deploy"
    )
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")
    try:
        project.url = make_conninfo(database_url, user="deploy")

        answer = project("run")
    finally:
        database.execute("DROP OWNED BY deploy; DROP ROLE deploy")

    assert answer.code == 4
    assert way_on in answer.err
    assert database.execute("SELECT to_regclass('fig')").fetchone() == (None,)


@pytest.mark.parametrize(
    "lost",
    [
        "TABLE confiture.event DROP COLUMN locks, DROP COLUMN git_revision",
        "TABLE confiture.ledger DROP COLUMN hooks",
        "TABLE confiture.schema_object DROP COLUMN ddl",
    ],
)
def test_a_ledger_that_lacks_columns_is_upgraded_by_the_next_run(project, database, lost):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    database.execute(f"ALTER {lost}")
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")

    ran = project("run")

    assert ran.code == 0, ran.err
    events = project("history", "--output", "json").json["events"]
    assert [(event["kind"], event["version"]) for event in events] == [("APPLIED", "1"), ("APPLIED", "2")]
    assert events[1]["server_version"] == events[0]["server_version"]


def test_a_ledger_that_lacks_a_column_is_not_read_and_the_sql_that_adds_it_is_named(project, database):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    database.execute("ALTER TABLE confiture.event DROP COLUMN locks")

    answer = project("history")

    assert answer.code == 4
    assert "lacks event.locks" in answer.err
    database.execute(answer.err[answer.err.index("ALTER TABLE") :])
    assert project("history").code == 0


def test_a_ledger_that_lacks_a_column_of_a_key_is_refused(project, database):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    database.execute("ALTER TABLE confiture.progress DROP COLUMN direction")
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")

    answer = project("run")

    assert answer.code == 4
    assert "lacks progress.direction" in answer.err
    assert database.execute("SELECT to_regclass('fig')").fetchone() == (None,)


def test_without_the_table_of_progress_applied_migrations_stay_applied(project, database):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    database.execute("DROP TABLE confiture.progress")

    assert "1 applied" in project("status").out
    project.write("2_fig.sql", "CREATE TABLE fig (i int);")
    assert project("run").code == 0
    assert kinds(database) == [("APPLIED", "1"), ("APPLIED", "2")]


def test_a_schema_that_cannot_be_read_stops_no_migration(project, database, second):
    """Another session holds a table that a view reads, and printing the view waits for it."""
    database.execute("CREATE TABLE held (i int); CREATE VIEW seen AS SELECT i FROM held")
    project.write("1_jam.sql", JAM)

    with second.transaction():
        second.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
        answer = project("run")

    assert answer.code == 0
    assert "fingerprint could not be read" in answer.out
    assert last(project)["schema_after"] is None
    assert project("schema-version", "--at", "1").code == 2


def test_hostile_names_and_messages_are_stored_and_shown_inert(project):
    project.write("1_evil'\x1b[2J.sql", "DO $$ BEGIN RAISE '%', E'\\x1b]0;it''s \\\\u0000 \"so\"'; END $$;")

    assert project("run").code == 4

    answer = project("history")
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "it's \\u0000" in answer.out.replace("\\\\", "\\")


def test_in_a_run_that_may_not_spend_time_on_it_only_the_schema_at_its_ends_is_read(
    project, database, monkeypatch
):
    monkeypatch.setattr(event_recorder, "FREE_MS", 0.0)
    monkeypatch.setattr(event_recorder, "_SHARE", 0.0)
    for number in (1, 2, 3):
        project.write(f"{number}_t.sql", f"CREATE TABLE t{number} (i int);")
    empty = read_fingerprint(database, "confiture")

    assert project("run").code == 0

    events = project("history", "--output", "json").json["events"]
    live = read_fingerprint(database, "confiture")
    assert [(event["schema_before"], event["schema_after"]) for event in events] == [
        (empty, None),
        (None, None),
        (None, live),
    ]
    assert [event["schema_unread"] is None for event in events] == [False, False, True]
    unread = project("schema-version", "--at", "2")
    assert unread.code == 2
    assert "the schema was not read after 2 t" in unread.err
    assert project("drift", "--exit-code").code == 0


def test_a_clock_that_is_set_back_leaves_the_events_in_their_order(project, database):
    project.write("1_jam.sql", JAM)
    assert project("run").code == 0
    database.execute("UPDATE confiture.event SET at = at + interval '1 day'")
    assert project("down").code == 0

    out = project("history").out

    assert out.index("applied ") < out.index("reverted ")
    assert [event["kind"] for event in project("history", "--output", "json").json["events"]] == [
        "APPLIED",
        "REVERTED",
    ]


class Fig(Migration):
    """A migration of an application."""

    version, name = "7", "fig"

    def up(self):
        self.execute("CREATE TABLE fig (i int)")


def test_an_application_writes_events_on_its_own_connection(database, database_url):
    with psycopg.connect(database_url) as conn:
        Migrator(connection=conn).apply(Fig(connection=conn))

    ((kind, after),) = database.execute("SELECT kind, schema_after FROM confiture.event").fetchall()
    assert kind == "APPLIED"
    assert after == read_fingerprint(database, "confiture")


def test_in_an_applications_transaction_the_event_goes_with_it(database, database_url):
    with psycopg.connect(database_url) as conn:
        conn.execute("SELECT 1")
        Migrator(connection=conn).apply(Fig(connection=conn))
        conn.rollback()
        undone = database.execute("SELECT to_regclass('confiture.event')").fetchone()
        conn.execute("SELECT 1")
        Migrator(connection=conn).apply(Fig(connection=conn))
        path = conn.execute("SHOW search_path").fetchone()

    assert undone == (None,)
    assert path == ('"$user", public',)
    found = database.execute("SELECT kind, schema_after FROM confiture.event").fetchall()
    assert found == [("APPLIED", None)]


def test_how_long_a_lock_was_held_counts_from_the_statement_that_took_it(project, database):
    """The first statement takes 300 ms and locks nothing, and the lock is taken after it."""
    database.execute("CREATE TABLE jam (i int); CREATE TABLE fig (i int)")
    project.write(
        "1_sugar.sql",
        "LOCK TABLE fig IN SHARE MODE;\nSELECT pg_sleep(0.3);\nALTER TABLE jam ADD COLUMN sugar int;",
    )

    assert project("run").code == 0

    event = last(project)
    held_ms = {lock["relation"]: lock["held_ms"] for lock in event["locks"]}
    assert held_ms["public.jam"] <= held_ms["public.fig"] - 290
    assert held_ms["public.fig"] >= 300
    assert "public.fig ShareLock for" in project("history").out


@pytest.mark.parametrize("through", ["run", "Migrator"])
def test_deferred_triggers_count_in_how_long_it_took(project, database, database_url, through):
    database.execute("""
        CREATE TABLE fig (i int); CREATE TABLE jam (i int);
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END';
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON jam DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait();
    """)
    if through == "run":
        project.write("1_jam.sql", "ALTER TABLE fig ADD sugar int; INSERT INTO jam VALUES (1);")
        assert project("run").code == 0
    else:

        class Late(Migration):
            version, name = "1", "jam"

            def up(self):
                self.execute("ALTER TABLE fig ADD sugar int")
                self.execute("INSERT INTO jam VALUES (1)")

        with psycopg.connect(database_url) as conn:
            Migrator(connection=conn).apply(Late(connection=conn))

    history = project("history", "--output", "json").json
    (event,), (migration,) = history["events"], history["migrations"]
    (held_ms,) = (lock["held_ms"] for lock in event["locks"] if lock["relation"] == "public.fig")
    assert migration["duration_ms"] >= 200
    assert event["duration_ms"] >= held_ms >= 200


def test_a_publication_of_all_tables_stops_nothing(project, database):
    """It refuses to update a row that has no replica identity."""
    database.execute("CREATE PUBLICATION everything FOR ALL TABLES; CREATE TABLE fig (i int)")
    project.write("1_jam.sql", JAM.replace("jam (i int)", "jam (i int); ALTER TABLE fig ADD sugar int"))
    project.write(
        "2_fast.sql", "-- confiture: no-transaction\n-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 1;"
    )

    answers = [project(command) for command in ("run", "redo", "down")]

    assert [answer.code for answer in answers] == [0] * 3, answers[0].out
    assert all("warning" not in answer.out for answer in answers)
    assert last(project)["schema_after"] is not None


def test_a_huge_error_is_shortened(project):
    project.write("1_jam.sql", "DO $$ BEGIN RAISE '%', repeat('x', 1000000); END $$;")

    assert project("run").code == 4

    assert last(project)["error"]["message"] == "x" * 10_000 + "… (1,000,000 characters)"


def test_a_name_that_no_payload_has_room_for_is_shortened_there(database, database_url, second, tmp_path):
    class Long(Migration):
        version, name = "1", "é" * 9_000

        def up(self):
            pass

    second.execute("LISTEN jams")
    with psycopg.connect(database_url) as conn:
        settings = Settings(root=tmp_path, notify="jams")
        Migrator(connection=conn, settings=settings).apply(Long(connection=conn))

    (heard,) = second.notifies(timeout=60, stop_after=1)
    assert json.loads(heard.payload)["name"] == "é" * 500
    assert database.execute("SELECT length(name) FROM confiture.event").fetchone() == (9_000,)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_a_name_that_postgresql_refuses_is_refused_first(database_url, name):
    class Refused(Fig):
        pass

    Refused.name = name
    with psycopg.connect(database_url) as conn, pytest.raises(MigrationFault, match="PostgreSQL refuses"):
        Migrator(connection=conn).apply(Refused(connection=conn))


def test_each_statement_of_a_no_transaction_migration_holds_its_locks_alone(project, database):
    database.execute("CREATE TABLE jam (i int)")
    project.write(
        "1_sugar.sql",
        "-- confiture: no-transaction\nALTER TABLE jam ADD COLUMN sugar int;\nSELECT pg_sleep(0.3);\n"
        "DO $$ BEGIN LOCK TABLE jam; PERFORM pg_sleep(0.1); END $$;\n",
    )

    assert project("run").code == 0

    event = last(project)
    (lock,) = event["locks"]
    assert 100 <= lock["held_ms"] < event["duration_ms"] - 250


def test_a_lock_recorded_by_an_older_version_has_no_time(project, database):
    database.execute("CREATE TABLE jam (i int)")
    project.write("1_sugar.sql", "ALTER TABLE jam ADD COLUMN sugar int;")
    assert project("run").code == 0
    database.execute("UPDATE confiture.event SET locks = jsonb_build_array((locks -> 0) - 'held_ms')")

    assert last(project)["locks"][0]["held_ms"] is None
    assert "locks: public.jam AccessExclusiveLock\n" in project("history").out
    assert "An older version recorded no times of locks" in project("dashboard").out


@pytest.mark.parametrize("lasts", [10, -99], ids=["kept", "renewed each time"])
def test_the_plan_for_reading_may_be_kept_renewed_or_dropped_by_a_migration(
    project, database, monkeypatch, lasts
):
    monkeypatch.setattr(event_recorder, "FREE_MS", 60_000.0)
    monkeypatch.setattr(event_recorder, "_PLAN_LASTS", lasts)
    project.write("1_t.sql", "CREATE TABLE t1 (i int);")
    project.write("2_drop.sql", "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; CREATE TABLE t2 (i int); END $$;")
    project.write("3_t.sql", "CREATE TABLE t3 (i int);")

    answer = project("run")

    assert answer.code == 0
    assert "could not be read" not in answer.out + answer.err
    after = [event["schema_after"] for event in project("history", "--output", "json").json["events"]]
    assert len({*after, None}) == 4
    assert after[-1] == read_fingerprint(database, "confiture")
