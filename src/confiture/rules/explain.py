"""A rule in words, with the recipe that it makes of its own example."""

from __future__ import annotations

from pathlib import Path

from confiture.models.report import RuleExplanation
from confiture.rules.lint import reading_of
from confiture.rules.parsed_migration import Reading, together
from confiture.rules.rule import Example, Rule, Severity
from confiture.sql.script import read_sql_text

# The letters of the JSON of `confiture rules`, which stay as they are.
_BASIS = {"static": "S", "measured": "D", "either": "S+D"}
OUTSIDE = "-- confiture: no-transaction\n"


def explained(rule: Rule, severity: Severity | None = None) -> RuleExplanation:
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
        example=dangerous(example) if example else None,
        recipe=recipe_of(rule, read_example(example)) if example else None,
        way=rule.remedy,
        differs=example.differs if example else None,
    )


def dangerous(example: Example) -> str:
    """Return the text of the example's migration."""
    return example.dangerous if example.transactional else OUTSIDE + example.dangerous


def read_example(example: Example) -> Reading:
    """Return the example's migration as the rules read it, its schema being there before."""
    root = Path.cwd()
    readings = []
    for version, name, text in (("1", "schema", example.schema), ("2", "example", dangerous(example))):
        parsed = read_sql_text(text or "SELECT 1", root / f"{version}_{name}.sql", keep_refused=True)
        assert parsed is not None
        readings.append(reading_of(version, name, parsed, root))
    together(readings)
    return readings[1]


def recipe_of(rule: Rule, reading: Reading) -> str | None:
    """Return the recipe that a rule makes of a migration, from its text alone."""
    found = [hit for piece in reading.pieces for hit in (rule.check(piece) if rule.check else ())]
    found += rule.check_migration(reading) if rule.check_migration else ()
    return next((hit.recipe for hit in found if hit.recipe), None)
