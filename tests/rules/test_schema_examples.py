"""Every rule about schemas finds the fault of its example, under the configuration of the page, and no other way."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from attrs import evolve

from confiture.config.settings import Given, load_settings
from confiture.rules.explain import explain_rule, read_example
from confiture.rules.lint_schema import judge_schema
from confiture.rules.rule import Example, Rule
from confiture.schema.judged_schema import JudgedSchema
from confiture.schema.read_catalog import read_catalog
from tests.rules.examples import RULES, book, example_of

PAGE = Path(__file__).parents[2] / "docs" / "schema-lint.md"
ABOUT_SCHEMAS = [rule.id for rule in RULES.values() if rule.judges_schema]
# What the planner would know of a table with that many rows.
_GIANT = "UPDATE pg_class SET relpages = 40000000, reltuples = 1e9 WHERE relname = 'readings'"


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """What the configuration on the page expects of a schema."""
    folder = tmp_path_factory.mktemp("page")
    (found,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "pyproject.toml").write_text(found)
    policy = load_settings(Given(), cwd=folder, environ={}).schema_policy
    assert policy
    return evolve(policy, schemas=("public",))


@pytest.fixture(scope="module")
def conn(confiture_server, _confiture_templates):
    """A connection to a database whose schema each test makes anew."""
    name = _confiture_templates.copy("template0")
    with psycopg.connect(confiture_server.conninfo(name), autocommit=True) as conn:
        yield conn
    _confiture_templates.drop(name)


def find(rule: Rule, example: Example, conn, policy) -> list[str]:
    """Return the messages of a rule about the schema of an example."""
    conn.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    conn.execute(example.schema)
    for sql in [statement.sql for statement in read_example(example).statements]:
        try:
            conn.execute(sql)
        except psycopg.errors.UniqueViolation:
            assert rule.id == "schema-invalid-index"
    conn.execute(_GIANT)
    schema = JudgedSchema(read_catalog(conn, "confiture"), policy)
    found = judge_schema(schema, book(), tuple(RULES.values()), (read_example(example),))
    return [finding.message for finding in found if finding.rule == rule.id]


@pytest.mark.parametrize("name", ABOUT_SCHEMAS)
def test_a_rule_finds_its_example_and_nothing_in_what_to_write_instead(name, conn, policy):
    rule, example = RULES[name], example_of(RULES[name])
    assert example.instead

    faults = find(rule, example, conn, policy)
    left = find(rule, evolve(example, dangerous=example.instead), conn, policy)

    assert len(faults) == 1, faults
    assert left == []


def test_both_are_explained():
    explained = explain_rule(RULES["tenant-unique"])

    assert explained.example == "ALTER TABLE w_orders ADD UNIQUE (number);"
    assert explained.recipe == "ALTER TABLE w_orders ADD UNIQUE (tenant_id, number);"
