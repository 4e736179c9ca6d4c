"""The dashboard shows what happened to one or more databases."""

from __future__ import annotations

import json

import pytest

from confiture.estimate.own_history import KeptMigration, KeptStatement
from confiture.estimate.prediction_document import build_document
from confiture.models.dashboard import Dashboard, DatabaseView, ObjectVersions, PredictionPair
from confiture.models.event import Event, EventError, EventHook, EventLock
from confiture.models.ledger import HistoryRecord, PluginRecord
from confiture.models.schema import ObjectDifference
from confiture.output.dashboard_page import render

NAME = '<script>alert("x")</script>'


@pytest.fixture
def lived(project, database):
    """A project in which a migration was applied, one failed and was applied later, and one was undone."""
    project.write("1_jam.sql", "CREATE TABLE jam (fruit text);\n")
    project.write("2_sugar.sql", "ALTER TABLE jam ADD COLUMN sugar int NOT NULL;\n")
    database.execute("CREATE EXTENSION IF NOT EXISTS plpgsql")
    assert project("run", "--to", "1").code == 0
    database.execute("INSERT INTO jam VALUES ('plum')")
    assert project("run").code == 4
    project.write("2_sugar.sql", "ALTER TABLE jam ADD COLUMN sugar int;\n")
    assert project("run").code == 0
    return project


def test_the_first_screen_answers_the_three_questions(lived):
    answer = lived("dashboard")

    assert answer.code == 0, answer.err
    page = answer.out
    assert "the schema is as the last run left it" in page
    assert "2 sugar" in page
    assert "contains null values" in page
    assert "(succeeded since)" in page
    assert "half of the applied migrations took at most" in page
    assert "http" not in page.replace("http-equiv", "")


def test_each_event_shows_who_ran_it_from_which_commit_and_what_it_locked(project, database):
    database.execute("CREATE TABLE jam (fruit text)")
    project.install("plum", "from confiture import hookimpl\n\n\n@hookimpl\ndef after_ddl(conn):\n    pass\n")
    project.environ = {"GIT_CEILING_DIRECTORIES": str(project.folder.parent), "CI_COMMIT_SHA": "abc123"}
    project.configure('[gate]\nmax_block = "1s"\n')
    project.write("1_sugar.sql", "ALTER TABLE jam ADD COLUMN sugar int;")
    assert project("run", "--plugins", "plum").code == 0

    page = project("dashboard").out
    (view,) = project("dashboard", "--output", "json").json["databases"]

    (event,) = view["events"]
    (lock,) = event["locks"]
    for words in (
        "commit abc123",
        "locked public.jam AccessExclusiveLock for ",
        "hook after_ddl after_ddl kept",
        "plugins plum 1.0",
        f"schema {event['schema_before'][:12]} -&gt; {event['schema_after'][:12]}",
        'data-label="by">postgres',
        "limit max_block = 1s",
    ):
        assert words in page
    assert view["blocks"] == [
        {
            "event": 1,
            "relations": ["public.jam"],
            "held_ms": lock["held_ms"],
            "measured": True,
            "share": lock["held_ms"] / 1000,
        }
    ]
    assert (view["people"], view["revisions"]) == ({"postgres": 1}, {"abc123": 1})


def test_a_history_with_holes_and_a_clock_that_jumped_is_told_whole(project, database):
    """One migration is of a ledger without events, one a baseline; one event is lost, and one is a day late."""
    for number in (1, 2, 3, 4):
        down = f"-- migrate:down\nDROP TABLE t{number};\n"
        project.write(f"{number}_t{number}.sql", f"-- migrate:up\nCREATE TABLE t{number} (i int);\n{down}")
    assert project("baseline", "1").code == 0
    assert project("run", "--to", "2").code == 0
    database.execute("DROP TABLE confiture.event, confiture.schema_object")
    assert project("run").code == 0
    database.execute("UPDATE confiture.event SET at = at + interval '1 day'")
    assert project("redo").code == 0
    database.execute("DELETE FROM confiture.event WHERE kind = 'REVERTED'")

    page = project("dashboard").out
    (view,) = project("dashboard", "--output", "json").json["databases"]

    assert [event["number"] for event in view["events"]] == [1, 2, 4]
    assert [migration["version"] for migration in view["migrations"]] == ["1", "2", "3", "4"]
    assert "baseline, not run" in page
    assert "recorded by an older version, without an event" in page
    assert page.count('<rect class="event applied" x=') == 4
    rows = page[page.index("All events") :]
    assert rows.index(" 4 t4") < rows.index(" 3 t3")


