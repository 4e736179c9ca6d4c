"""The JSON report has every published key, in order, and no other."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from confiture.models.plan import MigrationStatus, Plan, PlannedStep, PluginStatus
from confiture.models.report import HookReport, MigrationReport
from confiture.output.json import render, render_order, render_plan, render_plugins, render_status
from tests.page.samples import EVERY
from tests.unit.reports import applied, full, report

SCHEMA = json.loads(files("confiture.output").joinpath("report.schema.json").read_text())


# As the contract writes them down.
# There where a flag asks for them, or PostgreSQL gives a reason.
OPTIONAL = {
    "migration": "spread unavailable",
    "statement": "reasons plan production_plan spread rewritten_bytes estimate",
    "hook": "estimate",
}
KEYS = {
    "": "schema_version mode outcome exit_code error server_version rehearsed_on plugins migrations findings"
    " residue",
    "plugin": "name distribution version",
    "migration": "version name outcome reason duration_ms rows_affected statements hooks locks rewrites"
    " index_builds scans blocks long_blocks not_seen error estimate",
    "statement": "line sql duration_ms lock_wait_ms rows wal_bytes rewrites index_builds scans locks"
    " notices not_rehearsed",
    "notice": "severity message",
    "hook": "phase plugin hook outcome duration_ms rows_affected stats locks",
    "lock": "relation kind mode blocks held_ms transient seen",
    "index_build": "index table new",
    "not_seen": "relation what reason",
    "error": "sqlstate message detail hint file line column phase hook",
    "estimate": "known reason advice p50_ms interval50_ms interval90_ms confidence_percent scales_with"
    " lock_wait_ms",
    "unavailable": "relation reads writes",
    "finding": "rule severity migration file line relation message recipe files basis ignored fingerprint",
    "recipe_file": "name directives sql",
    "residue": "what relation before after",
}
WORDS = {
    ("", "mode"): "run dry-run down",
    ("", "outcome"): "ok failed refused",
    ("migration", "outcome"): "applied reverted rehearsed not_rehearsed failed pending",
    ("hook", "outcome"): "kept undone",
    ("lock", "kind"): "table index view matview sequence foreign toast",
    ("lock", "seen"): "measured sampled held-before",
    ("finding", "severity"): "error warning info",
    ("finding", "basis"): "measured static",
}


def definition(name: str) -> Any:
    return SCHEMA["$defs"][name] if name else SCHEMA


def hook_with(stats: dict[Any, Any]) -> MigrationReport:
    return applied(hooks=(HookReport("after_ddl", "p", "h", "kept", 1.0, stats=stats),))


@pytest.mark.parametrize(
    "value",
    [
        full(),
        report(),
        report(applied(), MigrationReport("2", "fig", "pending"), mode="down", outcome="failed", exit_code=4),
        report(outcome="refused", exit_code=3, server_version=None),
        *EVERY.values(),
    ],
    ids=["full", "empty", "failed", "refused", *(f"page: {name}" for name in EVERY)],
)
def test_a_report_is_valid_by_the_published_schema(value):
    Draft202012Validator.check_schema(SCHEMA)

    Draft202012Validator(SCHEMA).validate(json.loads(render(value)))


def test_the_schema_refuses_a_key_too_many_and_a_key_too_few():
    document = json.loads(render(full()))
    validator = Draft202012Validator(SCHEMA)

    assert not validator.is_valid({**document, "extra": 1})
    assert not validator.is_valid({key: value for key, value in document.items() if key != "residue"})


@pytest.mark.parametrize("name", KEYS)
def test_the_schema_has_the_keys_of_the_contract_and_those_that_a_flag_adds(name):
    schema = definition(name)

    assert schema["required"] == KEYS[name].split()
    assert list(schema["properties"]) == [*KEYS[name].split(), *OPTIONAL.get(name, "").split()]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name, key", WORDS)
def test_the_schema_allows_the_words_of_the_contract_and_no_other(name, key):
    assert definition(name)["properties"][key]["enum"] == WORDS[name, key].split()


def test_every_object_has_the_keys_of_the_schema_in_its_order():
    document = json.loads(render(full()))
    migration = document["migrations"][0]
    definitions = SCHEMA["$defs"]

    assert list(document) == list(SCHEMA["properties"])
    assert list(migration) == definitions["migration"]["required"]
    for key, name in (
        ("statements", "statement"),
        ("hooks", "hook"),
        ("locks", "lock"),
        ("not_seen", "not_seen"),
    ):
        assert list(migration[key][0]) == definitions[name]["required"]
    assert list(migration["error"]) == list(definitions["error"]["properties"])
    assert list(migration["estimate"]) == list(definitions["estimate"]["properties"])


def test_what_is_for_people_only_is_not_in_it():
    text = render(full())

    for words in ("settings were put back", "a note", "notify", "ALTER TABLE nope"):
        assert words not in text


def test_whatever_a_hook_left_in_its_stats_becomes_json():
    around: dict[str, Any] = {}
    around["itself"] = around
    stats: dict[Any, Any] = {
        "day": date(2026, 11, 23),
        "sum": Decimal("1.50"),
        "nan": float("nan"),
        5: {"a"},
        "around": around,
    }

    document = json.loads(render(report(hook_with(stats))))

    found = document["migrations"][0]["hooks"][0]["stats"]
    assert (found["day"], found["sum"], found["nan"], found["5"]) == ("2026-11-23", "1.50", "nan", ["a"])
    assert "itself" in found["around"]


def test_hostile_names_are_escaped():
    text = render(report(applied(name="\x1b[31mred\x9b\udcff")))

    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["migrations"][0]["name"].startswith("\x1b[31m")


def test_times_are_rounded_to_a_microsecond():
    assert json.loads(render(report(applied())))["migrations"][0]["duration_ms"] == 12.346


def test_status_as_json():
    statuses = (MigrationStatus("1", "jam", "applied", "2026-11-23T00:00:00+00:00"),)

    assert json.loads(render_status(statuses)) == {
        "schema_version": 1,
        "migrations": [
            {"version": "1", "name": "jam", "state": "applied", "applied_at": "2026-11-23T00:00:00+00:00"}
        ],
    }


def test_plugins_as_json():
    plugins = (PluginStatus("guard", "confiture-guard", "1.0", "ready", ("before_ddl",)),)

    assert json.loads(render_plugins(plugins)) == {
        "schema_version": 1,
        "plugins": [
            {
                "name": "guard",
                "distribution": "confiture-guard",
                "version": "1.0",
                "state": "ready",
                "phases": ["before_ddl"],
                "faults": [],
            }
        ],
    }


def test_plan_and_order_as_json():
    hooks = {"after_ddl": ("backfill",)}
    plan = Plan("18.1", (PlannedStep("1", "jam", "1_jam.sql", "sql", True, ((1, "SELECT 1"),)),), hooks)

    document = json.loads(render_plan(plan))

    assert document["migrations"][0]["statements"] == [{"line": 1, "sql": "SELECT 1"}]
    assert document["hooks"] == json.loads(render_order(hooks))["order"] == {"after_ddl": ["backfill"]}
