"""The profile of a large application with several tenants, and what happens without each of its rules."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import psycopg
import pytest
from attrs import evolve

from confiture_anonymize.copy_plan import compile_plan
from confiture_anonymize.errors import UnclassifiedFault
from confiture_anonymize.keyed_hash import Key
from confiture_anonymize.profile import Profile
from confiture_anonymize.read_profile import read_profile
from confiture_anonymize.source_schema import Table, read_tables
from tests.anonymized_shop import Shop, open_shop
from tests.application.project import list_files
from tests.application_rows import KEEP, RULES, SKIP, choose_rules, fill_tables

MASKED = [pattern for pattern, rule in RULES.items() if '"keep"' not in rule]
KEY = Key(b"sixteen bytes or more")


@pytest.fixture
def application(tmp_path: Path, database_url: str) -> Iterator[Shop]:
    schema = "SET check_function_bodies = off;\n" + "\n".join(file.sql for file in list_files(seeded=False))
    with open_shop(tmp_path, database_url, schema=schema, rows="") as opened:
        with psycopg.connect(database_url, autocommit=True) as conn:
            fill_tables(conn, 30)
        yield opened


def read(application: Shop) -> tuple[Table, ...]:
    with psycopg.connect(application.source_url, autocommit=True) as conn:
        return read_tables(conn, "confiture")


def configure(application: Shop, rules: dict[str, str]) -> None:
    lines = "\n".join(f'"{pattern}" = {rule}' for pattern, rule in rules.items())
    skip = ", ".join(f'"{name}"' for name in SKIP)
    (application.folder / "confiture.toml").write_text(
        f"[anonymize.profiles.qa]\nskip = [{skip}]\n[anonymize.profiles.qa.columns]\n{lines}\n"
    )


@pytest.mark.slow
def test_a_copy_of_the_application_is_verified_without_a_finding(application: Shop) -> None:
    configure(application, choose_rules(read(application)))

    copied, verified = application.run(), application.run("verify")

    assert copied.code == 0, copied.err
    assert verified.code == 0, verified.out + verified.err
    assert application.fetch("SELECT count(*) FROM audit_log") == [(0,)]
    assert application.fetch("SELECT count(*), count(DISTINCT tenant_id) FROM w_customers") == [(30, 3)]


@pytest.mark.slow
def test_a_copy_that_keeps_what_each_rule_masks_is_found_for_every_rule(application: Shop) -> None:
    rules = choose_rules(read(application))
    configure(application, {**rules, **{pattern: KEEP.format("forgotten") for pattern in MASKED}})
    copied = application.run()
    configure(application, rules)

    verified = application.run("verify", "--output=json")

    assert (copied.code, verified.code) == (0, 1), copied.err + verified.err
    wheres = [finding["relation"].removeprefix("public.") for finding in json.loads(verified.out)["findings"]]
    missed = [pattern for pattern in MASKED if not any(fnmatchcase(where, pattern) for where in wheres)]
    assert missed == []


@pytest.mark.slow
def test_without_any_single_rule_the_copy_is_refused_or_verification_finds_it(application: Shop) -> None:
    tables = read(application)
    rules = choose_rules(tables)
    columns = {pattern: _read_rule(rule) for pattern, rule in rules.items()}
    profile = read_profile({"profiles": {"qa": {"skip": list(SKIP), "columns": columns}}}, "qa")

    not_refused = [pattern for pattern in MASKED if not is_refused(tables, profile, pattern)]

    # A number whose name says nothing, or a column that a pattern keeps: verification has to find these.
    for pattern in not_refused:
        configure(application, {name: rule for name, rule in rules.items() if name != pattern})
        copied = application.run()
        configure(application, rules)
        verified = application.run("verify")
        application.run("--drop")
        assert (copied.code, verified.code) == (0, 1), f"{pattern}: {copied.err} {verified.out}"
    assert not_refused == ["w_suppliers.name"]


def is_refused(tables: tuple[Table, ...], profile: Profile, pattern: str) -> bool:
    """Return True if the profile without one rule is refused, for no other column than that rule's."""
    rules = tuple(rule for rule in profile.rules if rule.pattern != pattern)
    try:
        compile_plan(tables, evolve(profile, rules=rules), KEY)
    except UnclassifiedFault as fault:
        return all(fnmatchcase(name.removeprefix("public."), pattern) for name in fault.columns)
    return False


def _read_rule(rule: str) -> object:
    return tomllib.loads(f"rule = {rule}")["rule"]
