"""Answer the rules' questions about what a rehearsal measured."""

from __future__ import annotations

from confiture.models.report import Lock
from confiture.rules.parse_tree import QualifiedName
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.rule import Hit

_EMPTY = "; it holds no rows here, so how long this takes with rows is unknown"


def list_worked_on(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that the statement rewrites, scans completely or builds an index on."""
    report = statement.report
    if report is None:
        return ()
    builds = (build.table for build in report.index_builds)
    return tuple(dict.fromkeys((*report.rewrites, *builds, *report.scans)))


def list_long_blocks(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that hold rows and are worked on while a lock of the migration blocks others."""
    migration = statement.migration.report
    if migration is None or statement.report is None:
        return ()
    worked = list_worked_on(statement)
    # A relation listed as scanned holds rows, even if it was never analyzed and PostgreSQL has no estimate.
    blocked = _list_blocked(statement) if set(worked) - set(migration.long_blocks) else ()
    scanned = statement.report.scans
    return tuple(
        name for name in worked if name in migration.long_blocks or (name in scanned and name in blocked)
    )


def _list_blocked(statement: ParsedStatement) -> frozenset[str]:
    """Return the relations on which this statement or an earlier one holds a lock that blocks others."""
    # PostgreSQL releases no lock before the transaction ends, so those of earlier statements are still held.
    reports = (inner.report for inner in (*statement.earlier_statements, statement) if inner.report)
    return frozenset(lock.relation for report in reports for lock in report.locks if lock.blocks)


def find_locks_on(statement: ParsedStatement, name: QualifiedName) -> tuple[Lock, ...]:
    """Return the locks that the migration takes on a relation, those of this statement first."""
    migration = statement.migration.report
    own = statement.report.locks if statement.report else ()
    return tuple(
        lock for lock in (*own, *(migration.locks if migration else ())) if name.is_rel(lock.relation)
    )


def was_rewritten(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement rewrites a table, that is, gives it a new file."""
    return bool(statement.report and statement.report.rewrites)


def was_only_rebuilt(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement builds indexes but rewrites no table."""
    return bool(statement.report and statement.report.index_builds and not statement.report.rewrites)


def was_only_scanned(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement scans a table but neither rewrites one nor builds an index."""
    report = statement.report
    return bool(report and report.scans and not report.rewrites and not report.index_builds)


def was_scanned(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement scans a whole table."""
    return bool(statement.report and statement.report.scans)


def was_worked_on(_: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement is a long block: it works on rows while others are blocked."""
    return bool(list_long_blocks(statement))


def was_locked(hit: Hit, statement: ParsedStatement) -> bool:
    """Return True if the statement locks an existing relation, or an earlier one locked that of the hit."""
    return bool(statement.report and statement.report.locks) or _was_held_already(hit, statement)


def _was_held_already(hit: Hit, statement: ParsedStatement) -> bool:
    # A statement's report has only the locks that are new, so a lock taken earlier is found in the migration.
    migration = statement.migration.report
    held = migration.locks if migration else ()
    return hit.relation is not None and any(
        lock.relation == hit.relation or lock.relation.endswith(f".{hit.relation}") for lock in held
    )


def render_measured(hit: Hit, statement: ParsedStatement) -> str:
    """Return the message of a finding with the measured relation and time in it."""
    blocked = list_long_blocks(statement)
    if not blocked:
        return hit.message + (_EMPTY if list_worked_on(statement) else "")
    took = _format_time(statement.report.duration_ms) if statement.report else ""
    return "; ".join(
        f"{_choose_verb(statement, name)} {name} ({took}) while blocking {_describe_waiting(statement, name)}"
        for name in blocked
    )


def find_relation(hit: Hit, statement: ParsedStatement) -> str | None:
    """Return the relation of the hit as the report spells it, or as the text does if it is not there."""
    if hit.relation is None:
        return next(iter(list_long_blocks(statement)), None)
    for name in (*list_worked_on(statement), *(lock.relation for lock in _list_all_locks(statement))):
        if name == hit.relation or name.endswith(f".{hit.relation}"):
            return name
    return hit.relation


def _list_all_locks(statement: ParsedStatement) -> tuple[Lock, ...]:
    own = statement.report.locks if statement.report else ()
    return (*own, *(statement.migration.report.locks if statement.migration.report else ()))


def _choose_verb(statement: ParsedStatement, relation: str) -> str:
    report = statement.report
    assert report is not None
    if relation in report.rewrites:
        return "rewrites"
    built = [build.index for build in report.index_builds if build.table == relation]
    return f"builds {', '.join(built)} on" if built else "scans all of"


def _describe_waiting(statement: ParsedStatement, relation: str) -> str:
    kinds = {kind for lock in _list_all_locks(statement) if lock.relation == relation for kind in lock.blocks}
    return "reads and writes" if not kinds or len(kinds) > 1 else kinds.pop()


def _format_time(ms: float) -> str:
    # 999.5 ms would be rounded to "1000 ms".
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.1f} s"