def test_drift_is_shown_object_by_object(lived, database):
    database.execute("ALTER TABLE jam ADD COLUMN by_hand int")

    page = lived("dashboard").out

    assert "1 object changed outside of migrations" in page
    assert "by_hand integer" in page


def test_a_changed_file_does_not_hide_drift(lived, database):
    database.execute("ALTER TABLE jam ADD COLUMN by_hand int")
    lived.write("1_jam.sql", "CREATE TABLE jam (fruit varchar);\n")

    (view,) = lived("dashboard", "--output", "json").json["databases"]

    assert view["sentence"] == (
        "1 migration changed, missing or unfinished; 1 object changed outside of migrations"
    )


def test_the_same_as_json_and_into_a_file(lived):
    document = lived("dashboard", "--output", "json").json
    written = lived("dashboard", "history.html")

    (view,) = document["databases"]
    assert [event["kind"] for event in view["events"]] == ["APPLIED", "FAILED", "APPLIED"]
    assert view["as_recorded"] is True
    assert written.code == 0
    assert (lived.folder / "history.html").read_text().startswith("<!DOCTYPE html>")


def test_several_databases_stand_side_by_side_and_one_that_cannot_be_read_stops_nothing(lived):
    targets = f"name,url\nshop,{lived.url}\ngone,postgresql://nobody:s3cret@127.0.0.1:1/gone\n"
    (lived.folder / "targets.csv").write_text(targets)

    answer = lived("dashboard", "--targets", "targets.csv")

    assert answer.code == 0, answer.err
    assert "1 of 2 databases need a look" in answer.out
    assert "red: it is not, or it could not be read" in answer.out
    overview = answer.out.split('<ul class="fleet">')[1].split("</ul>")[0]
    assert overview.count("slowest: ") == 1
    assert "it could not be read" in answer.out
    assert "s3cret" not in answer.out


def test_a_database_that_fails_while_it_is_read_stops_nothing_either(lived, database):
    """Another session holds the ledger, and the URL says how long to wait for it."""
    waiting = f"{lived.url}&options=-c%20lock_timeout%3D100ms"
    (lived.folder / "targets.csv").write_text(f"name,url\nheld,{waiting}\n")

    with database.transaction():
        database.execute("LOCK TABLE confiture.event IN ACCESS EXCLUSIVE MODE")
        answer = lived("dashboard", "--targets", "targets.csv")

    assert answer.code == 0, answer.err
    assert "it could not be read: canceling statement due to lock timeout" in answer.out


def test_without_targets_a_database_that_cannot_be_read_ends_as_with_every_command(lived):
    answer = lived("dashboard", "page.html", "--url", "postgresql://nobody@127.0.0.1:1/gone")

    assert answer.code == 3
    assert "cannot connect" in answer.err


def test_a_database_without_a_history_says_so(project):
    project.write("1_jam.sql", "CREATE TABLE jam (fruit text);\n")

    page = project("dashboard").out

    assert "no run has recorded the schema yet" in page
    assert "nothing that is recorded" in page


def test_a_hostile_name_stays_text(project):
    project.write(f"1_{NAME.replace('/', '-')}.sql", "SELECT 1;\n")
    assert project("run").code == 0

    page = project("dashboard").out

    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_long_error_leaves_room_for_the_other_answers(project):
    project.write("1_jam.sql", "DO $$ BEGIN RAISE '%', repeat('long ', 1000); END $$;")
    assert project("run").code == 4

    page = project("dashboard").out

    answers = page.split('<dl class="answers">')[1].split("</dl>")[0]
    assert ("long " * 60)[:300] in answers
    assert len(answers) < 1500


