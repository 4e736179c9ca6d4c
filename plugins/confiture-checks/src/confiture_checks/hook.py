"""The hooks: preconditions before a migration begins, checks before it is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture.plugins.kit import names_migration
from confiture_checks.check_file import read_check_file, run_check
from confiture_checks.constraints import ConstraintViolations, count_violations, find_not_valid, make_error
from confiture_checks.errors import CountMismatch, PreconditionFailed
from confiture_checks.preconditions import evaluate_requirement
from confiture_checks.queries import fetch_whole_number, forbid_writes, read_transaction_start
from confiture_checks.settings import CONFIG_KEYS, CheckSettings, CountComparison, read_settings

if TYPE_CHECKING:
    from psycopg import Connection


@frozen
class Checks:
    """Checks what a migration requires and what it leaves behind; does nothing when it goes backward.

    Attributes:
        config_keys: What its table of settings may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl
    def before_validation(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Stop if the database is not as the migration requires it."""
        if context.direction != "forward":
            return None
        settings = read_settings(context.config)
        if settings.constraints != "off":
            context.data[_data_key(context)] = read_transaction_start(conn)
            # The first use of the log is slow. Now nobody waits for our locks; later everybody does.
            _ = context.log
        # Read here only so that a fault in the file is reported before anything has changed.
        read_check_file(context.folder, context.migration_version, context.migration_name)
        stats = _check_preconditions(conn, context, settings)
        return None if stats is None else HookResult("BEFORE_VALIDATION", "Preconditions", stats=stats)

    @hookimpl
    def after_validation(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Stop if a constraint, a query of the migration's file or a row count is not right."""
        if context.direction != "forward":
            return None
        settings = read_settings(context.config)
        stats = (
            _check_constraints(conn, context, settings)
            | _run_check_file(conn, context)
            | _compare_counts(conn, context, settings)
        )
        return HookResult("AFTER_VALIDATION", "ValidateConstraints", stats=stats) if stats else None


def _check_preconditions(
    conn: Connection[Any], context: HookContext, settings: CheckSettings
) -> dict[str, Any] | None:
    """Return what was measured; ``None`` if nothing is required."""
    results = [
        result
        for requirement in settings.requirements
        if requirement.migration is None or _concerns(context, requirement.migration)
        for result in evaluate_requirement(conn, requirement)
    ]
    unknown = [result.unknown for result in results if result.unknown]
    for reason in dict.fromkeys(unknown):
        context.log.warning("precondition.unknown", reason=reason)
    if unmet := tuple(dict.fromkeys(sentence for result in results for sentence in result.unmet)):
        raise PreconditionFailed(unmet, hint="correct the database, or change plugin.checks.require")
    stats = {key: value for result in results for key, value in result.stats.items()}
    return (stats | ({"unknown": unknown} if unknown else {})) if results else None


def _check_constraints(
    conn: Connection[Any], context: HookContext, settings: CheckSettings
) -> dict[str, Any]:
    if settings.constraints == "off":
        return {}
    tables = context.relations()
    if not tables and read_transaction_start(conn) != context.data.get(_data_key(context)):
        return _report_unknown_tables(context)
    violations = _find_violations(conn, tables, settings)
    if violations and settings.constraints == "error":
        raise make_error(violations)
    for found in violations:
        context.log.warning("constraint.not_valid", constraint=found.constraint.label, violations=found.rows)
    return {
        "relations": len(tables),
        "not_valid": {found.constraint.label: found.rows for found in violations},
    }


def _find_violations(
    conn: Connection[Any], tables: tuple[str, ...], settings: CheckSettings
) -> tuple[ConstraintViolations, ...]:
    constraints = [
        constraint
        for constraint in find_not_valid(conn, tables)
        if constraint.label not in settings.not_valid_allowed
    ]
    if constraints and settings.count_violations:
        return count_violations(conn, constraints)
    return tuple(ConstraintViolations(constraint, None) for constraint in constraints)


def _report_unknown_tables(context: HookContext) -> dict[str, Any]:
    """Warn that each phase had its own transaction, so the changed tables are not known."""
    reason = "which tables a no-transaction migration has changed is not known: constraints are not checked"
    context.log.warning("constraints.unknown", reason=reason)
    return {"relations": None, "unknown": reason}


def _run_check_file(conn: Connection[Any], context: HookContext) -> dict[str, Any]:
    queries = read_check_file(context.folder, context.migration_version, context.migration_name)
    if not queries:
        return {}
    with forbid_writes(conn):
        for query in queries:
            run_check(conn, query)
    return {"checks": len(queries)}


def _compare_counts(conn: Connection[Any], context: HookContext, settings: CheckSettings) -> dict[str, Any]:
    counts = [count for count in settings.counts if _concerns(context, count.migration)]
    if not counts:
        return {}
    with forbid_writes(conn):
        return {"counts": {count.name: _compare(conn, count) for count in counts}}


def _compare(conn: Connection[Any], count: CountComparison) -> dict[str, int]:
    place = f"plugin.checks.counts.{count.name}"
    source = fetch_whole_number(conn, count.source, f"{place}.source")
    target = fetch_whole_number(conn, count.target, f"{place}.target")
    if abs(source - target) > count.difference:
        raise CountMismatch(count.name, source=source, target=target, difference=count.difference)
    return {"source": source, "target": target}


def _data_key(context: HookContext) -> str:
    # A hook may write only under the name that its plugin is registered by, which an application may choose.
    return context.data.writer or "checks"


def _concerns(context: HookContext, migration: str) -> bool:
    return names_migration(migration, context.migration_version, context.migration_name)
