"""The hooks: preconditions before a migration, checks before its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture.plugins.kit import names_migration
from confiture_checks.check_file import read_check_file, run_check
from confiture_checks.constraints import build_refusal, count_violations, find_not_valid
from confiture_checks.errors import CountsDiffer, PreconditionFailed
from confiture_checks.preconditions import check_preconditions
from confiture_checks.queries import fetch_whole_number, open_read_only, read_begin_time
from confiture_checks.settings import CONFIG_KEYS, CheckSettings, Count, read_settings

if TYPE_CHECKING:
    from psycopg import Connection


@frozen
class Checks:
    """Checks what a migration needs, and what it leaves behind; going backward, nothing.

    Attributes:
        config_keys: What its table of the configuration may hold.
    """

    config_keys: ClassVar[dict[str, str]] = CONFIG_KEYS

    @hookimpl
    def before_validation(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Stop if a precondition of the migration is not met."""
        if context.direction != "forward":
            return None
        settings = read_settings(context.config)
        if settings.constraints != "off":
            context.data[_get_own_name(context)] = read_begin_time(conn)
            # The first use of a log is slow: now nobody waits for our locks, later everybody does.
            _ = context.log
        # Report a fault in the file now, before anything has changed.
        read_check_file(context.folder, context.migration_version, context.migration_name)
        stats = _check_preconditions(conn, context, settings)
        return None if stats is None else HookResult("BEFORE_VALIDATION", "Preconditions", stats=stats)

    @hookimpl
    def after_validation(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Stop if a check fails: constraints, the ``.check.sql`` file, row counts."""
        if context.direction != "forward":
            return None
        settings = read_settings(context.config)
        stats = (
            _check_constraints(conn, context, settings)
            | _run_queries(conn, context)
            | _compare_counts(conn, context, settings)
        )
        return HookResult("AFTER_VALIDATION", "ValidateConstraints", stats=stats) if stats else None


def _check_preconditions(
    conn: Connection[Any], context: HookContext, settings: CheckSettings
) -> dict[str, Any] | None:
    """Return what was measured, ``None`` if the settings ask for nothing."""
    requires = [requirement for requirement in settings.requires if _applies(context, requirement.migration)]
    results = [answer for require in requires for answer in check_preconditions(conn, require)]
    for unknown in dict.fromkeys(answer.unknown for answer in results if answer.unknown):
        context.log.warning("precondition.unknown", reason=unknown)
    if unmet := tuple(dict.fromkeys(sentence for answer in results for sentence in answer.unmet)):
        raise PreconditionFailed(unmet, hint="correct it, or change plugin.checks.require")
    unknown_ones = [answer.unknown for answer in results if answer.unknown]
    stats = {key: value for answer in results for key, value in (answer.stats or {}).items()}
    return (stats | ({"unknown": unknown_ones} if unknown_ones else {})) if results else None


def _check_constraints(
    conn: Connection[Any], context: HookContext, settings: CheckSettings
) -> dict[str, Any]:
    if settings.constraints == "off":
        return {}
    tables = context.relations()
    if not tables and read_begin_time(conn) != context.data.get(_get_own_name(context)):
        return _report_unknown(context)
    found = [
        constraint
        for constraint in find_not_valid(conn, tables)
        if constraint.label not in settings.not_valid_allowed
    ]
    doubts = count_violations(conn, found, count=settings.count_violations)
    if doubts and settings.constraints == "error":
        raise build_refusal(doubts)
    for doubt in doubts:
        context.log.warning(
            "constraint.not_valid", constraint=doubt.constraint.label, violations=doubt.violations
        )
    return {
        "relations": len(tables),
        "not_valid": {doubt.constraint.label: doubt.violations for doubt in doubts},
    }


def _report_unknown(context: HookContext) -> dict[str, Any]:
    """Say that each phase had a transaction of its own, so that what was touched is not known."""
    why = "what a no-transaction migration has touched is not known: its constraints are not results at"
    context.log.warning("constraints.unknown", reason=why)
    return {"relations": None, "unknown": why}


def _run_queries(conn: Connection[Any], context: HookContext) -> dict[str, Any]:
    queries = read_check_file(context.folder, context.migration_version, context.migration_name)
    if not queries:
        return {}
    with open_read_only(conn):
        for query in queries:
            run_check(conn, query)
    return {"checks": len(queries)}


def _compare_counts(conn: Connection[Any], context: HookContext, settings: CheckSettings) -> dict[str, Any]:
    counts = [count for count in settings.counts if _applies(context, count.migration)]
    if not counts:
        return {}
    with open_read_only(conn):
        return {"counts": {count.name: _compare_count(conn, count) for count in counts}}


def _compare_count(conn: Connection[Any], count: Count) -> dict[str, int]:
    place = f"plugin.checks.counts.{count.name}"
    source = fetch_whole_number(conn, count.source, f"{place}.source")
    target = fetch_whole_number(conn, count.target, f"{place}.target")
    if abs(source - target) > count.difference:
        raise CountsDiffer(count.name, source=source, target=target, difference=count.difference)
    return {"source": source, "target": target}


def _get_own_name(context: HookContext) -> str:
    # Under the name that it is registered by, which an application may choose.
    return context.data.writer or "checks"


def _applies(context: HookContext, migration: str | None) -> bool:
    return migration is None or names_migration(migration, context.migration_version, context.migration_name)
