"""What a rehearsal says of a statement, as the rules ask for it."""

from __future__ import annotations

from confiture.models.report import Lock
from confiture.rules.parse_tree import QualifiedName
from confiture.rules.parsed_migration import ParsedStatement
from confiture.rules.rule import Hit

_EMPTY = "; it holds no rows here, so how long that takes elsewhere is not known"


def list_worked_on(statement: ParsedStatement) -> tuple[str, ...]:
    """Return the relations that the statement rewrites, reads end to end or builds an index on."""
    report = statement.report
    if report is None:
        return ()
    builds = (build.table for build in report.index_builds)
    return tuple(dict.fromkeys((*report.rewrites, *builds, *report.scans)))


def list_long_blocks(statement: ParsedStatement) -> tuple[str, ...]:
    """Return those of them that hold rows and that others wait for meanwhile."""
    migration = statement.migration.report
    if migration is None or statement.report is None:
        return ()
    worked = list_worked_on(statement)
    # What is listed as read end to end holds rows, also where PostgreSQL has no estimate of them yet.
    blocked = _list_blocked(statement) if set(worked) - set(migration.long_blocks) else ()
    read = statement.report.scans
    return tuple(
        name for name in worked if name in migration.long_blocks or (name in read and name in blocked)
    )


def _list_blocked(statement: ParsedStatement) -> frozenset[str]:
    """Return what is locked so that others wait, by this statement or one before it."""
    upto = (inner.report for inner in (*statement.earlier_statements, statement) if inner.report)
    return frozenset(lock.relation for report in upto for lock in report.locks if lock.blocks)


def find_locks_on(statement: ParsedStatement, name: QualifiedName) -> tuple[Lock, ...]:
    """Return the locks that the migration takes on a relation, this statement's first."""
    migration = statement.migration.report
    own = statement.report.locks if statement.report else ()
    return tuple(
        lock for lock in (*own, *(migration.locks if migration else ())) if name.is_rel(lock.relation)
    )


def was_rewritten(_: Hit, statement: ParsedStatement) -> bool:
    """Whether the statement gives a table a new file."""
    return bool(statement.report and statement.report.rewrites)


def was_only_rebuilt(_: Hit, statement: ParsedStatement) -> bool:
    """Whether it builds indexes anew and rewrites nothing."""
    return bool(statement.report and statement.report.index_builds and not statement.report.rewrites)


def was_only_scanned(_: Hit, statement: ParsedStatement) -> bool:
    """Whether it reads a table end to end, and neither rewrites it nor builds an index."""
    report = statement.report
    return bool(report and report.scans and not report.rewrites and not report.index_builds)


def was_scanned(_: Hit, statement: ParsedStatement) -> bool:
    """Whether it reads a table end to end."""
    return bool(statement.report and statement.report.scans)


def was_worked_on(_: Hit, statement: ParsedStatement) -> bool:
    """Whether it reads, rewrites or indexes anything end to end while others wait."""
    return bool(list_long_blocks(statement))


def was_locked(hit: Hit, statement: ParsedStatement) -> bool:
    """Whether it locks something that was there before."""
    return bool(statement.report and statement.report.locks) or _was_held_already(hit, statement)


def _was_held_already(hit: Hit, statement: ParsedStatement) -> bool:
    migration = statement.migration.report
    held = migration.locks if migration else ()
    return hit.relation is not None and any(
        lock.relation == hit.relation or lock.relation.endswith(f".{hit.relation}") for lock in held
    )


def render_measured(hit: Hit, statement: ParsedStatement) -> str:
    """Return the message with what was measured in it."""
    blocked = list_long_blocks(statement)
    if not blocked:
        return hit.message + (_EMPTY if list_worked_on(statement) else "")
    took = _format_time(statement.report.duration_ms) if statement.report else ""
    return "; ".join(
        f"{_choose_verb(statement, name)} {name} ({took}) while "
        f"{_describe_waiting(statement, name)} of it wait"
        for name in blocked
    )


def find_relation(hit: Hit, statement: ParsedStatement) -> str | None:
    """Return the relation as the report spells it, where the text's is seen in it."""
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
    return f"builds {', '.join(built)} on" if built else "reads all of"


def _describe_waiting(statement: ParsedStatement, relation: str) -> str:
    own = {what for lock in _list_all_locks(statement) if lock.relation == relation for what in lock.blocks}
    return "reads and writes" if not own or len(own) > 1 else own.pop()


def _format_time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.1f} s"
