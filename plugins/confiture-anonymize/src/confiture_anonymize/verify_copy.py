"""Compare a copy with its source: nothing personal is left, and everything else is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection

from confiture.models.report import Finding
from confiture.plugins.kit import format_count
from confiture_anonymize.check_unique import check_distinct, check_unique
from confiture_anonymize.compare_tables import compare_tables
from confiture_anonymize.copy_findings import make_finding
from confiture_anonymize.copy_plan import TablePlan
from confiture_anonymize.copy_rows import hold_snapshot, prepare_session
from confiture_anonymize.foreign_keys import find_orphans
from confiture_anonymize.keyed_hash import Key
from confiture_anonymize.original_values import find_original_values
from confiture_anonymize.profile import Profile, match_parts
from confiture_anonymize.source_schema import quote


def verify_copy(
    source: Connection[Any], target: Connection[Any], plans: Sequence[TablePlan], profile: Profile, key: Key
) -> tuple[Finding, ...]:
    """Return everything that is wrong with a copy; nothing is written to either side."""
    prepare_session(source, key, plans)
    prepare_session(target, key, plans)
    with hold_snapshot(source):
        findings = [
            *compare_tables(source, target, plans, key),
            *(
                make_finding("original-value", where, message)
                for where, message in find_original_values(source, target, plans)
            ),
            *check_distinct(source, target, plans),
            *check_unique(source, target, plans),
        ]
    orphans = (
        make_finding("foreign-key", table, f"has {format_count(rows, 'row')} referring to nothing ({name})")
        for table, name, rows in find_orphans(target, plans)
    )
    return (*findings, *orphans, *_check_groups(target, plans, profile))


def _check_groups(target: Connection[Any], plans: Sequence[TablePlan], profile: Profile) -> Iterator[Finding]:
    """Find rows that their quasi-identifiers single out."""
    for pattern, columns in profile.quasi_identifiers.items():
        for plan in plans:
            if plan.skipped or not match_parts(pattern, plan.table.identity):
                continue
            names = ", ".join(map(quote, columns))
            query = (
                f"SELECT coalesce(sum(n), 0)::bigint FROM (SELECT count(*) AS n FROM {plan.table.rows_sql}"
                f" GROUP BY {names} HAVING count(*) < {profile.k}) AS x"
            )
            ((rows,),) = target.execute(query.encode()).fetchall()
            if rows:
                groups = f"groups of fewer than {profile.k} by {', '.join(columns)}"
                message = f"has {format_count(rows, 'row')} in {groups}"
                yield make_finding("k-anonymity", plan.table.label, message)