def test_a_failed_down_that_then_succeeded_is_not_called_applied(project):
    project.write("1_jam.sql", "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nSELECT 1/0;\n")
    assert (project("run").code, project("down").code) == (0, 4)
    still = project("dashboard").out
    project.write("1_jam.sql", "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n")
    assert project("repair", "--accept-changed", "1").code == 0
    assert project("down").code == 0

    page = project("dashboard").out

    assert "since)" not in still
    assert "(succeeded since)" in page


def test_a_name_of_a_database_is_shown_inert_on_a_terminal(lived):
    (lived.folder / "targets.csv").write_text(f"name,url\nshop\x1b[2J\u202e,{lived.url}\n")

    answer = lived("dashboard", "page.html", "--targets", "targets.csv")

    assert answer.out == "shop\\x1b[2J\\u202e: the schema is as the last run left it\n"


def test_a_file_and_an_output_are_refused(lived):
    answer = lived("dashboard", "page.html", "--output", "json")

    assert answer.code == 2
    assert answer.err.startswith("error: FILE and --output cannot both be given")


def test_what_a_list_leaves_out_is_said():
    drift = tuple(ObjectDifference("table", f"public.t{number}", "added", "") for number in range(25))
    view = DatabaseView("shop", drift=drift, predictions=(PredictionPair("1", 3, 2.0, 1.0, 4.0, 3.0),) * 10)

    page = render(Dashboard("2026-01-01T00:00:00+00:00", (view,)))

    assert "changed outside of migrations; 5 more are in --output json" in page
    assert "nine times in ten</span>" in page
    assert "1 line 3" in page


def test_predictions_are_shown_for_the_one_database_of_the_project_only(lived):
    statement = KeptStatement(
        3, "", "public.jam", 9.0, "scan", 2.0, (1.5, 3.0), (1.0, 4.0), actual_ms=3.0, actual_rows=9.0
    )
    kept = KeptMigration(
        "2", "sugar", "", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00", (statement,)
    )
    (lived.folder / ".confiture").mkdir()
    (lived.folder / ".confiture" / "estimates.json").write_text(json.dumps(build_document([kept])))
    (lived.folder / "targets.csv").write_text(f"name,url\nshop,{lived.url}\n")

    (alone,) = lived("dashboard", "--output", "json").json["databases"]
    (named,) = lived("dashboard", "--targets", "targets.csv", "--output", "json").json["databases"]

    assert [(pair["line"], pair["actual_ms"], pair["inside"]) for pair in alone["predictions"]] == [
        (3, 3.0, True)
    ]
    assert named["predictions"] == []


def test_whatever_is_hostile_in_a_history_stays_text():
    hook, plugin = EventHook(NAME, NAME, NAME, 1.0), PluginRecord(NAME, NAME)
    event = Event(
        1, "FAILED", NAME, NAME, "forward", "2026-01-01T00:00:00+00:00", NAME, 1.0, True, (plugin,), (hook,),
        (EventLock(NAME, NAME, ("reads",), 1.0),), NAME, NAME, NAME, NAME, EventError(NAME),
    )  # fmt: skip
    record = HistoryRecord(NAME, NAME, "2025-01-01T00:00:00+00:00", NAME, None, True, True)
    view = DatabaseView(
        NAME,
        server_version=NAME,
        migrations=(record,),
        events=(event,),
        drift=(ObjectDifference(NAME, NAME, "changed", NAME),),
        objects=(ObjectVersions(NAME, NAME, 1, 1),),
        block_limit_ms=1.0,
        block_limit=NAME,
    )

    page = render(Dashboard("2026-01-01T00:00:00+00:00", (view, DatabaseView(NAME, fault=NAME))))

    assert "<script" not in page
    assert "&lt;script&gt;" in page
