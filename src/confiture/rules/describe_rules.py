"""Describe the rules that have findings, for formats that show what a rule is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from confiture.models.report import Finding, RuleText
from confiture.rules.rule import Rule

_MANUAL = "https://www.postgresql.org/docs/current/"
# PostgreSQL's page about a statement, which says what it locks.
_PAGES: Mapping[str, str] = MappingProxyType(
    {
        "alter_domain_stmt": "sql-alterdomain.html",
        "alter_enum_stmt": "sql-altertype.html",
        "alter_table_stmt": "sql-altertable.html",
        "cluster_stmt": "sql-cluster.html",
        "create_stmt": "sql-createtable.html",
        "delete_stmt": "sql-delete.html",
        "dropdb_stmt": "sql-dropdatabase.html",
        "index_stmt": "sql-createindex.html",
        "insert_stmt": "sql-insert.html",
        "refresh_mat_view_stmt": "sql-refreshmaterializedview.html",
        "reindex_stmt": "sql-reindex.html",
        "transaction_stmt": "tutorial-transactions.html",
        "update_stmt": "sql-update.html",
        "vacuum_stmt": "sql-vacuum.html",
        "variable_set_stmt": "sql-set.html",
    }
)
_LOCKS = "explicit-locking.html"
_SCHEMAS = "ddl.html"


def describe_rules(rules: Iterable[Rule], findings: Iterable[Finding]) -> tuple[RuleText, ...]:
    """Return the text of each rule that has a finding, in the order of the rules."""
    found = {finding.rule for finding in findings}
    return tuple(_describe_rule(rule) for rule in rules if rule.id in found)


def _describe_rule(rule: Rule) -> RuleText:
    remedy = f" Instead: {rule.remedy}." if rule.remedy else ""
    page = _PAGES.get(rule.kinds[0], _LOCKS) if rule.kinds else _LOCKS
    if rule.judges_schema:
        page = _SCHEMAS
    return RuleText(
        rule.id,
        f"{rule.summary[:1].upper()}{rule.summary[1:]}.",
        f"PostgreSQL {rule.effect}. Why it hurts: {rule.risk}.{remedy}",
        f"{_MANUAL}{page}",
        _suggest_suppression(rule),
    )


def _suggest_suppression(rule: Rule) -> str:
    if rule.check_schema:
        return f'add to ignore in [schema]: {{ rule = "{rule.id}", object = "…", reason = "…" }}'
    return f'suppress the finding above the statement: -- confiture: ignore {rule.id} reason="…"'
