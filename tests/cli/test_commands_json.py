"""Machine output: every kind of it, with the contract's keys, alone on stdout or in files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import published
from tests.project import Project

# As the contract writes them down.
REPORT = (
    "schema_version mode outcome exit_code error server_version rehearsed_on plugins migrations findings"
    " residue"
)
MIGRATION = (
    "version name outcome reason duration_ms rows_affected statements hooks locks rewrites index_builds scans"
    " blocks long_blocks not_seen error estimate"
)
STATEMENT = (
    "line sql duration_ms lock_wait_ms rows wal_bytes rewrites index_builds scans locks notices not_rehearsed"
)
HOOK = "phase plugin hook outcome duration_ms rows_affected stats locks"
LOCK = "relation kind mode blocks held_ms transient seen"
ERROR = "sqlstate message detail hint file line column phase hook"
PLUGIN = "name distribution version"


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with a plugin, and migrations that lock, count and fail."""
    project.write("1_jam.sql", "-- migrate:up\nCREATE TABLE jam (i int);\n-- migrate:down\nDROP TABLE jam;\n")
    project.write(
        "2_fill.sql",
        "-- migrate:up\nINSERT INTO jam VALUES (1), (2);\nALTER TABLE jam ADD COLUMN t text;\n"
        "-- migrate:down\nALTER TABLE jam DROP COLUMN t;\n",
    )
    project.install(
        "plum",
        "from confiture import HookResult, hookimpl\n\n\n@hookimpl\ndef after_ddl(conn):\n"
        "    rows = conn.execute('UPDATE jam SET i = i').rowcount\n"
        "    return HookResult('AFTER_DDL', 'Touch', rows_affected=rows, stats={'rows': rows})\n",
    )
    return project


def valid(document: Any) -> Any:
    """Return a report that the published schema accepts, and that has the contract's keys in their order."""
    published.validator().validate(document)
    assert keys(document) == REPORT
    for plugin in document["plugins"]:
        assert keys(plugin) == PLUGIN
    for migration in document["migrations"]:
        assert keys(migration) == MIGRATION
        assert {keys(item) for item in migration["statements"]} <= {STATEMENT}
        assert {keys(item) for item in migration["hooks"]} <= {HOOK}
        assert {keys(item) for item in migration["locks"]} <= {LOCK}
        assert migration["error"] is None or keys(migration["error"]) == ERROR
        assert keys(migration["blocks"]) == "reads writes"
    return document


def keys(table: dict[str, Any]) -> str:
    """Return the keys, in their order."""
    return " ".join(table)


def test_the_report_of_a_run(shop):
    answer = shop("run", "--plugins", "plum", "--output", "json")

    report = valid(answer.json)
    assert (report["schema_version"], report["mode"], report["outcome"], report["exit_code"]) == (
        1,
        "run",
        "ok",
        0,
    )
    assert report["server_version"]
    assert report["rehearsed_on"] is None
    assert report["plugins"] == [{"name": "plum", "distribution": "plum-package", "version": "1.0"}]
    first, second = report["migrations"]
    assert (first["outcome"], first["rows_affected"], first["locks"]) == ("applied", 0, [])
    assert (second["version"], second["name"], second["rows_affected"]) == ("2", "fill", 2)
    assert second["duration_ms"] > 0
    assert [(item["line"], item["sql"], item["rows"]) for item in second["statements"]] == [
        (2, "INSERT INTO jam VALUES (1), (2)", 2),
        (3, "ALTER TABLE jam ADD COLUMN t text", None),
    ]
    assert [item["locks"] for item in second["statements"]] == [[], []]
    (hook,) = second["hooks"]
    assert (hook["phase"], hook["plugin"], hook["hook"], hook["outcome"]) == (
        "after_ddl",
        "plum",
        "Touch",
        "kept",
    )
    assert (hook["rows_affected"], hook["stats"]) == (2, {"rows": 2})
    (lock,) = second["locks"]
    assert (lock["relation"], lock["kind"], lock["mode"]) == ("public.jam", "table", "AccessExclusiveLock")
    assert lock["blocks"] == ["reads", "writes"]
    assert second["blocks"] == {"reads": ["public.jam"], "writes": ["public.jam"]}
    assert second["estimate"] is None


