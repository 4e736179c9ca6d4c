"""A rule in words, with the recipe that it makes of its own example."""

from __future__ import annotations

from pathlib import Path

from confiture.models.report import RuleExplanation
from confiture.rules.lint import parse_migration
from confiture.rules.parsed_migration import ParsedMigration, link_plan
from confiture.rules.rule import Example, Rule, Severity
from confiture.sql.script import read_sql_text

# The letters of the JSON of `confiture rules`, which stay as they are.
_BASIS = {"static": "S", "measured": "D", "either": "S+D"}
OUTSIDE = "-- confiture: no-transaction\n"


def explain_rule(rule: Rule, severity: Severity | None = None) -> RuleExplanation:
    """Return a rule in words."""
    example = rule.example
    return RuleExplanation(
        rule=rule.id,
        severity=severity or rule.severity,
        by=_BASIS[rule.basis],
        summary=rule.summary,
        does=rule.effect,
        hurts=rule.risk,
        schema=example.schema if example else None,
        example=render_dangerous(example) if example else None,
        recipe=find_recipe(rule, read_example(example)) if example else None,
        way=rule.remedy,
        differs=example.differs if example else None,
    )


def render_dangerous(example: Example) -> str:
    """Return the text of the example's migration."""
    return example.dangerous if example.transactional else OUTSIDE + example.dangerous


def read_example(example: Example) -> ParsedMigration:
    """Return the example's migration as the rules read it, its schema being there before."""
    root = Path.cwd()
    readings = []
    for version, name, text in (("1", "schema", example.schema), ("2", "example", render_dangerous(example))):
        parsed = read_sql_text(text or "SELECT 1", root / f"{version}_{name}.sql", keep_refused=True)
        assert parsed is not None
        readings.append(parse_migration(version, name, parsed, root))
    link_plan(readings)
    return readings[1]


def find_recipe(rule: Rule, migration: ParsedMigration) -> str | None:
    """Return the recipe that a rule makes of a migration, from its text alone."""
    found = [
        hit for statement in migration.statements for hit in (rule.check(statement) if rule.check else ())
    ]
    found += rule.check_migration(migration) if rule.check_migration else ()
    return next((hit.recipe for hit in found if hit.recipe), None)
