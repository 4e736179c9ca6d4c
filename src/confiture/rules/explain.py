"""Explain a rule in words, with the recipe that it writes for its own example."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from confiture.models.report import RecipeFile, RuleExplanation
from confiture.rules.ask_rule import find_hits
from confiture.rules.evaluate import find_statement
from confiture.rules.parse_files import parse_migration
from confiture.rules.parsed_migration import ParsedMigration, ParsedStatement, link_plan
from confiture.rules.recipe_files import write_files
from confiture.rules.recipes import Recipe, read_recipe
from confiture.rules.rule import Example, Rule, Severity
from confiture.sql.script import read_sql_text

# The JSON of `confiture rules` uses these letters; they are part of its contract.
_BASIS = {"static": "S", "measured": "D", "either": "S+D"}
VERSION = "20260101120000"
"""The version of the examples' migrations."""
OUTSIDE = "-- confiture: no-transaction\n"


def explain_rule(rule: Rule, severity: Severity | None = None) -> RuleExplanation:
    """Return the explanation that ``confiture rules`` and the documentation show."""
    example = rule.example
    return RuleExplanation(
        rule=rule.id,
        severity=severity or rule.severity,
        by="C" if rule.judges_schema else _BASIS[rule.basis],
        summary=rule.summary,
        does=rule.effect,
        hurts=rule.risk,
        schema=example.schema if example else None,
        example=render_dangerous(example) if example else None,
        recipe=_find_alternative(rule, example) if example else None,
        way=rule.remedy,
        differs=example.differs if example else None,
        files=_write_example_files(rule, example) if example else (),
        needs=rule.needs,
    )


def render_dangerous(example: Example) -> str:
    """Return the example's migration file as text."""
    return example.dangerous if example.transactional else OUTSIDE + example.dangerous


def read_example(example: Example) -> ParsedMigration:
    """Return the example's migration, parsed and linked to the schema that it changes."""
    root = Path.cwd()
    migrations = []
    texts = ("20260101110000", "schema", example.schema), (VERSION, "example", render_dangerous(example))
    for version, name, text in texts:
        parsed = read_sql_text(text or "SELECT 1", root / f"{version}_{name}.up.sql", keep_refused=True)
        assert parsed is not None
        migrations.append(parse_migration(version, name, parsed, root))
    link_plan(migrations)
    return migrations[1]


def find_recipe(rule: Rule, migration: ParsedMigration) -> str | None:
    """Return the first recipe that a rule writes for a migration from its text alone, if any."""
    found = _find_recipe(rule, migration)
    return found[1].text if found else None


def _find_recipe(rule: Rule, migration: ParsedMigration) -> tuple[ParsedStatement, Recipe] | None:
    checked = [
        (statement, hit)
        for statement in migration.statements
        for hit in find_hits(rule, rule.check, statement, f"line {statement.line} of its example")
    ]
    wide = find_hits(rule, rule.check_migration, migration, "its example")
    checked += [(find_statement(migration, hit.line), hit) for hit in wide]
    recipes = ((statement, read_recipe(hit.recipe)) for statement, hit in checked)
    return next(((statement, recipe) for statement, recipe in recipes if recipe), None)


def _find_alternative(rule: Rule, example: Example) -> str | None:
    """Return what to write instead of an example: a rule about schemas has no statement to write it for."""
    if not rule.judges_schema:
        return find_recipe(rule, read_example(example))
    return render_dangerous(evolve(example, dangerous=example.instead)) if example.instead else None


def _write_example_files(rule: Rule, example: Example) -> tuple[RecipeFile, ...]:
    if rule.judges_schema:
        return ()
    found = _find_recipe(rule, read_example(example))
    return write_files(*found) if found else ()
