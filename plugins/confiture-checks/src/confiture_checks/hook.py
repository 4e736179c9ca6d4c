"""The hooks: what is looked at before a migration begins, and before it is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from attrs import frozen

from confiture import HookContext, HookResult, hookimpl
from confiture_checks.asking import began, read_only, whole_number
from confiture_checks.beside import beside, check
from confiture_checks.configured import CONFIG_KEYS, Configured, Count, configured, is_for
from confiture_checks.constraints import doubted, not_valid, refusal
from confiture_checks.faults import CountsDiffer, PreconditionFailed
from confiture_checks.preconditions import look

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
        """Stop where the database is not as the migration needs it."""
        if context.direction != "forward":
            return None
        wanted = configured(context.config)
        if wanted.constraints != "off":
            context.data[_own(context)] = began(conn)
            # The first use of a log is slow: now nobody waits for our locks, later everybody does.
            _ = context.log
        # A fault in the file is told now, before anything has changed.
        beside(context.folder, context.migration_version, context.migration_name)
        stats = _preconditions(conn, context, wanted)
        return None if stats is None else HookResult("BEFORE_VALIDATION", "Preconditions", stats=stats)

    @hookimpl
    def after_validation(self, conn: Connection[Any], context: HookContext) -> HookResult | None:
        """Stop where a check says no: constraints, the file beside the migration, row counts."""
        if context.direction != "forward":
            return None
        wanted = configured(context.config)
        stats = _constraints(conn, context, wanted) | _queries(conn, context) | _counts(conn, context, wanted)
        return HookResult("AFTER_VALIDATION", "ValidateConstraints", stats=stats) if stats else None


def _preconditions(conn: Connection[Any], context: HookContext, wanted: Configured) -> dict[str, Any] | None:
    """Return what was measured, ``None`` where nothing is asked for."""
    requires = [requirement for requirement in wanted.requires if _here(context, requirement.migration)]
    looked = [answer for require in requires for answer in look(conn, require)]
    for unknown in dict.fromkeys(answer.unknown for answer in looked if answer.unknown):
        context.log.warning("precondition.unknown", reason=unknown)
    if unmet := tuple(dict.fromkeys(sentence for answer in looked for sentence in answer.unmet)):
        raise PreconditionFailed(unmet, hint="mend it, or change plugin.checks.require")
    unknown_ones = [answer.unknown for answer in looked if answer.unknown]
    stats = {key: value for answer in looked for key, value in (answer.stats or {}).items()}
    return (stats | ({"unknown": unknown_ones} if unknown_ones else {})) if looked else None


def _constraints(conn: Connection[Any], context: HookContext, wanted: Configured) -> dict[str, Any]:
    if wanted.constraints == "off":
        return {}
    tables = context.relations()
    if not tables and began(conn) != context.data.get(_own(context)):
        return _untold(context)
    found = [
        constraint
        for constraint in not_valid(conn, tables)
        if constraint.label not in wanted.not_valid_allowed
    ]
    doubts = doubted(conn, found, count=wanted.count_violations)
    if doubts and wanted.constraints == "error":
        raise refusal(doubts)
    for doubt in doubts:
        context.log.warning(
            "constraint.not_valid", constraint=doubt.constraint.label, violations=doubt.violations
        )
    return {
        "relations": len(tables),
        "not_valid": {doubt.constraint.label: doubt.violations for doubt in doubts},
    }


def _untold(context: HookContext) -> dict[str, Any]:
    """Say that each phase had a transaction of its own, so that what was touched is not known."""
    why = "what a no-transaction migration has touched is not known: its constraints are not looked at"
    context.log.warning("constraints.unknown", reason=why)
    return {"relations": None, "unknown": why}


def _queries(conn: Connection[Any], context: HookContext) -> dict[str, Any]:
    queries = beside(context.folder, context.migration_version, context.migration_name)
    if not queries:
        return {}
    with read_only(conn):
        for query in queries:
            check(conn, query)
    return {"checks": len(queries)}


def _counts(conn: Connection[Any], context: HookContext, wanted: Configured) -> dict[str, Any]:
    counts = [count for count in wanted.counts if _here(context, count.migration)]
    if not counts:
        return {}
    with read_only(conn):
        return {"counts": {count.name: _agreed(conn, count) for count in counts}}


def _agreed(conn: Connection[Any], count: Count) -> dict[str, int]:
    place = f"plugin.checks.counts.{count.name}"
    source = whole_number(conn, count.source, f"{place}.source")
    target = whole_number(conn, count.target, f"{place}.target")
    if abs(source - target) > count.difference:
        raise CountsDiffer(count.name, source=source, target=target, difference=count.difference)
    return {"source": source, "target": target}


def _own(context: HookContext) -> str:
    # Under the name that it is registered by, which an application may choose.
    return context.data.writer or "checks"


def _here(context: HookContext, migration: str | None) -> bool:
    return is_for(migration, context.migration_version, context.migration_name)