def test_the_report_of_a_rehearsal(shop):
    shop("run", "--to", "1")

    report = valid(shop("dry-run", "--plugins", "plum", "--output", "json").json)

    assert (report["mode"], report["outcome"]) == ("dry-run", "ok")
    assert report["rehearsed_on"] == report["server_version"]
    assert [item["outcome"] for item in report["migrations"]] == ["rehearsed"]


def test_the_report_of_a_down(shop):
    shop("run")

    report = valid(shop("down", "--output", "json").json)

    assert (report["mode"], report["outcome"]) == ("down", "ok")
    assert [(item["version"], item["outcome"]) for item in report["migrations"]] == [("2", "reverted")]


def test_the_report_of_a_failure(shop):
    shop.write("3_bad.sql", "CREATE TABLE fig (i int);\nINSERT INTO figg VALUES (1);\n")
    shop.write("4_more.sql", "SELECT 1")

    answer = shop("run", "--output", "json")

    report = valid(answer.json)
    assert answer.code == report["exit_code"] == 4
    assert report["outcome"] == "failed"
    outcomes = [item["outcome"] for item in report["migrations"]]
    assert outcomes == ["applied", "applied", "failed", "pending"]
    error = report["migrations"][2]["error"]
    assert error["sqlstate"] == "42P01"
    assert error["file"].endswith("migrations/3_bad.sql")
    assert (error["line"], error["column"], error["phase"], error["hook"]) == (2, 13, "up", None)


def test_the_report_of_a_run_that_was_refused(shop):
    shop.write("3_bad.sql", "SELEC 1")

    answer = shop("run", "--output", "json")

    report = valid(answer.json)
    assert answer.code == report["exit_code"] == 4
    assert report["outcome"] == "refused"
    assert "3_bad.sql" in answer.err


def test_the_report_of_nothing_to_do(shop):
    shop("run")

    report = valid(shop("run", "--output", "json").json)

    assert (report["outcome"], report["exit_code"], report["migrations"]) == ("ok", 0, [])


def test_the_status(shop):
    shop("run", "--to", "1")

    document = shop("status", "--output", "json").json

    assert keys(document) == "schema_version migrations"
    assert {keys(item) for item in document["migrations"]} == {"version name state applied_at"}
    first, second = document["migrations"]
    assert first["applied_at"].startswith("20")
    assert second == {"version": "2", "name": "fill", "state": "pending", "applied_at": None}


def test_the_plugins(shop):
    document = shop("plugins", "--output", "json").json

    assert keys(document) == "schema_version plugins"
    assert {keys(item) for item in document["plugins"]} == {"name distribution version state phases faults"}
    (plum,) = [item for item in document["plugins"] if item["name"] == "plum"]
    assert plum == {
        "name": "plum",
        "distribution": "plum-package",
        "version": "1.0",
        "state": "unused",
        "phases": ["after_ddl"],
        "faults": [],
    }


def test_the_plugins_that_the_configuration_uses_are_ready(shop):
    shop.configure("plugins = ['plum']\n")

    document = shop("plugins", "--output", "json").json

    assert [item["state"] for item in document["plugins"] if item["name"] == "plum"] == ["ready"]


def test_the_plan(shop):
    document = shop("plan", "--plugins", "plum", "--output", "json").json

    assert document["schema_version"] == 1
    assert [item["version"] for item in document["migrations"]] == ["1", "2"]
    assert [item["line"] for item in document["migrations"][1]["statements"]] == [2, 3]


def test_text_and_json_go_to_files_at_once(shop):
    answer = shop("run", "--output", "json=report.json", "--output", "text=report.txt", "--output", "json")

    assert answer.code == 0
    assert json.loads((shop.folder / "report.json").read_text()) == valid(answer.json)
    assert "2 migrations applied" in (shop.folder / "report.txt").read_text()


def test_json_in_a_file_leaves_the_text_on_stdout(shop):
    answer = shop("status", "--output", "json=status.json")

    assert "2 pending" in answer.out
    assert len(json.loads((shop.folder / "status.json").read_text())["migrations"]) == 2


def test_the_report_is_written_before_the_code_is_decided(shop):
    shop.write("3_bad.sql", "SELECT 1/0")

    answer = shop("run", "--output", "json=report.json")

    assert answer.code == 4
    assert valid(json.loads((shop.folder / "report.json").read_text()))["exit_code"] == 4


def test_two_reports_for_one_place_are_refused(shop):
    answer = shop("run", "--output", "json=a", "--output", "text=./a")

    assert answer.code == 2
    assert "already takes another report" in answer.err
