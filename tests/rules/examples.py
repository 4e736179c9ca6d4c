"""The rules' own examples, run for real: what is dangerous, and the recipe pasted instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg

from confiture.api import operations
from confiture.models.report import Finding, Report
from confiture.rules.evaluate import RuleSet, select_rules
from confiture.rules.explain import render_dangerous
from confiture.rules.judge_rehearsal import make_judge
from confiture.rules.lint import lint
from confiture.rules.registry import collect_rules
from confiture.rules.rule import Example, Rule, Severity
from tests.project import Project

RULES = {rule.id: rule for rule in collect_rules()}
ALL_ON: dict[str, Severity] = {rule.id: "info" for rule in RULES.values() if rule.severity == "off"}
ROWS = 200
_NEXT = re.compile(r"^-- migration \d+$\n", re.MULTILINE)


def book() -> RuleSet:
    """Return all rules, those that are off by default too."""
    return select_rules(RULES.values(), ALL_ON)


def set_up(project: Project, example: Example) -> None:
    """Make the example's schema, with rows in every table that takes them."""
    with psycopg.connect(project.url, autocommit=True) as conn:
        if example.schema:
            conn.execute(example.schema.encode())
        for table, columns in _fillable(conn):
            conn.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
                f" FROM generate_series(1, {ROWS}) AS g ON CONFLICT DO NOTHING".encode()
            )
        conn.execute("ANALYZE")


_VALUES = {
    "bigint": "g",
    "integer": "g",
    "text": "'n' || g",
    "character varying": "'c' || g",
    "date": "date '2024-01-01' + g % 31",
}


def _fillable(conn: psycopg.Connection[Any]) -> list[tuple[str, dict[str, str]]]:
    tables: dict[str, dict[str, str]] = {}
    for table, column, type_name in conn.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        " AND table_name NOT IN (SELECT inhrelid::regclass::text FROM pg_inherits) ORDER BY table_name, ordinal_position"
    ):
        value = _VALUES[type_name].replace("01-01", "03-01" if table == "metric_c" else "01-01")
        tables.setdefault(table, {})[column] = value
    return _referred_first(tables)


def _referred_first(tables: dict[str, dict[str, str]]) -> list[tuple[str, dict[str, str]]]:
    return sorted(tables.items(), key=lambda table: (table[0] not in ("customer", "orders"), table[0]))


def parts_of(recipe: str) -> list[str]:
    """Return the migrations of a recipe."""
    return [part for part in _NEXT.split(recipe) if part.strip()]


def write(project: Project, *migrations: str) -> None:
    """Write the migrations of one plan."""
    for number, text in enumerate(migrations, 1):
        (project.migrations / f"{number}_step.sql").write_text(text)


def linted(project: Project) -> Report:
    """Judge the files by their text alone."""
    return lint(project.settings(), severity=ALL_ON)


def rehearsed(project: Project) -> Report:
    """Rehearse and judge what is pending."""
    settings = project.settings()
    return operations.run(settings, dry_run=True, judge=make_judge(settings, book()))


def of(report: Report, rule: str) -> list[Finding]:
    """Return the findings of a rule."""
    return [finding for finding in report.findings if finding.rule == rule]


def example_of(rule: Rule) -> Example:
    """Return a rule's example, which it must have."""
    assert rule.example is not None
    return rule.example


def prepared(project: Project, rule: Rule) -> Example:
    """Make the schema of a rule's example, and write its migration."""
    example = example_of(rule)
    set_up(project, example)
    write(project, render_dangerous(example))
    return example


def schema_of(url: str) -> set[tuple[Any, ...]]:
    """Return what there is: columns, constraints, indexes, triggers, sequences; not in which order."""
    with psycopg.connect(url) as conn:
        return {row for query in _CATALOG for row in conn.execute(query.encode())}


_OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'confiture', 'pg_toast')"
_CATALOG = (
    f"""SELECT 'column', c.oid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
        attgenerated, pg_get_expr(adbin, adrelid), collname FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
        JOIN pg_namespace n ON n.oid = relnamespace LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        LEFT JOIN pg_collation co ON co.oid = attcollation
        WHERE {_OURS} AND attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm')""",
    f"""SELECT 'constraint', conrelid::regclass::text, contypid::regtype::text, conname, pg_get_constraintdef(co.oid),
        convalidated FROM pg_constraint co JOIN pg_namespace n ON n.oid = connamespace WHERE {_OURS}""",
    f"""SELECT 'index', c.oid::regclass::text, pg_get_indexdef(c.oid), indisvalid, indisprimary, indisunique
        FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE {_OURS}""",
    "SELECT 'trigger', tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal",
    f"""SELECT 'relation', c.oid::regclass::text, relkind::text, relpersistence::text, relispartition
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE {_OURS} AND relkind <> 'i'""",
    f"SELECT 'function', p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE {_OURS}",
)


def here(path: Path) -> str:
    """Return a path as the report spells it."""
    return path.as_posix()
