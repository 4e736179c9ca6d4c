"""Explain a rule in words, with the recipe that it writes for its own example."""

from __future__ import annotations

from pathlib import Path

from confiture.models.report import RuleExplanation
from confiture.rules.lint import parse_migration
from confiture.rules.parsed_migration import ParsedMigration, link_plan
from confiture.rules.rule import Example, Rule, Severity
from confiture.sql.script import read_sql_text

# The JSON of `confiture rules` uses these letters; they are part of its contract.
_BASIS = {"static": "S", "measured": "D", "either": "S+D"}
OUTSIDE = "-- confiture: no-transaction\n"


def explain_rule(rule: Rule, severity: Severity | None = None) -> RuleExplanation:
    """Return the explanation that ``confiture rules`` and the documentation show."""
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
    """Return the example's migration file as text."""
    return example.dangerous if example.transactional else OUTSIDE + example.dangerous


def read_example(example: Example) -> ParsedMigration:
    """Return the example's migration, parsed and linked to the schema that it changes."""
    root = Path.cwd()
    migrations = []
    for version, name, text in (("1", "schema", example.schema), ("2", "example", render_dangerous(example))):
        parsed = read_sql_text(text or "SELECT 1", root / f"{version}_{name}.sql", keep_refused=True)
        assert parsed is not None
        migrations.append(parse_migration(version, name, parsed, root))
    link_plan(migrations)
    return migrations[1]


def find_recipe(rule: Rule, migration: ParsedMigration) -> str | None:
    """Return the first recipe that a rule writes for a migration from its text alone, if any."""
    hits = [
        hit for statement in migration.statements for hit in (rule.check(statement) if rule.check else ())
    ]
    hits += rule.check_migration(migration) if rule.check_migration else ()
    return next((hit.recipe for hit in hits if hit.recipe), None)
